"""Keeps a source connected: again and again, with pauses that grow, and never all replicas at the same moment."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn

from rotator.sources.heard import Heard, told

_random = random.SystemRandom()

Stands = Callable[[], float]
"""Called whenever the connection is known to stand; returns for how many seconds it did not: infinite the first time,
0 from the second call on."""

Hear = Callable[[Stands], Awaitable[None]]
"""One connection's life; returns or raises when it is over."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long to wait before the next try, in seconds; each pause is between half of it and the whole."""

    first: float = 1.0
    longest: float = 60.0

    def before(self, attempt: int) -> float:
        """Before the try after this many that came to nothing."""
        return min(self.longest, self.first * 2.0 ** min(attempt, 30)) * _random.uniform(0.5, 1.0)


async def for_ever(heard: Heard, hear: Hear, pauses: Pauses) -> NoReturn:
    """Connect, and connect again.

    Pauses start over only once a connection has stood for as long as the longest of them: one that breaks at once, each
    time, would otherwise have everything read again each second.
    """
    attempt, last = 0, -math.inf
    heard.stopped()  # here, and not where it was made: what a server receives has no connection of its own
    while True:
        since = math.inf

        def stands() -> float:
            nonlocal since, last
            now = time.monotonic()
            gone = 0.0 if since < math.inf else now - last
            since, last = min(since, now), now
            heard.stands()
            return gone

        try:
            await hear(stands)
            why = "the connection has ended"
        except asyncio.CancelledError:
            heard.stopped()
            raise
        except Exception as error:  # noqa: BLE001 - a defect in one source ends neither it nor the others
            why = told(error)
        heard.away(why)
        attempt = 0 if time.monotonic() - since >= pauses.longest else attempt + 1
        await asyncio.sleep(pauses.before(attempt - 1 if attempt else 0))
