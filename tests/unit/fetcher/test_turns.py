"""Whose call goes to a backend next."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from fetcher.turns import Turns


@dataclass
class Floor:
    """Calls that each wait until they are let go, and the order in which they got their turns."""

    turns: Turns
    order: list[str] = field(default_factory=list)
    ends: dict[str, asyncio.Event] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    now: int = 0
    most: int = 0

    async def call(self, name: str, namespace: str, *, mount: bool, backend: str = "b") -> None:
        """One call, until it is let go."""
        async with self.turns.take(backend, namespace=namespace, mount=mount):
            self.order.append(name)
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                await self.ends[name].wait()
            finally:
                self.now -= 1

    async def start(self, name: str, namespace: str, *, mount: bool = True, backend: str = "b") -> None:
        """Have a call begin, or wait."""
        self.ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self.call(name, namespace, mount=mount, backend=backend))
        await settle()

    async def end_all(self) -> None:
        """Let everyone finish, in the order of their turns."""
        for end in self.ends.values():
            end.set()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_mounts_go_first() -> None:
    """Whatever waits of refreshes, a pod's mount is next."""
    floor = Floor(Turns(1))
    await floor.start("busy", "a")
    for number in range(3):
        await floor.start(f"refresh{number}", "a", mount=False)
    await floor.start("mount", "b")
    await floor.end_all()

    assert floor.order == ["busy", "mount", "refresh0", "refresh1", "refresh2"]


async def test_namespaces_take_turns() -> None:
    """One with a thousand classes delays another's only pod by one call, not by a thousand."""
    floor = Floor(Turns(1))
    await floor.start("busy", "big")
    for number in range(1000):
        await floor.start(f"big{number}", "big")
    await floor.start("small", "small")
    await floor.end_all()

    assert floor.order.index("small") <= 2
    assert len(floor.order) == 1002


async def test_backends_are_apart() -> None:
    """A backend that hangs takes no other's turns."""
    floor = Floor(Turns(1))
    await floor.start("hangs", "a", backend="dead")
    await floor.start("waits", "a", backend="dead")
    await floor.start("runs", "a", backend="well")

    assert floor.order == ["hangs", "runs"]
    await floor.end_all()
    assert floor.turns._desks == {}


async def test_who_is_cancelled_with_the_turn_in_hand_hands_it_on() -> None:
    """The moment between being given a turn and taking it loses none."""
    floor = Floor(Turns(1))
    await floor.start("busy", "a")
    await floor.start("unlucky", "a")
    await floor.start("next", "a")
    floor.ends["busy"].set()
    await asyncio.wait({floor.tasks["busy"]})
    floor.tasks["unlucky"].cancel()
    await settle()

    assert floor.order[-1] in {"next", "unlucky"}
    await floor.end_all()
    assert "next" in floor.order
    assert floor.turns._desks == {}


STEPS = st.lists(
    st.tuples(st.sampled_from(["start", "end", "cancel"]), st.integers(0, 30), st.sampled_from("abc"), st.booleans()),
    max_size=60,
)


@given(at_once=st.integers(1, 3), steps=STEPS)
@settings(max_examples=150, deadline=None)
def test_no_turn_is_lost_or_made_up(at_once: int, steps: list[tuple[str, int, str, bool]]) -> None:
    """In any order of arrivals, ends and cancellations: never more at once than allowed, and nobody waits for ever."""

    async def run() -> None:
        floor = Floor(Turns(at_once))
        acts = {
            "start": lambda name, namespace, mount: floor.start(name, namespace, mount=mount),
            "end": lambda name, *_: signal(floor.ends.get(name)),
            "cancel": lambda name, *_: cancel(floor.tasks.get(name)),
        }
        for index, (act, number, namespace, mount) in enumerate(steps):
            name = f"{index}" if act == "start" else f"{number}"
            await acts[act](name, namespace, mount)
        async with asyncio.timeout(5):
            await floor.end_all()
        assert floor.most <= at_once
        assert floor.turns._desks == {}

    asyncio.run(run())


async def signal(event: asyncio.Event | None) -> None:
    (event or asyncio.Event()).set()
    await settle()


async def cancel(task: asyncio.Task[None] | None) -> None:
    getattr(task, "cancel", lambda: None)()
    await asyncio.sleep(0)
