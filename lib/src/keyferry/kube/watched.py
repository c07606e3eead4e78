"""A cache of everything at one list path, kept up to date by watching it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, ItemsView
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, NoReturn, TypeVar

from keyferry.errors import KeyferryError, KubernetesUnavailable, place
from keyferry.kube.connection import Kube
from keyferry.kube.flights import Flights
from keyferry.kube.paths import Json, object_path
from keyferry.kube.refusals import Rejected, refusal

log = logging.getLogger(__name__)

T = TypeVar("T")
Key = tuple[str, str]

_PAGE = "200"  # objects; parsing a page stops the loop for some milliseconds
_GONE = 410
_DIRECT_READS = 16


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a cache asks, in seconds.

    Attributes:
        relist: After which everything is listed anew, because watches have been seen to lose events (kopf #698).
        watch: After which a watch is opened anew, so that a stream that died unnoticed is found.
        first_retry: Delay after a first failure; doubled with each further one, less up to half of it at random.
        last_retry: The longest such delay.
        recent: How long the answer to a direct read stands in for an object that the watch has not shown yet.
    """

    relist: float = 600.0
    watch: float = 300.0
    first_retry: float = 0.5
    last_retry: float = 30.0
    recent: float = 1.0


USUAL = Pace()


@dataclass(frozen=True, slots=True)
class _Answer(Generic[T]):
    item: T | None
    until: float


class Watched(Generic[T]):
    """What lies at a list path, by namespace and name; each object is kept only as its projection.

    `run` belongs into a task group. Until it has listed once, `get` knows nothing: `fetch` always gives the truth.
    """

    def __init__(
        self,
        kube: Kube,
        path: str,
        project: Callable[[Json], T | None],
        *,
        pace: Pace = USUAL,
        clock: Callable[[], float] = time.monotonic,
        changed: Callable[[Key], None] = lambda _: None,
    ) -> None:
        """Wires the cache.

        Args:
            kube: The API server.
            path: Of a namespaced resource in all namespaces, such as ``/api/v1/serviceaccounts``.
            project: What to keep of an object; None keeps nothing. It must take whatever the API server may hold: where
                it raises, nothing of the resource can be cached.
            pace: How often to ask.
            clock: Seconds, monotonic.
            changed: Told of each object whose projection is another than before, or that is there no longer.
        """
        self._kube = kube
        self._path = path
        self._project = project
        self._pace = pace
        self._clock = clock
        self._changed = changed
        self._items: dict[Key, T] = {}
        self._version: str | None = None
        self._listed_at: float | None = None
        self._current_at: float | None = None
        self._relist_at = 0.0
        self._failures = 0
        self._trouble: str | None = None
        self._recent: dict[Key, _Answer[T]] = {}
        self._flights: Flights[Key, T | None] = Flights()
        self._asking = asyncio.Semaphore(_DIRECT_READS)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def synced(self) -> bool:
        """Everything has been listed at least once."""
        return self._listed_at is not None

    @property
    def age(self) -> float:
        """Seconds since the API server last told anything; infinite before the first list.

        Where nothing changes it may send no bookmarks either: then an age of up to `Pace.watch` is usual. More than
        twice that means that the API server is away.
        """
        return float("inf") if self._current_at is None else self._clock() - self._current_at

    def get(self, namespace: str, name: str) -> T | None:
        """The object as the watch has shown it; costs a dictionary lookup."""
        return self._items.get((namespace, name))

    def items(self) -> ItemsView[Key, T]:
        """All of them, as the watch has shown them; not to be gone through across an ``await``."""
        return self._items.items()

    async def fetch(self, namespace: str, name: str) -> T | None:
        """The object from the cache, or else from the API server, where it may be newer than the watch.

        A pod and its class are often applied in the same second. However many ask for the same missing object, the API
        server is asked once at a time and at most once a second.

        Returns:
            None where there is no such object.

        Raises:
            AccessDenied: we may not read it.
            KubernetesUnavailable: it is not in the cache and the API server does not answer.
        """
        key = (namespace, name)
        known = self._items.get(key)
        if known is not None:
            return known
        recent = self._recent.get(key)
        if recent is not None and self._clock() < recent.until:
            return recent.item
        path = object_path(self._path, namespace, name)
        return None if path is None else await self._flights.join(key, lambda: self._ask(key, path))

    async def run(self) -> NoReturn:
        """Lists, watches and starts over, whatever happens, until cancelled."""
        while True:
            opened_at = self._clock()
            try:
                if self._version is None or self._clock() >= self._relist_at:
                    await self._list()
                await self._watch(self._version)
                # A server that ends watches as soon as they are open must not be hammered.
                at_once = self._clock() - opened_at < self._pace.first_retry
                self._failures = self._failures + 1 if at_once else 0
            except KeyferryError as error:
                self._failed(error)
            except Exception as error:  # noqa: BLE001 - a defect must not leave a cache behind that silently ages
                self._version = None
                self._failed(KubernetesUnavailable(f"a defect of ours: {place(error)}"))
            if self._failures:
                await asyncio.sleep(self._delay())

    async def _ask(self, key: Key, path: str) -> T | None:
        async with self._asking:
            told = await self._kube.get(path)
        item = None if told is None else self._project(told)
        now = self._clock()
        self._recent.pop(key, None)
        self._recent[key] = _Answer(item, now + self._pace.recent)
        # All live equally long, so what has expired is at the front.
        while self._recent and self._recent[oldest := next(iter(self._recent))].until <= now:
            del self._recent[oldest]
        return item

    async def _list(self) -> None:
        items: dict[Key, T] = {}
        query = {"limit": _PAGE}
        while True:
            page = await self._kube.get(self._path, query)
            if page is None:
                raise KubernetesUnavailable(f"the Kubernetes API server knows no {self._path}: install its definition")
            for told in page.get("items") or ():
                item = self._project(told)
                if item is not None:
                    items[_key(told)] = item
            more = page["metadata"].get("continue")
            if not more:
                break
            query["continue"] = more
        before, self._items = self._items, items
        self._version = page["metadata"]["resourceVersion"]
        self._listed_at = self._current_at = self._clock()
        self._relist_at = self._listed_at + self._pace.relist * random.uniform(0.9, 1.1)  # noqa: S311 - spreads load
        self._works()
        for key in before.keys() | items.keys():
            if before.get(key) != items.get(key):
                self._changed(key)

    async def _watch(self, version: str | None) -> None:
        seconds = max(1.0, min(self._pace.watch, self._relist_at - self._clock()))
        query = {"resourceVersion": version or "", "allowWatchBookmarks": "true"}
        async with aclosing(self._kube.watch(self._path, query, seconds=seconds)) as events:
            async for event in events:
                if event:
                    self._take(event)
                    self._failures = 0
                self._current_at = self._clock()
                self._works()

    def _take(self, event: Json) -> None:
        kind, told = event["type"], event["object"]
        if kind == "ERROR":
            raise refusal("GET", self._path, told.get("code") or _GONE, told, watch=True)
        if kind == "DELETED":
            self._keep(_key(told), None)
        elif kind in ("ADDED", "MODIFIED"):
            self._keep(_key(told), self._project(told))
        self._version = told["metadata"]["resourceVersion"]

    def _keep(self, key: Key, item: T | None) -> None:
        before = self._items.pop(key, None)
        if item is not None:
            self._items[key] = item
        if before != item:
            self._changed(key)

    def _works(self) -> None:
        if self._trouble is not None:
            log.info("watch works again", extra={"path": self._path, "objects": len(self._items)})
        self._trouble = None

    def _failed(self, error: KeyferryError) -> None:
        self._failures += 1
        if isinstance(error, Rejected):
            # Whatever the server has against this resourceVersion, most often that its history is gone (410).
            self._version = None
            if error.status == _GONE:
                return
        if self._trouble != error.reason:
            log.warning("watch fails, retrying", extra={"path": self._path, "error": error.message})
        self._trouble = error.reason

    def _delay(self) -> float:
        longest = min(self._pace.last_retry, self._pace.first_retry * 2.0 ** min(self._failures - 1, 16))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load


def _key(told: Json) -> Key:
    metadata = told["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
