"""Ends a content that no volume holds any more: its lease is revoked, and what is kept of it forgotten."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prometheus_client import Counter

from fetcher.alone import Alone
from fetcher.coalesce import Coalescer
from fetcher.kept import Kept
from fetcher.provider import Leasing, Provider
from fetcher.shared import Shared
from keyferry.bus import Delivery
from keyferry.changes import EndContent

log = logging.getLogger(__name__)

ENDED = Counter("keyferry_contents_ended_total", "Contents that nobody holds any more, by what was done.", ["outcome"])


@dataclass(frozen=True)
class Endings:
    """The handler of `keyferry.streams.ENDINGS`; doing it again does no harm.

    Attributes:
        shared: What all fetchers keep.
        alone: What this one keeps without Redis.
        coalescer: Shares in this process.
        providers: Revoke leases.
        seconds: How long a revocation may take.
        now: The clock, Unix seconds.
    """

    shared: Shared
    alone: Alone
    coalescer: Coalescer
    providers: Mapping[str, Provider]
    seconds: float
    now: Callable[[], float] = time.time

    async def __call__(self, delivery: Delivery) -> None:
        """End one content.

        Raises:
            KeyferryError: not done; with ``retry_after`` the bus brings it again.
        """
        ended = EndContent.from_bytes(delivery.payload)
        key = ended.content_key
        mine = self.alone.last(key, self.now())
        if mine is not None and mine.fetched_at_ms <= ended.fetched_before_ms:
            await self._revoke(mine)
            self.alone.drop(key)
        if not self.shared.exists:
            return
        kept = await self.shared.withdraw(key, ended.fetched_before_ms, int(self.now() * 1000))
        self.coalescer.forget(key)
        if kept is None:
            ENDED.labels("gone").inc()
            return
        await self._revoke(kept)
        await self.shared.ended(key)

    async def _revoke(self, kept: Kept) -> None:
        provider = self.providers.get(kept.content.provider)
        if kept.lease is None or kept.lease.expires_at <= self.now() or not isinstance(provider, Leasing):
            ENDED.labels("forgotten").inc()
            return
        await provider.revoke(kept.lease, self.now() + self.seconds)
        ENDED.labels("revoked").inc()
        log.info("a lease is revoked: no volume holds its content", extra={"provider": kept.content.provider})
