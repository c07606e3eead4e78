"""Last known good: what a class may still get when its backend is away, if its author says so."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from prometheus_client import Counter

from fetcher.alone import Alone
from fetcher.kept import Kept
from fetcher.shared import Shared
from keyferry.errors import KeyferryError, StoreUnavailable
from keyferry.resources import Content

log = logging.getLogger(__name__)

STALE = Counter("keyferry_stale_contents_total", "Contents handed out though the backend was away.", ["provider"])


@dataclass(frozen=True)
class LastKnown:
    """Finds what was fetched before; fields as of `fetcher.claims.Claims`."""

    shared: Shared
    alone: Alone
    now: Callable[[], float] = time.time

    async def get(self, content_key: str, limit_ms: int, why: KeyferryError) -> Content | None:
        """A content that is no older than the class allows, marked as stale; None if there is none.

        Args:
            content_key: Which.
            limit_ms: How old it may be, milliseconds.
            why: What kept the backend from confirming it.
        """
        now_ms = int(self.now() * 1000)
        kept = await self._last(content_key, now_ms)
        if kept is None or kept.fetched_at_ms < now_ms - limit_ms or _ended(kept, self.now()):
            return None
        since = await self._since(content_key, now_ms, limit_ms)
        STALE.labels(kept.content.provider).inc()
        log.warning(
            "a stale content is handed out: %s",
            why.message,
            extra={"provider": kept.content.provider, "age_seconds": (now_ms - kept.fetched_at_ms) // 1000},
        )
        return replace(kept.content, stale_since_ms=since)

    async def _last(self, content_key: str, now_ms: int) -> Kept | None:
        try:
            return await self.shared.last(content_key, now_ms)
        except StoreUnavailable:
            return self.alone.last(content_key, now_ms / 1000)

    async def _since(self, content_key: str, now_ms: int, keep_ms: int) -> int:
        try:
            return await self.shared.stale_since(content_key, now_ms, keep_ms)
        except StoreUnavailable:
            return self.alone.stale_since(content_key, now_ms)


def _ended(kept: Kept, now: float) -> bool:
    return kept.lease is not None and kept.lease.expires_at <= now
