"""What nodes have told of their volumes, and what belongs together among them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from keyferry.events import RefreshFailed, VolumeEvent, VolumePublished, VolumeRefreshed, VolumeUnpublished

Name = tuple[str, str]
"""Namespace, and a name in it: a class's, a pod's, a Secret's, or a content key."""

_REMEMBERED_ENDS = 20_000


@dataclass(frozen=True, slots=True)
class Change:
    """What an event has changed; both None where it told nothing new."""

    before: VolumePublished | None = None
    after: VolumePublished | None = None


class Volumes:
    """All volumes of the cluster as the bus knows them: some hundred bytes each."""

    def __init__(self) -> None:
        self._known: dict[str, VolumePublished] = {}
        self._told_us: dict[str, int] = {}
        self._ended_us: dict[str, int] = {}
        self._of_class = _Index(class_of)
        self._of_pod = _Index(pod_of)
        self._of_content = _Index(lambda volume: (volume.pod.namespace, volume.content_key))

    def __len__(self) -> int:
        return len(self._known)

    def take(self, event: VolumeEvent, told_us: int) -> Change:
        """Learn of an event.

        Args:
            event: What a node told.
            told_us: When the stream took it, Unix microseconds: events are worked off side by side, and read again from
                the stream while newer ones come in, so that an older one may follow a newer one; it changes nothing.
        """
        volume_id = id_of(event)
        if told_us < max(self._told_us.get(volume_id, 0), self._ended_us.get(volume_id, 0)):
            return Change()
        before = self._drop(volume_id)
        if isinstance(event, VolumeUnpublished):
            self._ended_us[volume_id] = told_us
            if len(self._ended_us) > _REMEMBERED_ENDS:
                del self._ended_us[next(iter(self._ended_us))]
            return Change(before)
        after = event.volume if isinstance(event, VolumeRefreshed | RefreshFailed) else event
        self._ended_us.pop(volume_id, None)
        self._known[volume_id], self._told_us[volume_id] = after, told_us
        for index in (self._of_class, self._of_pod, self._of_content):
            index.add(after)
        return Change(before, after)

    def ids(self) -> set[str]:
        """Those of all volumes, as of now."""
        return set(self._known)

    def all(self) -> list[VolumePublished]:
        """All of them, as of now."""
        return list(self._known.values())

    def drop(self, volume_ids: Iterable[str]) -> list[VolumePublished]:
        """Forget some; gives those that were known."""
        return [volume for volume in map(self._drop, volume_ids) if volume]

    def get(self, volume_id: str) -> VolumePublished | None:
        """One of them."""
        return self._known.get(volume_id)

    def of_class(self, name: Name) -> list[VolumePublished]:
        """Those that mount a class, the most recently fetched first."""
        found = (self._known[volume_id] for volume_id in self._of_class.get(name))
        return sorted(found, key=lambda volume: (-volume.fetched_at_ms, volume.volume_id))

    def of_pod(self, name: Name) -> list[VolumePublished]:
        """Those of pods that have, or had, this name."""
        return [self._known[volume_id] for volume_id in self._of_pod.get(name)]

    def classes_of_content(self, name: Name) -> set[Name]:
        """The classes by which a content is mounted."""
        return {class_of(self._known[volume_id]) for volume_id in self._of_content.get(name)}

    def _drop(self, volume_id: str) -> VolumePublished | None:
        volume = self._known.pop(volume_id, None)
        self._told_us.pop(volume_id, None)
        if volume is not None:
            for index in (self._of_class, self._of_pod, self._of_content):
                index.discard(volume)
        return volume


class _Index:
    """Volume ids by something that volumes have in common."""

    def __init__(self, name_of: Callable[[VolumePublished], Name]) -> None:
        self._name_of = name_of
        self._ids: dict[Name, set[str]] = defaultdict(set)

    def get(self, name: Name) -> set[str]:
        return self._ids.get(name, set())

    def add(self, volume: VolumePublished) -> None:
        self._ids[self._name_of(volume)].add(volume.volume_id)

    def discard(self, volume: VolumePublished) -> None:
        name = self._name_of(volume)
        self._ids[name].discard(volume.volume_id)
        if not self._ids[name]:
            del self._ids[name]


def id_of(event: VolumeEvent) -> str:
    """The id of the volume that an event is about."""
    return event.volume.volume_id if isinstance(event, VolumeRefreshed | RefreshFailed) else event.volume_id


def node_of(event: VolumeEvent) -> str:
    """The node that an event is of."""
    return event.volume.node if isinstance(event, VolumeRefreshed | RefreshFailed) else event.node


def class_of(volume: VolumePublished) -> Name:
    """Namespace and name of the class that a volume mounts."""
    return volume.pod.namespace, volume.secret_provider_class


def pod_of(volume: VolumePublished) -> Name:
    """Namespace and name of the pod that a volume is for."""
    return volume.pod.namespace, volume.pod.name
