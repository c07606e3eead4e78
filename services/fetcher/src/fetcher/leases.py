"""Whether a content lives on by its lease, or is fetched anew: credentials made for one content outlive a refresh.

What a class has beside such credentials is fetched at each refresh like any other, and they are not made anew for it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Protocol

from prometheus_client import Counter

from fetcher.budgets import Grant, Spending
from fetcher.kept import Kept
from fetcher.provider import Lease
from keyferry.errors import KeyferryError, ProviderUnavailable, RateLimited

log = logging.getLogger(__name__)

RENEWALS_FAILED = Counter(
    "keyferry_lease_renewals_failed_total",
    "Renewals of leases that failed: later for another try, or lost for new credentials in place of the lease.",
    ["provider", "outcome"],
)

_SHORTEST_PAUSE, _LONGEST_PAUSE = 5.0, 60.0  # seconds until a renewal that failed is tried again


class Source(Protocol):
    """Where one request's content comes from, and what its class and its backend allow."""

    @property
    def spending(self) -> Spending:
        """The call that it would take."""
        ...

    @property
    def keep_ms(self) -> int:
        """How long the content may be kept, milliseconds."""
        ...

    @property
    def stale_ms(self) -> int:
        """How old it may be when the backend is away, milliseconds; 0 if that is no good."""
        ...

    async def fetch(self, fetched_at_ms: int, held: Kept | None, grant: Grant) -> Kept:
        """The content, from its backend; ``held`` is what there was before, for a refresh, or what lives by a lease."""
        ...

    async def renew(self, kept: Kept, grant: Grant) -> Lease | None:
        """Its lease with a longer life; None if it has ended, or cannot be renewed."""
        ...


@dataclass(frozen=True, slots=True)
class Round:
    """One turn at a content, which nobody else has at the same time.

    Attributes:
        kept: What there was before.
        grant: Whether the backend may be called.
        fetched_at_ms: The time that the outcome is stamped with, Unix milliseconds.
        now: Unix seconds.
        refresh: Whether ``kept`` may go to the provider: a mount's files must come from the backend.
    """

    kept: Kept | None
    grant: Grant
    fetched_at_ms: int
    now: float
    refresh: bool


async def produce(source: Source, turn: Round) -> tuple[Kept, str]:
    """A content that holds as of now, and how it was come by: ``fetched``, ``renewed`` or ``confirmed``.

    Raises:
        KeyferryError: as the backend answered.
    """
    kept = turn.kept
    if kept and kept.lease and kept.lease.expires_at > turn.now:
        lease = kept.lease if turn.now < kept.lease.renew_at else await _renewed(source, kept, kept.lease, turn)
        if lease is not None:
            outcome = "confirmed" if lease is kept.lease else "renewed"
            return await _current(source, replace(kept, lease=lease), lease, turn, outcome), outcome
    ended = replace(kept, lease=None) if kept and turn.refresh else None
    return await source.fetch(turn.fetched_at_ms, ended, turn.grant), "fetched"


async def _current(source: Source, kept: Kept, lease: Lease, turn: Round, outcome: str) -> Kept:
    """A content whose lease lives: what it made, and beside that what the backend has now."""
    confirmed = kept.confirmed(turn.fetched_at_ms, lease)
    if not kept.is_mixed:
        return confirmed
    try:
        found = await source.fetch(turn.fetched_at_ms, kept if turn.refresh else kept.leased, turn.grant)
    except KeyferryError as error:
        # What a renewal gave must be kept, or the lease is lost; and a mount goes on without the backend, as it does
        # where there is nothing but leases. The next refresh tells whoever must know.
        if outcome == "renewed" or (not turn.refresh and isinstance(error, RateLimited | ProviderUnavailable)):
            log.warning("what stands beside a lease is not fetched: %s", error.message)
            return confirmed
        raise
    return found if found.lease else found.confirmed(turn.fetched_at_ms, lease)


def keep_ms(source: Source, kept: Kept, now: float) -> int:
    """How long to keep a content, milliseconds: as its class says, and as long as its lease may have to be revoked."""
    return max(source.keep_ms, int((kept.lease.expires_at - now) * 1000) if kept.lease else 0)


async def _renewed(source: Source, kept: Kept, lease: Lease, turn: Round) -> Lease | None:
    try:
        return await source.renew(kept, turn.grant)
    except (RateLimited, ProviderUnavailable) as error:
        RENEWALS_FAILED.labels(kept.content.provider, "later").inc()
        log.warning("a lease is not renewed yet: %s", error.message, extra={"provider": kept.content.provider})
        # Nobody shall ask again at once, though it is due: it lives, and the backend has trouble enough.
        usual = max(error.retry_after or 0.0, (lease.expires_at - turn.now) / 4)
        return replace(lease, renew_at=turn.now + min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, usual)))
    except KeyferryError as error:
        RENEWALS_FAILED.labels(kept.content.provider, "lost").inc()
        log.warning("a lease cannot be renewed: %s", error.message, extra={"provider": kept.content.provider})
        return None
