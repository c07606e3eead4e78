"""A source is connected again and again, in a decent rhythm."""

import asyncio
import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from keyferry.errors import ProviderUnavailable
from rotator.sources.heard import Heard, told
from rotator.sources.reconnecting import Pauses, Stands, for_ever


@given(st.integers(min_value=0, max_value=10_000))
def test_pauses_grow_to_a_limit_and_vary(attempt: int) -> None:
    """Each pause lies between half of its step and the whole; no attempt waits longer than the longest."""
    step = min(60.0, 2.0 ** min(attempt, 30))
    assert step / 2 <= Pauses().before(attempt) <= step


async def test_whatever_ends_a_connection_it_is_made_again(caplog: pytest.LogCaptureFixture) -> None:
    """An end, an error and a defect all lead to another try, and to one line in the log without the defect's text."""
    lives = 0
    gone: list[float] = []

    async def hear(stands: Stands) -> None:
        nonlocal lives
        lives += 1
        gone.append(stands())
        gone.append(stands())
        if lives % 3 == 1:
            raise ProviderUnavailable("the backend is away")
        if lives % 3 == 2:
            raise ValueError("CANARY")

    task = asyncio.create_task(for_ever(Heard("again"), hear, Pauses(0.001, 0.001)))
    async with asyncio.timeout(10):
        while lives < 6:  # noqa: ASYNC110 - what is waited for knows no event
            await asyncio.sleep(0.001)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert gone[0] == math.inf
    assert all(0 <= seconds < 10 for seconds in gone[1:])
    assert set(gone[1::2]) == {0.0}
    assert "the backend is away" in caplog.text
    assert "CANARY" not in caplog.text
    assert REGISTRY.get_sample_value("keyferry_change_source_connected", {"source": "again"}) == 0


def test_several_errors_are_told_by_the_first() -> None:
    """A group of errors is told by the first that is none, in words that quote nothing."""
    group = ExceptionGroup("CANARY", [ExceptionGroup("CANARY", [ProviderUnavailable("away")]), ValueError("CANARY")])
    assert told(group) == "away"
    assert told(ValueError("CANARY")) == "ValueError"
