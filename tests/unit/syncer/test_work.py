from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from keyferry.errors import AccessDenied, BusUnavailable, KeyferryError, KubernetesUnavailable
from syncer.work import Pauses, Work

SOON = Pauses(first=0.01, longest=0.02, first_idle=30.0, longest_idle=60.0)


@asynccontextmanager
async def working(do: Callable[[str], Awaitable[None]], *, at_once: int = 2) -> AsyncIterator[Work[str]]:
    work = Work(do, at_once=at_once, pauses=SOON)
    task = asyncio.ensure_future(work.run())
    yield work
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def settled(work: Work[str]) -> None:
    async with asyncio.timeout(5):
        while len(work):  # noqa: ASYNC110 - it rings no bell when it is idle
            await asyncio.sleep(0.005)


async def test_a_key_is_done_once_for_many_reasons() -> None:
    """What is added while it waits is one piece of work."""
    done: list[str] = []

    async def do(key: str) -> None:
        done.append(key)

    async with working(do) as work:
        for key in ("a", "b", "a", "a"):
            work.add(key)
        await settled(work)

    assert sorted(done) == ["a", "b"]


async def test_a_key_is_never_done_by_two_at_a_time() -> None:
    """What is added while it is in work is done once more, afterwards."""
    inside, most, rounds, go = 0, 0, 0, asyncio.Event()

    async def do(_: str) -> None:
        nonlocal inside, most, rounds
        inside, rounds = inside + 1, rounds + 1
        most = max(most, inside)
        await go.wait()
        inside -= 1

    async with working(do, at_once=4) as work:
        work.add("a")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        work.add("a")
        work.add("a")
        await asyncio.sleep(0.01)
        go.set()
        await settled(work)

    assert (most, rounds) == (1, 2)


@pytest.mark.parametrize(
    "error", [KubernetesUnavailable("away", retry_after=0.01), BusUnavailable("away", retry_after=0.02)]
)
async def test_what_failed_for_now_is_tried_again(error: KeyferryError) -> None:
    """Soon, and as often as it takes."""
    left, done = [error] * 3, asyncio.Event()

    async def do(_: str) -> None:
        if left:
            raise left.pop()
        done.set()

    async with working(do) as work:
        work.add("a")
        async with asyncio.timeout(20):
            await done.wait()

    assert left == []


@pytest.mark.parametrize("error", [AccessDenied("no"), ValueError("a defect")])
async def test_what_only_a_person_can_change_waits_for_one(error: Exception) -> None:
    """It is not tried again soon by itself, but at once when something happens to it."""
    tries = 0

    async def do(_: str) -> None:
        nonlocal tries
        tries += 1
        raise error

    async with working(do) as work:
        work.add("a")
        await asyncio.sleep(0.2)
        alone = tries
        work.add("a")
        await settled(work)

    assert (alone, tries) == (1, 2)


async def test_a_defect_does_not_stop_the_others() -> None:
    """The workers go on."""
    done: list[str] = []

    async def do(key: str) -> None:
        if key == "bad":
            raise RuntimeError
        done.append(key)

    async with working(do, at_once=1) as work:
        for key in ("bad", "a"):
            work.add(key)
        await settled(work)

    assert done == ["a"]


def test_pauses_grow_to_a_limit() -> None:
    """Of an API server that was away for an hour one is rid within half a minute; never more often than it asks for."""
    pauses = Pauses()

    assert [pauses.after(n, 2.0) for n in (1, 2, 3, 4, 40)] == [2.0, 2.0, 4.0, 8.0, 30.0]
    assert pauses.after(40, 60.0) == 60.0
    assert [pauses.after(n, None) for n in (1, 2, 40)] == [15.0, 30.0, 300.0]
