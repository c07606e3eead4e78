"""Tries again where a backend may only have been busy: a few times, after random pauses, never past the deadline."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from keyferry.errors import ProviderUnavailable

T = TypeVar("T")

_FIRST_PAUSE = 0.2  # seconds
_LONGEST_PAUSE = 2.0

_random = random.SystemRandom()  # many fetchers see the same outage begin; they shall not come back as one


async def retried(call: Callable[[], Awaitable[T]], *, attempts: int, seconds_left: Callable[[], float]) -> T:
    """What the call gives, or its last error. SDKs' own retries would sleep through the deadline.

    Args:
        call: Raises ProviderUnavailable where another try may help.
        attempts: Tries; one at least.
        seconds_left: Until nobody waits for it any more.
    """
    pause = _FIRST_PAUSE
    for _ in range(attempts - 1):
        try:
            return await call()
        except ProviderUnavailable:
            chosen = pause * _random.uniform(0.5, 1.0)
            if chosen >= seconds_left():
                raise
        await asyncio.sleep(chosen)
        pause = min(_LONGEST_PAUSE, pause * 2)
    return await call()
