"""Changes that nobody tells twice are kept until the bus has them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from rotator.sources.heard import Heard
from rotator.sources.pending import Pending
from rotator.sources.reconnecting import Pauses
from rotator.sources.source import Change

from .conftest import Bus

QUICK = Pauses(first=0.001, longest=0.002)


def pending(*, most: int = 5, every: float = 0.0) -> Pending:
    return Pending(Heard("test"), "vault", QUICK, most=most, every=every)


@asynccontextmanager
async def running(kept: Pending, bus: Bus) -> AsyncIterator[None]:
    task = asyncio.create_task(kept.run(bus.emit))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is waited for knows no event
            await asyncio.sleep(0.001)


async def test_changes_are_told_in_order(bus: Bus) -> None:
    """What comes first is told first."""
    kept = pending()
    for name in "abc":
        kept.add(Change((name,), name))
    async with running(kept, bus):
        await until(lambda: len(bus.told) == 3)
    assert bus.sources() == [("a",), ("b",), ("c",)]


async def test_changes_of_the_same_objects_are_one(bus: Bus) -> None:
    """The latest stands for those before it."""
    kept = pending()
    for number in range(100):
        kept.add(Change(("a",), str(number)))
    async with running(kept, bus):
        await until(lambda: bool(bus.told))
    assert [change.event_id for change in bus.told] == ["99"]


async def test_too_many_are_told_as_everything(bus: Bus) -> None:
    """What does not fit is not lost: all is read again instead."""
    kept = pending(most=5)
    for number in range(6):
        kept.add(Change((str(number),), str(number)))
    async with running(kept, bus):
        await until(lambda: bool(bus.told))
    assert bus.sources() == [()]


async def test_a_change_is_tried_until_it_is_told(bus: Bus) -> None:
    """Neither a change nor a gap is lost to a bus that is away."""
    kept = pending()
    bus.away = True
    kept.everything()
    kept.add(Change(("a",), "a"))
    async with running(kept, bus):
        await until(lambda: len(bus.refused) > 5)
        bus.away = False
        await until(lambda: len(bus.told) == 2)
    assert bus.sources() == [(), ("a",)]


async def test_gaps_are_told_now_and_then(bus: Bus) -> None:
    """However many gaps there are, everything is read once in a while only; changes go on meanwhile."""
    kept = pending(every=3600.0)
    async with running(kept, bus):
        kept.everything()
        await until(lambda: len(bus.told) == 1)
        for number in range(5):
            kept.everything()
            kept.add(Change((str(number),), str(number)))
            await until(lambda: ((str(number),)) in bus.sources())  # noqa: B023 - awaited in the same turn
    assert bus.sources().count(()) == 1


async def test_a_gap_that_had_to_wait_is_told_at_last(bus: Bus) -> None:
    """The last gap is not forgotten: what was missed in it is read when its time has come."""
    kept = pending(every=0.05)
    async with running(kept, bus):
        kept.everything()
        await until(lambda: len(bus.told) == 1)
        kept.everything()
        await until(lambda: len(bus.told) == 2)
