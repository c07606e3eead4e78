"""How many calls a backend gets, and when it gets none: its own Retry-After, and what the operator allows.

With Redis, the claim of a content asks for both on its way (`fetcher.scripts.CLAIM`), so all fetchers spend one budget;
without it, each process keeps its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from keyferry.errors import RateLimited
from keyferry.keys import FetcherKeys

BURST_MS = 1_000  # calls of this long may come at once
PATIENCE_MS = 2_000  # that a mount waits for its turn; a refresh, which has time, waits for none and comes again
_LONGEST_PAUSE = 300.0  # seconds
_SHORTEST_PAUSE = 0.5
_BACKENDS = 10_000


class Paused(RateLimited):
    """Our own refusal to call a backend; it must not lengthen the pause that it comes from."""

    reason = RateLimited.reason


@dataclass(frozen=True, slots=True)
class Grant:
    """Whether and when a backend may be called, in seconds: not at all during ``pause``; else after ``wait``."""

    pause: float = 0.0
    wait: float = 0.0

    def check(self, provider: str) -> None:
        """Return if it may be called.

        Raises:
            Paused: not now.
        """
        if self.pause > 0:
            raise Paused(
                f"{provider} is left alone for another {self.pause:.1f} s: it asked for fewer calls, or the budget "
                "KEYFERRY_BACKEND_CALLS_PER_SECOND is spent",
                retry_after=self.pause,
            )


@dataclass(frozen=True, slots=True)
class Spending:
    """One call that may be made to one backend.

    Attributes:
        backend: A keyed MAC over provider and backend: neither stands in Redis.
        rate: Calls per second that all fetchers may make; 0 for any number.
        mount: A pod waits for it.
    """

    backend: str
    rate: float = 0.0
    mount: bool = True

    @property
    def pause_key(self) -> str:
        """Exists while the backend wants no calls."""
        return f"keyferry:backend:{self.backend}:pause"

    @property
    def bucket_key(self) -> str:
        """Counts calls."""
        return f"keyferry:backend:{self.backend}:bucket"

    def arguments(self) -> tuple[str, int, int]:
        """For `fetcher.scripts.CLAIM`: rate, burst and patience. A fifth of the burst is left to mounts."""
        return f"{self.rate:g}", BURST_MS if self.mount else BURST_MS * 4 // 5, PATIENCE_MS if self.mount else 0

    def pause_ms(self, error: RateLimited) -> int:
        """How long everyone leaves the backend alone after this."""
        if isinstance(error, Paused):
            return 0
        return int(1000 * min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, error.retry_after or 0.0)))


def backend_id(keys: FetcherKeys, provider: str, backend: str) -> str:
    """What stands for a backend in Redis."""
    return keys.mac("backend", provider.encode(), backend.encode()).hex()[:32]


class Budgets:
    """Pauses and budgets of one process, for as long as there is no Redis."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._paused: dict[str, float] = {}
        self._empty: dict[str, float] = {}

    def grant(self, spending: Spending) -> Grant:
        """As `fetcher.scripts.CLAIM` does it."""
        now = self._clock()
        pause = self._paused.get(spending.backend, 0.0) - now
        if pause > 0 or not spending.rate:
            return Grant(pause=max(0.0, pause))
        _, burst, patience = spending.arguments()
        empty = max(now, self._empty.get(spending.backend, 0.0))
        wait = max(0.0, empty - now - burst / 1000)
        if wait > patience / 1000:
            return Grant(pause=wait)
        self._empty[spending.backend] = empty + 1 / spending.rate
        _bound(self._empty, now)
        return Grant(wait=wait)

    def pause(self, spending: Spending, error: RateLimited) -> None:
        """Leave a backend alone."""
        until = self._clock() + spending.pause_ms(error) / 1000
        self._paused[spending.backend] = max(until, self._paused.get(spending.backend, 0.0))
        _bound(self._paused, self._clock())


def _bound(times: dict[str, float], now: float) -> None:
    """Forget what is over once there is much of it: a class names its backend, and may name ever new ones."""
    if len(times) > _BACKENDS:
        for backend in [backend for backend, until in times.items() if until <= now]:
            del times[backend]
