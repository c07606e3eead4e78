"""Everything that a refresh stands on dies or goes away: the old content stays, and the new one comes in the end."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from keyferry.changes import Due
from keyferry.events import RefreshFailed, VolumeRefreshed
from keyferry.kube import Json
from keyferry.proto.csi.v1 import csi_pb2 as csi
from keyferry.testing.kubelet import IDENTITY, call
from keyferry.testing.services import NodeDriver
from keyferry.testing.stack import Stack
from node_driver import mounts

if TYPE_CHECKING:
    from tests.e2e.conftest import Until
    from tests.e2e.refresh.conftest import Shop

pytestmark = pytest.mark.root


def content(target: Path) -> str:
    return (target / "password").read_text()


async def answers(driver: NodeDriver) -> bool:
    """Whether a driver answers; the socket of one that was killed is there before its successor does."""
    try:
        await call(driver.endpoint, "Probe", csi.ProbeRequest(), csi.ProbeResponse, service=IDENTITY)
    except grpc.aio.AioRpcError:
        return False
    return True


async def republished(shop: Shop, pod: Json, target: Path) -> None:
    """Republish as kubelet does every minute, which is OK each time, until the new content is there."""
    async with asyncio.timeout(40):
        while content(target) != "lion":
            await shop.world.kubelet.publish(pod, "secrets", seconds=5.0)
            await asyncio.sleep(0.2)


async def test_backend_down(shop: Shop) -> None:
    """While a backend fails, the old content stays and the event says whose fault it is; then the new one comes."""
    _, target, volume = await shop.mount()
    await shop.rotate(password="lion")
    shop.proxy.fail(status=503, body='{"errors": ["sealed"]}')
    (answer,) = await shop.rotator.refresh(volume)
    before = content(target)
    shop.proxy.restore()
    await shop.rotator.refresh(volume)

    assert isinstance(answer, RefreshFailed)
    assert (answer.code, answer.reason) == ("UNAVAILABLE", "ProviderUnavailable")
    assert "lion" not in answer.message
    assert (before, content(target)) == ("tiger", "lion")


async def test_driver_restarted(shop: Shop, until: Until) -> None:
    """A driver that has just started has no tokens: a hint is remembered, and met when kubelet brings them."""
    pod, target, volume = await shop.mount()
    await shop.rotate(password="lion")
    await asyncio.to_thread(shop.world.node.process.restart)
    await until(lambda: answers(shop.world.node))
    reads = shop.reads
    for _ in range(20):
        await shop.rotator.hint(Due("", int(time.time() * 1000), (volume,)))
        await asyncio.sleep(0.05)
    assert (content(target), shop.reads) == ("tiger", reads)
    await shop.world.kubelet.publish(pod, "secrets")
    await until(lambda: content(target) == "lion")

    assert shop.reads == reads + 1


async def test_driver_killed_during_a_refresh(shop: Shop, until: Until) -> None:
    """A driver that dies while it asks leaves the old content; its successor refreshes it."""
    pod, target, volume = await shop.mount()
    await shop.rotate(password="lion")
    reads = shop.reads
    with shop.proxy.held(shop.READ):
        await shop.rotator.hint(Due("", int(time.time() * 1000), (volume,)))
        await shop.proxy.arrived(reads + 1, shop.READ)
        shop.world.node.process.kill()
    assert content(target) == "tiger"
    await asyncio.to_thread(shop.world.node.process.start)
    await until(lambda: answers(shop.world.node))
    await shop.world.kubelet.publish(pod, "secrets")
    await shop.rotator.refresh(volume)

    assert content(target) == "lion"


async def test_driver_killed_again_and_again(shop: Shop, until: Until) -> None:
    """Whenever a driver dies during refreshes, a volume's files are whole, and the newest come in the end."""
    mounted = [await shop.mount("both") for _ in range(8)]
    for number in range(3):
        await shop.rotate(password=f"v{number}", user=f"v{number}")
        await shop.rotator.hint(Due("", int(time.time() * 1000), tuple(volume for _, _, volume in mounted)))
        await asyncio.sleep(0.03 * number)
        shop.world.node.process.kill()
        pairs = [(content(target), (target / "user").read_text()) for _, target, _ in mounted]
        assert {pair for pair in pairs if pair[0] != pair[1]} <= {("tiger", "app")}
        await asyncio.to_thread(shop.world.node.process.start)
        await until(lambda: answers(shop.world.node))
        for pod, _, _ in mounted:
            await shop.world.kubelet.publish(pod, "both")
    await shop.rotator.refresh(*(volume for _, _, volume in mounted))

    assert [content(target) for _, target, _ in mounted] == ["v2"] * 8
    leftovers = [path.name for _, target, _ in mounted for path in target.glob("..2*")]
    assert len(leftovers) == 8


async def test_fetcher_killed_during_a_refresh(shop: Shop, breakable: Stack, running: ExitStack) -> None:
    """A refresh outlives the fetcher that worked on it."""
    _, target, volume = await shop.mount()
    await shop.rotate(password="lion")
    reads = shop.reads
    shop.proxy.delay(60.0, match=shop.READ, times=1)
    await shop.rotator.hint(Due("", int(time.time() * 1000), (volume,)))
    await shop.proxy.arrived(reads + 1, shop.READ)
    await asyncio.to_thread(running.enter_context, breakable.fetcher(KEYFERRY_VAULT_TIMEOUT="3s"))
    shop.fetcher.process.kill()
    await shop.rotator.refresh(volume)
    await asyncio.to_thread(shop.fetcher.process.start)

    assert content(target) == "lion"


async def test_bus_restarted_during_a_refresh(shop: Shop, breakable: Stack) -> None:
    """A refresh that is under way while NATS restarts comes through, or the next hint brings it."""
    _, target, volume = await shop.mount()
    await shop.rotate(password="lion")
    reads = shop.reads
    with shop.proxy.held(shop.READ):
        await shop.rotator.hint(Due("", int(time.time() * 1000), (volume,)))
        await shop.proxy.arrived(reads + 1, shop.READ)
        await asyncio.to_thread(breakable.nats.process.restart)
    await shop.rotator.refresh(volume)

    assert content(target) == "lion"


async def test_bus_away(shop: Shop, breakable: Stack) -> None:
    """While NATS is away kubelet's republish is OK and the content stays; hints are heard again afterwards."""
    pod, target, volume = await shop.mount()
    await shop.rotate(password="lion")
    await asyncio.to_thread(breakable.nats.process.stop)
    await shop.world.kubelet.publish(pod, "secrets", seconds=5.0)
    before = content(target)
    await asyncio.to_thread(breakable.nats.process.start)
    answer = (await shop.rotator.refresh(volume))[0]

    assert (before, content(target)) == ("tiger", "lion")
    assert isinstance(answer, VolumeRefreshed)


async def test_safety_net_while_all_is_away(shop: Shop, breakable: Stack, running: ExitStack) -> None:
    """A republish that finds a volume overdue is OK although its refresh cannot succeed, and the next one mends it."""
    starting = breakable.node_driver("node-b", KEYFERRY_ROTATION_INTERVAL="500ms")
    there = replace(shop, world=shop.world.on(await asyncio.to_thread(running.enter_context, starting)))
    pod, target, _ = await there.mount()
    await shop.rotate(password="lion")
    shop.proxy.drop()
    await asyncio.sleep(1.1)
    for _ in range(3):
        await there.world.kubelet.publish(pod, "secrets", seconds=2.0)
        await asyncio.sleep(0.3)
    assert content(target) == "tiger"
    shop.proxy.restore()

    await republished(there, pod, target)


async def test_mount_lost_during_a_refresh(shop: Shop) -> None:
    """A volume that is unmounted behind the driver's back while it is asked for gets no file on the node's own disk."""
    pod, target, volume = await shop.mount()
    reads = shop.reads
    with shop.proxy.held(shop.READ):
        await shop.rotator.hint(Due("", int(time.time() * 1000), (volume,)))
        await shop.proxy.arrived(reads + 1, shop.READ)
        mounts.unmount(str(target))
    await shop.rotator.refresh((await shop.mount())[2])
    assert list(target.iterdir()) == []
    await shop.world.kubelet.publish(pod, "secrets")

    assert content(target) == "tiger"
