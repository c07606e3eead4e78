"""Valkey is flushed, away, or hangs: it holds nothing that cannot be made again, and nothing waits for it for long."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
import redis.asyncio

if TYPE_CHECKING:
    from tests.e2e.rotating.conftest import Scene

pytestmark = pytest.mark.root


async def flush(scene: Scene) -> None:
    """Throw away everything that fetchers and rotators keep."""
    async with redis.asyncio.from_url(scene.fleet.stack.valkey.url) as client:
        await client.flushall()


async def test_flushed_again_and_again(scene: Scene) -> None:
    """The schedule is made again from what nodes told, each time."""
    await scene.make_class(every="1s")
    await scene.mount_all()
    async with scene.watched() as watcher:
        for number in (1, 2, 3):
            await flush(scene)
            await scene.rotate(number)
            await flush(scene)
            await scene.shows(number)

    assert watcher.problems == []


async def test_a_change_while_it_is_empty(scene: Scene) -> None:
    """A change that is heard before the schedule is there again is kept for it."""
    await scene.make_class(every="0")
    await scene.mount_all(each=1)
    await scene.until(lambda: all(scene.told(each) for each in scene.mounted))
    await flush(scene)
    await scene.rotate(1)
    await scene.change("db")

    await scene.shows(1)


async def test_away_for_a_while(scene: Scene) -> None:
    """Pods mount and read on without it; nodes refresh what is overdue; rotation goes on when it is back."""
    await scene.make_class(every="1s")
    await scene.mount_all(each=1)
    async with scene.watched() as watcher:
        await asyncio.to_thread(scene.fleet.stack.valkey.process.stop)
        await scene.rotate(1)
        late = await scene.mount()
        async with scene.kubelet():
            await scene.shows(1)
        await asyncio.to_thread(scene.fleet.stack.valkey.process.start)
        await scene.rotate(2)
        await scene.shows(2)

    assert watcher.problems == []
    assert late.password == "v000002"


async def test_hangs(scene: Scene) -> None:
    """A Valkey that takes connections and answers nobody keeps no pod from its mount, and is found when it goes on."""
    await scene.make_class(every="1s")
    await scene.mount_all(each=1)
    valkey = scene.fleet.stack.valkey.process
    async with scene.watched() as watcher:
        with contextlib.ExitStack() as frozen:
            valkey.pause()
            frozen.callback(valkey.resume)
            await scene.rotate(1)
            await scene.mount()
            async with scene.kubelet():
                await scene.shows(1)
        await scene.rotate(2)
        await scene.shows(2)

    assert watcher.problems == []
