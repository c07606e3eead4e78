"""Bounds what strangers can make us do: a bucket of tokens, and a memory of ids that were seen."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_BURST = 4


class Bucket:
    """A rate.

    Args:
        rate: Tokens a second; four times as many may be saved up.
        clock: Seconds of a clock that never goes back.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._most, self._clock = rate, max(1.0, rate * _BURST), clock
        self._tokens, self._at = self._most, clock()

    def take(self, tokens: int = 1) -> bool:
        """Whether there is as much left; more than the bucket holds is taken for all that it holds."""
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
        self._at = now
        wanted = min(float(tokens), self._most)
        if self._tokens < wanted:
            return False
        self._tokens -= wanted
        return True


class Seen:
    """Ids of events that were told, for as long as they could be replayed.

    Args:
        seconds: How long that is.
        most: How many to keep; the oldest make room.
        clock: Seconds of a clock that never goes back.
    """

    def __init__(self, seconds: float, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._most, self._clock = seconds, most, clock
        self._until: OrderedDict[str, float] = OrderedDict()

    def __contains__(self, event_id: str) -> bool:
        return self._until.get(event_id, 0.0) > self._clock()

    def add(self, event_id: str) -> None:
        """It was told just now."""
        now = self._clock()
        while self._until and next(iter(self._until.values())) <= now:
            self._until.popitem(last=False)
        if len(self._until) >= self._most:
            self._until.popitem(last=False)
        self._until[event_id] = now + self._seconds
        self._until.move_to_end(event_id)
