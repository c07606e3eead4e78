"""A fetcher without Redis: what it must remember of contents, it remembers itself, and shares with no other."""

from __future__ import annotations

from collections import OrderedDict

from fetcher.budgets import Budgets
from fetcher.kept import Kept
from fetcher.leases import Round, Source, keep_ms, produce
from keyferry.errors import RateLimited


class Alone:
    """Contents of one process that live by a lease, or may be needed when the backend is away; no others.

    Args:
        budgets: Of this process.
        max_bytes: Of files kept; the oldest go first.
    """

    def __init__(self, budgets: Budgets, max_bytes: int) -> None:
        self._budgets = budgets
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, tuple[Kept, float]] = OrderedDict()
        self._stale_since: dict[str, int] = {}
        self._bytes = 0

    async def produce(
        self, content_key: str, source: Source, *, fetched_at_ms: int, now: float, refresh: bool
    ) -> tuple[Kept, str]:
        """As `fetcher.leases.produce`."""
        turn = Round(
            self.last(content_key, now), self._budgets.grant(source.spending), fetched_at_ms, now, refresh=refresh
        )
        try:
            kept, outcome = await produce(source, turn)
        except RateLimited as error:
            self._budgets.pause(source.spending, error)
            raise
        self.drop(content_key)
        if kept.lease or source.stale_ms:
            self._keep(content_key, kept, now + keep_ms(source, kept, now) / 1000)
        return kept, outcome

    def last(self, content_key: str, now: float) -> Kept | None:
        """What is remembered, however old; ``now`` in Unix seconds."""
        kept, until = self._kept.get(content_key, (None, 0.0))
        return kept if until > now else None

    def stale_since(self, content_key: str, now_ms: int) -> int:
        """When the backend first failed to confirm it, Unix milliseconds."""
        return self._stale_since.setdefault(content_key, now_ms)

    def drop(self, content_key: str) -> None:
        """Forget it; others may have ended its lease since."""
        kept, _ = self._kept.pop(content_key, (None, 0.0))
        self._stale_since.pop(content_key, None)
        self._bytes -= _size(kept) if kept else 0

    def _keep(self, content_key: str, kept: Kept, until: float) -> None:
        self._kept[content_key] = (kept, until)
        self._bytes += _size(kept)
        while self._bytes > self._max_bytes and self._kept:
            self.drop(next(iter(self._kept)))


def _size(kept: Kept) -> int:
    return sum(len(secret.contents) + len(secret.path) for secret in kept.secrets)
