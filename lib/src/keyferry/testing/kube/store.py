"""The objects and their history: one revision counter, a bounded window of changes, and listeners."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

Json = dict[str, Any]


class Key(NamedTuple):
    """Where an object lies; `namespace` is empty for cluster-scoped ones."""

    storage: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Change:
    """One write: `before` is None for ADDED; `after` of DELETED is the last state with the deletion's revision."""

    type: str
    key: Key
    revision: int
    before: Json | None
    after: Json


class HistoryGone(Exception):
    """The revision asked for lies before the kept window, whose oldest revision it carries."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"history starts after revision {oldest}")
        self.oldest = oldest


class Store:
    """Objects by key. A stored object is never changed in place, so readers need no copies."""

    def __init__(self, window: int) -> None:
        self.revision = 1
        self._objects: dict[str, dict[tuple[str, str], Json]] = {}
        self._history: deque[Change] = deque()
        self._window = window
        self._forgotten = 0
        self._listeners: list[Callable[[Change], None]] = []
        self._untold: deque[Change] = deque()

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Calls `listener` after each write, in order. Returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def get(self, key: Key) -> Json | None:
        """The object, or None."""
        return self._objects.get(key.storage, {}).get((key.namespace, key.name))

    def put(self, key: Key, value: Json) -> Json:
        """Writes; returns the object with its new resourceVersion."""
        before = self.get(key)
        self.revision += 1
        after = _at_revision(value, self.revision)
        self._objects.setdefault(key.storage, {})[key.namespace, key.name] = after
        self._record(Change("MODIFIED" if before else "ADDED", key, self.revision, before, after))
        return after

    def delete(self, key: Key) -> Json:
        """Removes; returns the last state, with the revision of the removal."""
        before = self._objects[key.storage].pop((key.namespace, key.name))
        self.revision += 1
        after = _at_revision(before, self.revision)
        self._record(Change("DELETED", key, self.revision, before, after))
        return after

    def select(self, storage: str, namespace: str = "", revision: int | None = None) -> list[Json]:
        """The objects of one kind in order of namespace and name, now or as they were at `revision`.

        Raises:
            HistoryGone: `revision` lies before the kept window.
        """
        objects = self._objects.get(storage, {})
        if revision is not None and revision < self.revision:
            objects = self._rewound(storage, objects, revision)
        return [objects[place] for place in sorted(objects) if not namespace or place[0] == namespace]

    def keys(self, storage: str) -> list[Key]:
        """The keys of all objects of one kind."""
        return [Key(storage, namespace, name) for namespace, name in self._objects.get(storage, {})]

    def inside(self, namespace: str) -> Iterator[tuple[Key, Json]]:
        """The objects of all kinds in a namespace; safe against writes meanwhile."""
        for storage, objects in list(self._objects.items()):
            for (where, name), value in list(objects.items()):
                if where == namespace:
                    yield Key(storage, namespace, name), value

    def since(self, revision: int) -> list[Change]:
        """The changes after `revision`, oldest first.

        Raises:
            HistoryGone: some of them were forgotten.
        """
        if revision < self._forgotten:
            raise HistoryGone(self._forgotten)
        return [change for change in self._history if change.revision > revision]

    def forget_history(self) -> None:
        """Every revision before the present one is too old from now on, as after a compaction."""
        # One write nobody sees: otherwise the newest revision a client knows would still be served.
        self.revision += 1
        self._forgotten = self.revision
        self._history.clear()

    def _record(self, change: Change) -> None:
        self._history.append(change)
        while len(self._history) > self._window:
            self._forgotten = self._history.popleft().revision
        self._untold.append(change)
        if len(self._untold) > 1:
            return  # a listener wrote: the others hear of that after what they are hearing now
        while self._untold:
            for listener in list(self._listeners):
                listener(self._untold[0])
            self._untold.popleft()

    def _rewound(self, storage: str, now: dict[tuple[str, str], Json], revision: int) -> dict[tuple[str, str], Json]:
        then = dict(now)
        for change in reversed(self.since(revision)):
            if change.key.storage != storage:
                continue
            place = (change.key.namespace, change.key.name)
            if change.before is None:
                then.pop(place, None)
            else:
                then[place] = change.before
        return then


def _at_revision(value: Json, revision: int) -> Json:
    return value | {"metadata": value["metadata"] | {"resourceVersion": str(revision)}}
