"""Hints and words that are broken, old, out of order or forged: pods never go back, and no backend is asked for it."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest
import redis.asyncio

from keyferry.changes import Due, RefreshVolumes
from keyferry.events import VolumePublished, VolumeRefreshed, VolumeUnpublished
from keyferry.subjects import change_subject, hint_subject, volume_subject

if TYPE_CHECKING:
    from tests.e2e.rotating.conftest import Scene

pytestmark = pytest.mark.root

BROKEN = (b"", b"\xff\xff\xff", b"\x0a\xff", b"\x0a\x02\x08\x01", b"not a message", b"\x00" * 4096)


async def test_replayed_and_reordered(scene: Scene) -> None:
    """All that was said before, said again in any order, moves nothing and costs no read."""
    await scene.make_class(every="0")
    mounted = await scene.mount_all(each=1)
    async with scene.watched() as watcher:
        for number in (1, 2, 3):
            await scene.rotate(number)
            await scene.change("db")
            await scene.shows(number)
        before = scene.reads()
        again = [
            (volume_subject(each.world.node.node, each.id), word.to_bytes())
            for each in mounted
            for word in scene.told(each)
        ]
        again += scene.hints
        random.shuffle(again)
        for subject, payload in again * 3:
            await scene.client.publish(subject, payload)
        await settled(scene)
        reads = scene.reads()
        await scene.rotate(4)
        await scene.change("db")
        await scene.shows(4)

    assert watcher.problems == []
    assert reads <= before + 1  # an old word may be the last one on a volume: then its node is asked


async def flush(scene: Scene) -> None:
    """Throw away everything that fetchers and rotators keep."""
    async with redis.asyncio.from_url(scene.fleet.stack.valkey.url) as client:
        await client.flushall()


async def settled(scene: Scene) -> None:
    """Wait until a class of its own has gone round twice, after what was said before."""
    await scene.make_class("clock", "password=clock:password", "user=clock:user", every="1s")
    await scene.rotate(0, "clock")
    clock = await scene.mount("clock")
    await scene.until(lambda: len(scene.told(clock, VolumeRefreshed)) >= 2)
    await scene.unmount(clock)


async def test_broken(scene: Scene) -> None:
    """What cannot be read harms nobody, wherever it is said, and what was broken on the bus is made whole again."""
    await scene.make_class(every="1s")
    mounted = await scene.mount_all(each=1)
    async with scene.watched() as watcher:
        for payload in BROKEN:
            for each in mounted:
                await scene.client.publish(hint_subject(each.world.node.node), payload)
                await scene.client.publish(volume_subject(each.world.node.node, each.id), payload)
            await scene.client.publish(change_subject("vault"), payload)
        await scene.rotate(1)
        await scene.shows(1)

    assert watcher.problems == []


async def test_broken_words_and_a_lost_schedule(scene: Scene) -> None:
    """With the last words on all volumes unreadable and Valkey empty, kubelet's republish brings them back."""
    await scene.make_class(every="1s")
    mounted = await scene.mount_all(each=1)
    for rotator in scene.fleet.rotators:
        rotator.process.pause()
    for each in mounted:
        await scene.client.jetstream().publish(volume_subject(each.world.node.node, each.id), b"\xff")
    await flush(scene)
    for rotator in scene.fleet.rotators:
        rotator.process.resume()
    await scene.rotate(1)
    async with scene.kubelet():
        await scene.shows(1)
    await scene.rotate(2)

    await scene.shows(2)


async def test_forged(scene: Scene) -> None:
    """A node in foreign hands keeps no other node's volumes from their refreshes, even if it was heard first."""
    await scene.make_class(every="1s")
    here, there = await scene.mount(node=0), await scene.mount(node=1)
    await scene.until(lambda: scene.told(there, VolumeRefreshed))
    told: VolumePublished = scene.told(there, VolumePublished)[-1]
    later = int(time.time() * 1000) + 3_600_000
    forged = {"node": "a", "fetched_at_ms": later, "rotation_ms": 0}
    own = VolumePublished(**{name: getattr(told, name) for name in told.__slots__} | forged)
    jetstream = scene.client.jetstream()
    await jetstream.publish(volume_subject("a", there.id), own.to_bytes())
    await jetstream.publish(volume_subject("a", here.id), told.to_bytes())
    heard = len(scene.told(there, VolumeRefreshed))
    await scene.until(lambda: len(scene.told(there, VolumeRefreshed)) > heard + 1)
    await flush(scene)  # the true words have come again since: now the forged one is read first
    await scene.rotate(1)
    await scene.shows(1)
    await jetstream.publish(volume_subject("a", there.id), VolumeUnpublished(there.id, "a").to_bytes())
    await scene.rotate(2)

    await scene.shows(2)


async def test_forged_hints(scene: Scene) -> None:
    """Hints for times to come cost a read or two, and keep nobody from what comes then."""
    await scene.make_class(every="0")
    mounted = await scene.mount_all(each=1)
    later, key = int(time.time() * 1000) + 3_600_000, scene.key(mounted[0])
    before = scene.reads()
    hint = RefreshVolumes((Due(key, later, ()), Due("", later, tuple(each.id for each in mounted))))
    for _ in range(20):
        for node in "ab":
            await scene.client.publish(hint_subject(node), hint.to_bytes())
    await scene.until(lambda: all(scene.told(each, VolumeRefreshed) for each in mounted))
    await scene.rotate(1)
    await scene.change("db")
    await scene.shows(1)

    assert scene.reads() <= before + 2 * len(mounted) + 1
