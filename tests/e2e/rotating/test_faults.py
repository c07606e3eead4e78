"""Services that die, stand still or are away while secrets rotate: pods read on, and the newest reaches all of them."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from keyferry.events import VolumeRefreshed

if TYPE_CHECKING:
    from tests.e2e.rotating.conftest import Scene

pytestmark = pytest.mark.root


async def moment() -> None:
    """Some of the time that a refresh takes, never the same."""
    await asyncio.sleep(random.uniform(0.0, 0.3))  # noqa: S311 - a moment, no secret


@pytest.mark.parametrize("kind", ["fetchers", "rotators", "nodes"])
async def test_killed_one_after_the_other(scene: Scene, kind: str) -> None:
    """Whatever a service is at when it dies, no pod sees half a secret or an old one again, and all see the newest."""
    await scene.make_class(every="1s")
    await scene.mount_all()
    async with scene.watched() as watcher, scene.kubelet():
        for number, service in enumerate(getattr(scene.fleet, kind), start=1):
            await scene.rotate(number)
            await scene.change("db")
            await moment()
            service.process.kill()
            await moment()
            await asyncio.to_thread(service.process.start)
        await scene.rotate(9)
        await scene.shows(9)

    assert watcher.problems == []
    assert watcher.looks > 0


async def test_all_rotators_die_at_once(scene: Scene) -> None:
    """What they had taken and not told is told by their successors, and a change meanwhile is not lost."""
    await scene.make_class(every="0")
    await scene.mount_all(each=1)
    await scene.until(lambda: all(scene.told(each) for each in scene.mounted))
    for rotator in scene.fleet.rotators:
        rotator.process.kill()
    await scene.rotate(1)
    await scene.change("db")
    await asyncio.gather(*(asyncio.to_thread(each.process.start) for each in scene.fleet.rotators))

    await scene.shows(1)


async def test_rotators_stand_still(scene: Scene) -> None:
    """A rotator that is frozen is stood in for; when it goes on it does no harm, nor do both."""
    await scene.make_class(every="1s")
    await scene.mount_all(each=1)
    async with scene.watched() as watcher:
        for number, paused in enumerate((scene.fleet.rotators[:1], scene.fleet.rotators[1:]), start=1):
            for rotator in paused:
                rotator.process.pause()
            await scene.rotate(number)
            await scene.shows(number)
            for rotator in paused:
                rotator.process.resume()
        for rotator in scene.fleet.rotators:
            rotator.process.pause()
        await scene.rotate(3)
        await moment()
        for rotator in scene.fleet.rotators:
            rotator.process.resume()
        await scene.shows(3)

    assert watcher.problems == []


async def test_without_rotators_nodes_help_themselves(scene: Scene) -> None:
    """Kubelet's republish finds what is overdue; both nodes ask for the same moment, which is one read."""
    await scene.make_class(every="1s")
    mounted = await scene.mount_all()
    for rotator in scene.fleet.rotators:
        rotator.process.kill()
    before, told = scene.reads(), len(scene.words)
    await scene.rotate(1)
    async with scene.kubelet(every=0.2):
        await scene.shows(1)
        await scene.until(lambda: all(len(scene.told(each, VolumeRefreshed)) >= 2 for each in mounted))
    moments = {word.volume.fetched_at_ms for word in scene.words[told:] if isinstance(word, VolumeRefreshed)}
    reads = scene.reads() - before
    await asyncio.gather(*(asyncio.to_thread(each.process.start) for each in scene.fleet.rotators))

    assert reads <= len(moments)
    await scene.rotate(2)
    await scene.shows(2)


async def test_nats_restarted(scene: Scene) -> None:
    """Refreshes and changes that are under way come through, or come again."""
    await scene.make_class(every="1s")
    await scene.mount_all()
    async with scene.watched() as watcher:
        for number in (1, 2):
            await scene.rotate(number)
            await moment()
            await asyncio.to_thread(scene.fleet.stack.nats.process.restart)
            await scene.shows(number)

    assert watcher.problems == []


async def test_nats_killed_for_a_while(scene: Scene) -> None:
    """Nobody loses a volume while the bus is away, though some come and go meanwhile."""
    await scene.make_class(every="1s")
    mounted = await scene.mount_all(each=1)
    going = await scene.mount()
    async with scene.watched(*mounted) as watcher:
        scene.fleet.stack.nats.process.kill()
        await scene.rotate(1)
        await scene.unmount(going)
        await asyncio.sleep(2.0)
        await asyncio.to_thread(scene.fleet.stack.nats.process.start)
        await scene.shows(1)
        before = len(scene.told(going))
        await scene.rotate(2)
        await scene.shows(2)

    assert watcher.problems == []
    assert len(scene.told(going)) <= before + 1
