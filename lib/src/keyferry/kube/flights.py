"""One call for all who ask for the same thing at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Flights(Generic[K, T]):
    """Calls under way, by what they ask for.

    A flight belongs to nobody: a passenger who is cancelled leaves it in the air for the others.
    """

    def __init__(self) -> None:
        self._under_way: dict[K, asyncio.Task[T]] = {}

    async def join(self, key: K, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the call under way for this key, or of a new one.

        Raises:
            Whatever the call raises, to each who waits for it.
        """
        flight = self._under_way.get(key)
        if flight is None:
            flight = self._under_way[key] = asyncio.create_task(call())
            flight.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(flight)

    def _landed(self, key: K, flight: asyncio.Task[T]) -> None:
        del self._under_way[key]
        if not flight.cancelled():
            # Looked at here, because all passengers may be gone and an error nobody sees is reported as a defect.
            flight.exception()
