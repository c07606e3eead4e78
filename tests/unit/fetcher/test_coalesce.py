from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from fetcher.alone import Alone
from fetcher.budgets import Budgets, Grant, Spending
from fetcher.claims import Claims
from fetcher.coalesce import Coalescer
from fetcher.kept import Kept
from fetcher.provider import Lease, Secret
from fetcher.shared import Shared
from keyferry.errors import ProviderUnavailable
from keyferry.resources import Content, File
from keyferry.store import Store


@dataclass
class Clock:
    """Stands still until it is told to go on."""

    seconds: float = 1_000.0

    def __call__(self) -> float:
        """The time."""
        return self.seconds

    @property
    def ms(self) -> int:
        """The time in milliseconds."""
        return int(self.seconds * 1000)


@dataclass
class Backend:
    """Answers once its gate is open; counts who asks."""

    size: int = 10
    calls: list[int] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    spending: Spending = field(default_factory=lambda: Spending("backend"))
    keep_ms: int = 3_600_000
    stale_ms: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    async def fetch(self, fetched_at_ms: int, _held: Kept | None, _grant: Grant) -> Kept:
        """The content, with the number of the call in it."""
        self.calls.append(fetched_at_ms)
        number = len(self.calls)
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        text = str(number).encode().ljust(self.size)
        content = Content("vault", "k", text, fetched_at_ms, (), (File("", text),))
        return Kept(content, (Secret("", text, "o", None),))

    async def renew(self, _kept: Kept, _grant: Grant) -> Lease | None:
        """Nothing here lives by a lease."""
        raise NotImplementedError


def alone() -> Claims:
    """A fetcher without Redis."""
    return Claims(Shared(Store(None), cast("Any", None)), Alone(Budgets(), 1000))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend() -> Backend:
    return Backend()


Make = Callable[..., Coalescer]


@pytest.fixture
def make(clock: Clock) -> Make:
    return lambda window=5.0, max_bytes=1000: Coalescer(
        replace(alone(), now=clock), window=window, max_bytes=max_bytes, now=clock
    )


def at_once(*gets: Awaitable[Kept]) -> asyncio.Future[list[Kept]]:
    return asyncio.gather(*gets)


async def begun(backend: Backend, calls: int) -> None:
    async with asyncio.timeout(10):
        while len(backend.calls) < calls:  # noqa: ASYNC110 - the fake has no bell
            await asyncio.sleep(0)


@pytest.mark.parametrize("window", [0.0, 5.0])
async def test_in_flight(make: Make, clock: Clock, backend: Backend, window: float) -> None:
    """Who asks for what is being fetched waits for that, however long ago the fetch began."""
    coalescer = make(window)
    backend.gate.clear()
    first = asyncio.create_task(coalescer.get("k", 0, backend))
    await begun(backend, 1)
    clock.seconds += 20
    others = at_once(*(coalescer.get("k", 0, backend) for _ in range(5)))
    await asyncio.sleep(0)
    backend.gate.set()

    assert {kept.content.digest for kept in [await first, *await others]} == {b"1".ljust(10)}
    assert backend.calls == [1_000_000]


async def test_window(make: Make, clock: Clock, backend: Backend) -> None:
    """A mount takes a content that is no older than the window, and not a moment longer."""
    coalescer = make(5.0)
    first = await coalescer.get("k", 0, backend)
    clock.seconds += 5.0
    held = await coalescer.get("k", 0, backend)
    clock.seconds += 0.001
    fresh = await coalescer.get("k", 0, backend)

    assert held is first
    assert (fresh.fetched_at_ms, len(backend.calls)) == (clock.ms, 2)


async def test_no_window(make: Make, backend: Backend) -> None:
    """Without a window nothing is kept once it has been handed out."""
    coalescer = make(0.0)
    for _ in range(3):
        await coalescer.get("k", 0, backend)

    assert len(backend.calls) == 3
    assert REGISTRY.get_sample_value("keyferry_contents_held_bytes") == 0


async def test_not_before(make: Make, clock: Clock, backend: Backend) -> None:
    """A refresh takes nothing that was fetched before its hint, held or in flight; what is as new it shares."""
    coalescer = make(60.0)
    await coalescer.get("k", 0, backend)
    clock.seconds += 1
    assert (await coalescer.get("k", clock.ms, backend)).fetched_at_ms == clock.ms
    assert (await coalescer.get("k", clock.ms, backend)).fetched_at_ms == clock.ms
    assert len(backend.calls) == 2

    clock.seconds += 61
    backend.gate.clear()
    slow = asyncio.create_task(coalescer.get("k", 0, backend))
    await begun(backend, 3)
    clock.seconds += 1
    newer = at_once(*(coalescer.get("k", clock.ms, backend) for _ in range(3)))
    await begun(backend, 4)
    backend.gate.set()

    assert {content.fetched_at_ms for content in await newer} == {clock.ms}
    assert (await slow).fetched_at_ms == clock.ms - 1000
    assert len(backend.calls) == 4


async def test_only_forward(make: Make, clock: Clock, backend: Backend) -> None:
    """An older fetch that ends after a newer one does not take its place."""
    coalescer = make(60.0)
    backend.gate.clear()
    old = asyncio.create_task(coalescer.get("k", 0, backend))
    await begun(backend, 1)
    clock.seconds += 1
    slow_gate, backend.gate = backend.gate, asyncio.Event()
    backend.gate.set()
    new = await coalescer.get("k", clock.ms, backend)
    slow_gate.set()
    await old

    assert await coalescer.get("k", 0, backend) is new
    assert len(backend.calls) == 2


async def test_keys_apart(make: Make, backend: Backend) -> None:
    """Another content key is another fetch."""
    coalescer = make()
    await at_once(coalescer.get("a", 0, backend), coalescer.get("b", 0, backend))

    assert len(backend.calls) == 2


async def test_failure(make: Make, backend: Backend) -> None:
    """A failure reaches all who share it and is not kept: the next one asks anew."""
    coalescer = make()
    backend.failures = [ProviderUnavailable("down")]
    outcomes = await asyncio.gather(*(coalescer.get("k", 0, backend) for _ in range(3)), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [ProviderUnavailable] * 3
    assert (await coalescer.get("k", 0, backend)).content.digest == b"2".ljust(10)


async def test_one_gives_up(make: Make, backend: Backend) -> None:
    """Whoever stops waiting, even the first, does not take the answer away from the others."""
    coalescer = make()
    backend.gate.clear()
    first, second = (asyncio.create_task(coalescer.get("k", 0, backend)) for _ in range(2))
    await begun(backend, 1)
    first.cancel()
    await asyncio.wait({first})
    backend.gate.set()

    assert (await second).content.digest == b"1".ljust(10)
    assert await coalescer.get("k", 0, backend) is await second


async def test_all_give_up(make: Make, backend: Backend) -> None:
    """A failure that nobody waits for any more is no unhandled exception."""
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    coalescer = make()
    backend.failures = [ProviderUnavailable("down")]
    backend.gate.clear()
    only = asyncio.create_task(coalescer.get("k", 0, backend))
    await begun(backend, 1)
    only.cancel()
    await asyncio.wait({only})
    backend.gate.set()
    await asyncio.sleep(0.01)
    gc.collect()

    assert unhandled == []
    assert (await coalescer.get("k", 0, backend)).content.digest == b"2".ljust(10)


async def test_old_flight_lands_before_the_new(make: Make, clock: Clock, backend: Backend) -> None:
    """The end of an old fetch does not hide the new one that is still under way."""
    coalescer = make(0.0)
    old_gate = backend.gate
    old_gate.clear()
    old = asyncio.create_task(coalescer.get("k", 0, backend))
    await begun(backend, 1)
    clock.seconds += 1
    backend.gate = asyncio.Event()
    new = asyncio.create_task(coalescer.get("k", clock.ms, backend))
    await begun(backend, 2)
    old_gate.set()
    await old
    joined = asyncio.create_task(coalescer.get("k", clock.ms, backend))
    await asyncio.sleep(0)
    backend.gate.set()

    assert await joined is await new
    assert len(backend.calls) == 2


async def test_bytes(make: Make) -> None:
    """No more is held than the limit says: the oldest goes first, and what is larger alone is not held."""
    coalescer, backend = make(60.0, 100), Backend(size=40)
    for key in ("a", "b", "c"):
        await coalescer.get(key, 0, backend)
    held = [(await coalescer.get(key, 0, backend)).content.digest.strip() for key in ("c", "b", "a")]
    large = Backend(size=101)
    for _ in range(2):
        await coalescer.get("large", 0, large)

    assert held == [b"3", b"2", b"4"]
    assert len(large.calls) == 2


async def test_values_do_not_outlive_the_window(backend: Backend) -> None:
    """What nobody asks for any more is dropped when the window ends."""
    coalescer = Coalescer(alone(), window=0.05, max_bytes=1000)
    await coalescer.get("k", 0, backend)
    assert REGISTRY.get_sample_value("keyferry_contents_held_bytes") == 10

    async with asyncio.timeout(10):
        while REGISTRY.get_sample_value("keyferry_contents_held_bytes"):  # noqa: ASYNC110 - no bell rings
            await asyncio.sleep(0.01)


async def test_outcomes_are_counted(make: Make, backend: Backend) -> None:
    """Contents are counted as fetched, joined and held."""

    def counted() -> list[float]:
        values = (
            REGISTRY.get_sample_value("keyferry_contents_total", {"outcome": o}) for o in ("fetched", "joined", "held")
        )
        return [value or 0.0 for value in values]

    before = counted()
    coalescer = make()
    await at_once(*(coalescer.get("k", 0, backend) for _ in range(3)))
    await coalescer.get("k", 0, backend)

    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1, 2, 1]
