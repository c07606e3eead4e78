"""Work that is known by a key: once for many reasons, one at a time for each key, again after a while if it fails."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, NoReturn, TypeVar

from keyferry.errors import KeyferryError, place

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long failed work waits, in seconds, unless something happens to its key before; doubled with each failure.

    Attributes:
        first, longest: Where the error says that another try may help (`KeyferryError.retry_after`).
        first_idle, longest_idle: Where it will not, until somebody changes something that we may not hear of.
    """

    first: float = 1.0
    longest: float = 30.0
    first_idle: float = 15.0
    longest_idle: float = 300.0

    def after(self, failures: int, wait: float | None) -> float:
        """The pause after so many failures in a row; without what is left to chance."""
        first, longest = (self.first_idle, self.longest_idle) if wait is None else (self.first, self.longest)
        return max(wait or 0.0, min(longest, first * 2.0 ** min(failures - 1, 16)))


USUAL = Pauses()


class Work(Generic[K]):
    """What is to be done. `run` belongs into a task group.

    Args:
        do: Does the work of a key; whatever it raises is logged, and it is called again later.
        at_once: Keys in work at the same time.
        pauses: After failures.
    """

    def __init__(self, do: Callable[[K], Awaitable[None]], *, at_once: int, pauses: Pauses = USUAL) -> None:
        self._do = do
        self._at_once = at_once
        self._pauses = pauses
        self._due: dict[K, None] = {}  # in the order in which they came
        self._busy: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._stirred = asyncio.Event()

    def __len__(self) -> int:
        return len(self._due) + len(self._busy)

    def add(self, key: K) -> None:
        """Have it done soon; once more if it is in work now."""
        if key in self._busy:
            self._again.add(key)
        else:
            self._due[key] = None
            self._stirred.set()

    async def run(self) -> NoReturn:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(self._at_once):
                    workers.create_task(self._work())
        finally:
            for timer in self._timers.values():
                timer.cancel()
        raise AssertionError  # workers never end

    async def _work(self) -> NoReturn:
        while True:
            while not self._due:
                self._stirred.clear()
                await self._stirred.wait()
            key = next(iter(self._due))
            del self._due[key]
            if timer := self._timers.pop(key, None):
                timer.cancel()
            self._busy.add(key)
            try:
                await self._do(key)
                self._failures.pop(key, None)
            except KeyferryError as error:
                self._retry(key, error.message, error.retry_after)
            except Exception as error:  # noqa: BLE001 - a defect in one must not stop the others
                self._retry(key, f"a defect of ours: {place(error)}", None)
            finally:
                self._busy.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)

    def _retry(self, key: K, why: str, wait: float | None) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause = self._pauses.after(failures, wait) * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load
        log.warning("will be tried again: %s", why, extra={"about": str(key), "failures": failures})
        self._timers[key] = asyncio.get_running_loop().call_later(pause, self.add, key)
