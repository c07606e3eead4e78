"""Access tokens by identity, so that a workload exchanges its own once per token's life and not per fetch."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from fetcher.providers.gcp.identity import Identity

_LONGEST_MARGIN = 300.0  # seconds before a token's end from which it is not used any more


@dataclass(frozen=True, slots=True)
class Token:
    """An access token. Times are Unix seconds."""

    value: str = field(repr=False)
    since: float
    expires: float

    @property
    def until(self) -> float:
        """When another one is due: five minutes before the end, or a quarter of a shorter life."""
        return self.expires - min(_LONGEST_MARGIN, (self.expires - self.since) / 4)


class Tokens:
    """The most recently used ones; at most one exchange of an identity is under way at a time.

    Args:
        size: How many are kept; 0 keeps none.
        clock: Unix seconds.
    """

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self._size = size
        self._clock = clock
        self._kept: OrderedDict[Identity, Token] = OrderedDict()
        self._flights: dict[Identity, asyncio.Task[Token]] = {}

    async def get(
        self, identity: Identity, new: Callable[[], Awaitable[Token]], *, refused: Token | None = None
    ) -> Token:
        """A kept token, or the result of the exchange that is under way, or of a new one.

        Args:
            identity: Whose.
            new: Makes one; its error reaches all who wait for it.
            refused: Not this one; Google has refused it.
        """
        kept = self._kept.get(identity)
        if kept and kept is not refused and kept.until > self._clock():
            self._kept.move_to_end(identity)
            return kept
        flight = self._flights.get(identity)
        if flight is None:
            flight = self._flights[identity] = asyncio.create_task(self._exchange(identity, new))
            flight.add_done_callback(_heard)
        # Others wait for it too: it goes on when the one that began it gives up.
        return await asyncio.shield(flight)

    async def close(self) -> None:
        """End exchanges under way and forget all tokens."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        self._kept.clear()

    async def _exchange(self, identity: Identity, new: Callable[[], Awaitable[Token]]) -> Token:
        try:
            token = await new()
        finally:
            del self._flights[identity]
        if token.until > self._clock():
            self._kept[identity] = token
            self._kept.move_to_end(identity)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return token


def _heard(flight: asyncio.Task[Token]) -> None:
    """Take note of a failure that nobody waits for any more; asyncio would log it, text and all."""
    if not flight.cancelled():
        flight.exception()
