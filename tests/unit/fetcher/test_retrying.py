"""A few tries, after random pauses, never past the deadline."""

import math
import time
from collections.abc import Callable, Iterator

import pytest

from fetcher.retrying import retried
from keyferry.errors import KeyferryError, ProviderUnavailable, RateLimited, SecretNotFound


class Backend:
    """Fails as planned, then answers; notes when it was asked."""

    def __init__(self, *failures: KeyferryError) -> None:
        self.failures = list(failures)
        self.asked: list[float] = []

    async def __call__(self) -> str:
        """One try."""
        self.asked.append(time.monotonic())
        if self.failures:
            raise self.failures.pop(0)
        return "horse"


def always() -> float:
    """Nobody stops waiting."""
    return math.inf


def counting_down(*seconds: float) -> Callable[[], float]:
    """What is left, each time it is asked for."""
    left: Iterator[float] = iter(seconds)
    return lambda: next(left)


@pytest.mark.parametrize("attempts", [-1, 0, 1, 5])
async def test_an_answer_is_not_asked_for_again(attempts: int) -> None:
    """And there is one try at least."""
    backend = Backend()

    assert await retried(backend, attempts=attempts, seconds_left=always) == "horse"
    assert len(backend.asked) == 1


async def test_a_backend_that_was_busy_is_asked_again_after_a_pause() -> None:
    """A longer one each time: at least a tenth of a second, then two tenths."""
    backend = Backend(ProviderUnavailable("1"), ProviderUnavailable("2"))

    assert await retried(backend, attempts=3, seconds_left=always) == "horse"

    first, second, third = backend.asked
    assert second - first >= 0.1
    assert third - second >= 0.2


async def test_the_last_error_is_told() -> None:
    """After as many tries as are allowed."""
    backend = Backend(*(ProviderUnavailable(str(number)) for number in range(5)))

    with pytest.raises(ProviderUnavailable, match="1"):
        await retried(backend, attempts=2, seconds_left=always)

    assert len(backend.asked) == 2


@pytest.mark.parametrize("error", [SecretNotFound("gone"), RateLimited("throttled")])
async def test_what_another_try_would_not_mend_is_told_at_once(error: KeyferryError) -> None:
    """Nor is a backend that asks for fewer calls answered by more of them."""
    backend = Backend(error)

    with pytest.raises(type(error)):
        await retried(backend, attempts=5, seconds_left=always)

    assert len(backend.asked) == 1


async def test_no_pause_goes_past_the_deadline() -> None:
    """The error is told while somebody still waits for it."""
    backend = Backend(ProviderUnavailable("slow"))

    with pytest.raises(ProviderUnavailable, match="slow"):
        await retried(backend, attempts=5, seconds_left=lambda: 0.05)

    assert len(backend.asked) == 1


async def test_the_deadline_is_looked_at_before_each_pause() -> None:
    """What was enough for the first is not for the second."""
    backend = Backend(ProviderUnavailable("1"), ProviderUnavailable("2"))

    with pytest.raises(ProviderUnavailable, match="2"):
        await retried(backend, attempts=5, seconds_left=counting_down(10.0, 0.01))

    assert len(backend.asked) == 2
