"""Takes words that come one by one into the schedule together: a step of Redis costs more than a word in it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from keyferry.errors import StoreUnavailable
from rotator.schedule import Outcome, Schedule
from rotator.words import Word

_SECONDS = 0.05
_MOST = 64
"""Words; what else Redis is asked waits for all of them."""

_Waiting = tuple[Word, asyncio.Future[Outcome]]


class Gathering:
    """Words that wait for each other, for a moment.

    Args:
        schedule: Which takes them in.
        places: How many words may come before the first has been taken in: half of them are not waited for.
        seconds: How long a word waits for others at most.
    """

    def __init__(self, schedule: Schedule, *, places: int, seconds: float = _SECONDS) -> None:
        self._schedule = schedule
        self._enough = min(_MOST, max(1, places // 2))
        self._seconds = seconds
        self._waiting: list[_Waiting] = []
        self._now_ms = 0
        self._timer: asyncio.TimerHandle | None = None
        self._telling: set[asyncio.Task[None]] = set()

    async def tell(self, word: Word, now_ms: int) -> Outcome:
        """See `Schedule.tell`; a word that Redis refuses harms no other.

        Raises:
            StoreUnavailable: it refuses this one, or is away.
        """
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Outcome] = loop.create_future()
        self._waiting.append((word, outcome))
        self._now_ms = now_ms
        if len(self._waiting) >= self._enough:
            self._send()
        elif self._timer is None:
            self._timer = loop.call_later(self._seconds, self._send)
        return await outcome

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        task = asyncio.get_running_loop().create_task(self._tell(waiting, self._now_ms))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, waiting: Sequence[_Waiting], now_ms: int) -> None:
        try:
            outcomes = await self._schedule.tell_all([word for word, _ in waiting], now_ms)
        except StoreUnavailable as error:
            if len(waiting) == 1 or not self._schedule.is_reachable:
                _fail(waiting, error)
                return
            for each in waiting:  # one of them it cannot take, and nobody says which
                await self._tell([each], now_ms)
        except Exception as error:  # noqa: BLE001 - whoever waits shall know of it, and is who tells
            _fail(waiting, error)
        else:
            for (_, future), outcome in zip(waiting, outcomes, strict=True):
                if not future.done():
                    future.set_result(outcome)


def _fail(waiting: Sequence[_Waiting], error: Exception) -> None:
    for _, future in waiting:
        if not future.done():  # it is, where whoever waited has been told to stop
            future.set_exception(error)
