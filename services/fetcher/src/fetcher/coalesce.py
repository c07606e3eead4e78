"""One backend call for many pods: who asks for the same thing at the same time shares one answer.

Two requests share only when the backend would have seen the same identity ask for the same thing: the content key
covers provider, parameters, namespace, service account and secrets of the request. Here it is shared within a process,
at no cost; what the process does not have, `fetcher.claims` gets from the other fetchers or from the backend.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import Counter, Gauge

from fetcher.claims import Claims
from fetcher.kept import Kept
from fetcher.leases import Source

CONTENTS = Counter(
    "keyferry_contents_total",
    "Contents handed out: held or joined (in flight) in this process, stored or waited (another fetcher's), fetched "
    "from the backend, confirmed or renewed (they live by a lease), stale, or failed.",
    ["outcome"],
)
HELD = Gauge("keyferry_contents_held_bytes", "Bytes of contents kept for sharing.")

_AHEAD_MS = 60_000  # how far the clock of whoever gave a hint may be ahead


@dataclass(frozen=True, slots=True)
class _Flight:
    started_ms: int
    task: asyncio.Task[Kept]


class Coalescer:
    """Shares contents within one process.

    Args:
        claims: Gets what this process does not have.
        window: Seconds that a mount's content may be old; 0 shares only what is in flight, which mounts always share.
        max_bytes: How much content to keep for that; the oldest goes first.
        now: The clock, Unix seconds.
    """

    def __init__(self, claims: Claims, *, window: float, max_bytes: int, now: Callable[[], float] = time.time) -> None:
        self._claims = claims
        self._window_ms = int(window * 1000)
        self._max_bytes = max_bytes
        self._now = now
        self._flights: dict[str, _Flight] = {}
        self._held: OrderedDict[str, Kept] = OrderedDict()
        self._bytes = 0

    async def get(self, content_key: str, not_before_ms: int, source: Source) -> Kept:
        """A content fetched at ``not_before_ms`` or later.

        Args:
            content_key: What is asked, and as whom.
            not_before_ms: Unix milliseconds; 0 stands for now less the window, or whatever is in flight.
            source: Asks the backend, if it must be asked.

        Raises:
            KeyferryError: what the backend answered, for everyone who shares it; failures are not kept.
        """
        now_ms = int(self._now() * 1000)
        not_before_ms = min(not_before_ms, now_ms + _AHEAD_MS)
        wanted = not_before_ms or now_ms - self._window_ms
        self._forget_old(now_ms)
        held = self._held.get(content_key)
        if held is not None and held.fetched_at_ms >= wanted:
            CONTENTS.labels("held").inc()
            return held
        flight = self._flights.get(content_key)
        if flight is None or flight.started_ms < not_before_ms:
            flight = self._take_off(content_key, wanted, not_before_ms, source)
        else:
            CONTENTS.labels("joined").inc()
        # Shielded: whoever gives up waiting must not take the answer away from the others.
        return await asyncio.shield(flight.task)

    def _take_off(self, content_key: str, wanted_ms: int, not_before_ms: int, source: Source) -> _Flight:
        async def fly() -> Kept:
            outcome = "failed"
            try:
                kept, outcome = await self._claims.obtain(content_key, wanted_ms, not_before_ms, source)
            finally:
                CONTENTS.labels(outcome).inc()
            self._hold(content_key, kept)
            return kept

        started_ms = max(not_before_ms, int(self._now() * 1000))
        flight = _Flight(started_ms, asyncio.ensure_future(fly()))
        self._flights[content_key] = flight
        flight.task.add_done_callback(lambda task: self._land(content_key, flight, task))
        return flight

    def forget(self, content_key: str) -> None:
        """Share it no more."""
        self._drop(content_key)
        HELD.set(self._bytes)

    def _land(self, content_key: str, flight: _Flight, task: asyncio.Task[Kept]) -> None:
        if self._flights.get(content_key) is flight:
            del self._flights[content_key]
        if not task.cancelled():
            task.exception()  # everyone may have stopped waiting; then nobody else retrieves it

    def _hold(self, content_key: str, kept: Kept) -> None:
        held = self._held.get(content_key)
        if kept.lease is not None:  # it may be ended at any time, and only Redis knows at once
            return
        if self._window_ms == 0 or (held is not None and held.fetched_at_ms > kept.fetched_at_ms):
            return
        self._drop(content_key)
        self._held[content_key] = kept
        self._bytes += _size(kept)
        while self._bytes > self._max_bytes and self._held:
            self._drop(next(iter(self._held)))
        # Values must not outlive their use: the window ends even if nobody asks again.
        asyncio.get_running_loop().call_later(self._window_ms / 1000 + 0.1, self._forget_old)
        HELD.set(self._bytes)

    def _forget_old(self, now_ms: int | None = None) -> None:
        horizon = (int(self._now() * 1000) if now_ms is None else now_ms) - self._window_ms
        while self._held and next(iter(self._held.values())).fetched_at_ms < horizon:
            self._drop(next(iter(self._held)))
        HELD.set(self._bytes)

    def _drop(self, content_key: str) -> None:
        kept = self._held.pop(content_key, None)
        if kept is not None:
            self._bytes -= _size(kept)


def _size(kept: Kept) -> int:
    return sum(len(secret.contents) + len(secret.path) for secret in kept.secrets)
