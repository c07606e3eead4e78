"""Tells whether it was for this request that the backend was asked: one's own flight, or what others had fetched."""

from __future__ import annotations

from dataclasses import dataclass

from fetcher.budgets import Grant, Spending
from fetcher.kept import Kept
from fetcher.leases import Source
from fetcher.provider import Lease
from keyferry.audit import Origin


@dataclass(slots=True)
class Traced:
    """A source that notes what it was asked for.

    Attributes:
        source: Does the work.
        origin: ``shared`` as long as it was asked for nothing.
    """

    source: Source
    origin: Origin = "shared"

    @property
    def spending(self) -> Spending:
        """See `fetcher.leases.Source`."""
        return self.source.spending

    @property
    def keep_ms(self) -> int:
        """See `fetcher.leases.Source`."""
        return self.source.keep_ms

    @property
    def stale_ms(self) -> int:
        """See `fetcher.leases.Source`."""
        return self.source.stale_ms

    async def fetch(self, fetched_at_ms: int, held: Kept | None, grant: Grant) -> Kept:
        """See `fetcher.leases.Source`."""
        self.origin = "backend"
        return await self.source.fetch(fetched_at_ms, held, grant)

    async def renew(self, kept: Kept, grant: Grant) -> Lease | None:
        """See `fetcher.leases.Source`."""
        self.origin = "lease"
        return await self.source.renew(kept, grant)
