"""Changes that nobody will tell a second time, on their way to the bus: few, each object once, or else simply all."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import NoReturn

from rotator.sources.heard import Heard
from rotator.sources.reconnecting import Pauses
from rotator.sources.source import Change, Emit

_MOST = 1000
_EVERYTHING_SECONDS = 30.0


def everything() -> Change:
    """All objects of a provider, as after a gap in its events."""
    return Change((), f"gap-{uuid.uuid4()}")


class Pending:
    """Takes without ever making the sender wait; what does not fit is replaced by one change of everything.

    Args:
        heard: Of the source.
        provider: Whose changes these are.
        pauses: Between tries while the bus is away.
        most: How many changes to keep.
        every: Seconds between two changes of everything: whoever floods us has all contents read once in a while, no
            more.
    """

    def __init__(
        self, heard: Heard, provider: str, pauses: Pauses, *, most: int = _MOST, every: float = _EVERYTHING_SECONDS
    ) -> None:
        self._heard, self._provider, self._pauses, self._most, self._every = heard, provider, pauses, most, every
        self._changes: dict[tuple[str, ...], Change] = {}
        self._all = False
        self._all_after = 0.0
        self._filled = asyncio.Event()

    def add(self, change: Change) -> None:
        """To be told soon; an older change of the same objects is told with it."""
        if change.sources not in self._changes and len(self._changes) >= self._most:
            self._heard.refuse("overflow", "more changes at once than are kept: everything is read again instead")
            self._changes.clear()
            self._all = True
        else:
            self._changes[change.sources] = change
        self._filled.set()

    def everything(self) -> None:
        """Some changes may have been missed: have everything read again."""
        self._all = True
        self._filled.set()

    async def run(self, emit: Emit) -> NoReturn:
        """Tell what is pending, for ever."""
        failed = 0
        while True:
            await self._wait()
            if await self._tell_one(emit):
                failed = 0
            else:
                await asyncio.sleep(self._pauses.before(failed))
                failed += 1

    async def _wait(self) -> None:
        """Until something can be told."""
        while not self._changes:
            if not self._all:
                self._filled.clear()
                await self._filled.wait()
                continue
            left = self._all_after - time.monotonic()
            if left <= 0:
                return
            self._filled.clear()
            try:
                async with asyncio.timeout(left):
                    await self._filled.wait()
            except TimeoutError:
                return

    async def _tell_one(self, emit: Emit) -> bool:
        if self._all and time.monotonic() >= self._all_after:
            self._all = False
            self._all_after = time.monotonic() + self._every
            done = await self._heard.tell(emit, self._provider, everything())
            if not done:
                self._all, self._all_after = True, 0.0
            return done
        if not self._changes:
            return True
        key, change = next(iter(self._changes.items()))
        del self._changes[key]
        done = await self._heard.tell(emit, self._provider, change)
        if not done:
            self._changes.setdefault(key, change)
        return done
