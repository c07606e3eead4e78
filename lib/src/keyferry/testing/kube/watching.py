"""watch: the changes after a resourceVersion as a stream of JSON lines, with bookmarks.

Source: k8s.io/apiserver `storage/cacher` and `endpoints/handlers/watch.go`.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

from keyferry.testing.kube import reading
from keyferry.testing.kube.requests import Call
from keyferry.testing.kube.status import StatusError, expired
from keyferry.testing.kube.store import Change, HistoryGone, Store

Json = dict[str, Any]

_LAST_BOOKMARK_SECONDS = 2.0
"""How long before the end of a watch its last bookmark comes."""


_NOTHING_YET: Any = object()


def started(store: Store, call: Call) -> "Watch":
    """A watch from the call's resourceVersion on.

    Raises:
        StatusError: 410, the changes since then are forgotten; other codes for parameters that make no sense.
    """
    revision = reading.parse_revision(call.query.get("resourceVersion", ""))
    matches = reading.matcher(call)
    if revision == 0:
        items = store.select(call.target.resource.storage, call.target.namespace)
        return Watch(store, call, matches, [_added(item) for item in items], store.revision)
    try:
        return Watch(store, call, matches, store.since(revision), revision)
    except HistoryGone as error:
        raise expired(f"too old resource version: {revision} ({error.oldest})") from error


def _added(item: Json) -> Change:
    key: Any = None
    return Change("ADDED", key, int(item["metadata"]["resourceVersion"]), None, item)


class Watch:
    """One client's view of the changes; iterate `events` once."""

    def __init__(self, store: Store, call: Call, matches: Any, first: list[Change], revision: int) -> None:
        self._store, self._call, self._matches = store, call, matches
        self._queue: asyncio.Queue[Change | None] = asyncio.Queue()
        self._revision = self._newest = revision
        self._storage = call.target.resource.storage
        for change in first:
            # The present state has no key; the changes of other kinds are skipped by it.
            if change.key is None or self._concerns(change):
                self._queue.put_nowait(change)
        self._stop_listening = store.listen(self._heard)

    def end(self) -> None:
        """Ends the stream, as a server that restarts does."""
        self._queue.put_nowait(None)

    def close(self) -> None:
        """Listens no more; harmless twice."""
        self._stop_listening()

    def _concerns(self, change: Change) -> bool:
        namespace = self._call.target.namespace
        return change.key.storage == self._storage and (not namespace or change.key.namespace == namespace)

    def _heard(self, change: Change) -> None:
        if change.key.storage == self._storage:
            self._newest = change.revision
        # A watch may start at a revision that is yet to come.
        if change.revision > self._revision and self._concerns(change):
            self._queue.put_nowait(change)

    async def events(self, bookmark_seconds: float) -> AsyncIterator[Json]:
        """The watch events, until the call's timeoutSeconds (else 30 to 60 minutes) are over or `end` is called."""
        loop = asyncio.get_running_loop()
        timeout = float(self._call.query.get("timeoutSeconds") or random.uniform(1800, 3600))  # noqa: S311 - spread
        deadline = loop.time() + timeout
        bookmarks = _bookmark_times(loop.time(), deadline, bookmark_seconds) if self._bookmarked else iter(())
        next_bookmark = next(bookmarks, None)
        while True:
            change = _NOTHING_YET
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(deadline, next_bookmark or deadline)):
                    change = await self._queue.get()
            if change is None or (change is _NOTHING_YET and loop.time() >= deadline):
                return
            if change is _NOTHING_YET:
                next_bookmark = next(bookmarks, None)
                # As the real server: nothing new since the watch began, nothing to mark.
                if self._newest > self._revision:
                    yield self._bookmark()
                continue
            for event in self._translated(change):
                yield event

    @property
    def _bookmarked(self) -> bool:
        return self._call.flag("allowWatchBookmarks")

    def _translated(self, change: Change) -> Iterator[Json]:
        """What a change means to somebody who sees only objects that match."""
        before = change.before is not None and self._matches(change.before)
        after = change.type != "DELETED" and self._matches(change.after)
        kind = {(False, True): "ADDED", (True, True): "MODIFIED", (True, False): "DELETED"}.get((before, after))
        if kind is None:
            return
        item = change.after
        if kind == "DELETED" and change.type != "DELETED" and change.before:
            # It left the selection: what is sent is how it last looked inside, at the revision of leaving.
            version = {"resourceVersion": str(change.revision)}
            item = change.before | {"metadata": change.before["metadata"] | version}
        yield {"type": kind, "object": self._call.target.resource.shown(item)}

    def _bookmark(self) -> Json:
        resource = self._call.target.resource
        metadata = {"resourceVersion": str(self._newest), "creationTimestamp": None}
        bare = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        return {"type": "BOOKMARK", "object": bare}


def _bookmark_times(now: float, deadline: float, every: float) -> Iterator[float]:
    last, moment = deadline - _LAST_BOOKMARK_SECONDS, now + every
    while moment < deadline:
        if now < last < moment:
            yield last
            last = now
        yield moment
        moment += every
    if now < last:
        yield last


def error_event(error: StatusError) -> Json:
    """How a watch tells of an error once it has answered 200."""
    return {"type": "ERROR", "object": error.body()}
