"""Backend tokens by identity, so that a workload gets its own once per token's life and not per fetch."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, Protocol, TypeVar


class Lasting(Protocol):
    """A token of some backend."""

    @property
    def until(self) -> float:
        """Up to when it may be used again, in seconds of the clock that `Tokens` goes by."""
        ...


K = TypeVar("K", bound=Hashable)
T = TypeVar("T", bound=Lasting)


class Tokens(Generic[K, T]):
    """The most recently used tokens; at most one exchange of an identity is under way at a time.

    Args:
        size: How many are kept; 0 keeps none.
        clock: Seconds.
    """

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self._size = size
        self._clock = clock
        self._kept: OrderedDict[K, T] = OrderedDict()
        self._flights: dict[K, asyncio.Task[T]] = {}

    async def get(self, identity: K, new: Callable[[], Awaitable[T]], *, refused: T | None = None) -> T:
        """A kept token, or the result of the exchange that is under way, or of a new one.

        Args:
            identity: Whose.
            new: Makes one; its error reaches all who wait for it.
            refused: Not this one; the backend has refused it.
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

    async def _exchange(self, identity: K, new: Callable[[], Awaitable[T]]) -> T:
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


def _heard(flight: asyncio.Task[Any]) -> None:
    """Take note of a failure that nobody waits for any more; asyncio would log it, text and all."""
    if not flight.cancelled():
        flight.exception()
