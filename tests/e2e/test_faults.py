"""Processes that die, servers that go and come: no empty volume is ever OK, and everything comes right by itself."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import nats
import pytest

from keyferry.events import VolumePublished, VolumeUnpublished, volume_event
from keyferry.kube import Json
from keyferry.proto.csi.v1 import csi_pb2 as csi
from keyferry.subjects import volume_subject
from keyferry.testing.kubelet import IDENTITY, call
from keyferry.testing.proxy import CountingProxy, counting_proxy
from keyferry.testing.services import NodeDriver
from keyferry.testing.stack import Stack
from keyferry.testing.world import World
from node_driver import mounts

if TYPE_CHECKING:
    from tests.e2e.conftest import Apart, Settle, Until

pytestmark = pytest.mark.root

READ = "GET /v1/secret/data"


@pytest.fixture
async def proxy(servers: Stack) -> AsyncIterator[CountingProxy]:
    """Between the fetchers and OpenBao."""
    async with counting_proxy(servers.openbao.address) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def driver(breakable: Stack) -> Iterator[NodeDriver]:
    """A node that tests break and mend, and a fetcher."""
    with breakable.fetcher(), breakable.node_driver() as driver:
        yield driver


@pytest.fixture
async def alone(driver: NodeDriver, settle: Settle, proxy: CountingProxy) -> World:
    """A namespace on that node, with a class `secrets` whose backend is the proxy."""
    assert driver.process.is_running, "a test before this one left the driver dead"
    return await furnished(await settle(driver), proxy)


async def furnished(world: World, proxy: CountingProxy) -> World:
    await world.secret("db", password="tiger")
    await world.vault_class(vaultAddress=proxy.url)
    return world


def content(target: Path) -> str:
    return (target / "password").read_text()


async def restart(driver: NodeDriver) -> None:
    """Start a driver anew and wait until it answers: the socket of one that was killed is there before that."""
    await asyncio.to_thread(driver.process.restart)
    async with asyncio.timeout(20):
        while not await answers(driver):  # noqa: ASYNC110 - another process has no event to wait for
            await asyncio.sleep(0.02)


async def answers(driver: NodeDriver) -> bool:
    try:
        await call(driver.endpoint, "Probe", csi.ProbeRequest(), csi.ProbeResponse, service=IDENTITY)
    except grpc.aio.AioRpcError:
        return False
    return True


async def test_fetcher_killed_while_it_fetches(own: Stack, settle: Settle, proxy: CountingProxy) -> None:
    """A mount outlives the fetcher that worked on it: another one takes the request over."""
    proxy.delay(60.0, match=READ, times=1)
    with own.node_driver() as node, own.fetcher() as doomed:
        world = await furnished(await settle(node), proxy)
        mount = asyncio.create_task(world.kubelet.publish(await world.pod(), "secrets"))
        await proxy.arrived(1, READ)
        with own.fetcher():
            doomed.process.kill()
            target = await mount

    assert content(target) == "tiger"


async def test_driver_killed_while_it_waits(alone: World, proxy: CountingProxy) -> None:
    """A driver that dies during a publish leaves nothing, and its successor publishes the volume."""
    pod = await alone.pod()
    with proxy.held(READ):
        mount = asyncio.create_task(alone.kubelet.publish(pod, "secrets"))
        await proxy.arrived(1, READ)
        alone.node.process.kill()
        code, _ = await alone.refused(mount, pod)
        await restart(alone.node)
    target = await alone.kubelet.publish(pod, "secrets")

    assert code == "UNAVAILABLE"
    assert content(target) == "tiger"


async def test_driver_killed_again_and_again(alone: World) -> None:
    """Whatever a driver is doing when it dies, a volume that was OK is whole, and all others become so."""
    pods = [await alone.pod() for _ in range(24)]
    ready: list[Path] = []

    async def publish(pod: Json) -> None:
        ready.append(await alone.mounted(pod))

    async with asyncio.TaskGroup() as tasks:
        for pod in pods:
            tasks.create_task(publish(pod))
        for _ in range(3):
            await asyncio.sleep(random.uniform(0.0, 0.15))  # noqa: S311 - a moment, no secret
            alone.node.process.kill()
            assert [content(target) for target in ready] == ["tiger"] * len(ready)
            await restart(alone.node)

    assert [content(alone.kubelet.target(pod, "secrets")) for pod in pods] == ["tiger"] * len(pods)
    await asyncio.gather(*(alone.kubelet.unpublish(pod) for pod in pods))
    assert [alone.left(pod) for pod in pods] == [[]] * len(pods)


async def test_driver_restarted(alone: World, proxy: CountingProxy) -> None:
    """A new driver takes over what is mounted: no backend call, no file touched, and it can be unpublished."""
    pod = await alone.pod()
    target = await alone.kubelet.publish(pod, "secrets")
    before = ((target / "..data").readlink(), (target / "password").stat())
    calls = proxy.count()
    await restart(alone.node)
    await alone.kubelet.publish(pod, "secrets")

    assert ((target / "..data").readlink(), (target / "password").stat()) == before
    assert proxy.count() == calls
    await alone.kubelet.unpublish(pod)
    assert alone.left(pod) == []


async def test_node_rebooted(alone: World) -> None:
    """After a reboot the tmpfs are gone and the records are not: they are forgotten, and volumes published anew."""
    pod, gone = await alone.pod(), await alone.pod()
    target = await alone.kubelet.publish(pod, "secrets")
    await alone.kubelet.publish(gone, "secrets")
    alone.node.process.stop()
    for each in (pod, gone):
        mounts.unmount(str(alone.kubelet.target(each, "secrets")))
    await restart(alone.node)

    assert [path for path in alone.left(pod) + alone.left(gone) if path.endswith(".json")] == []
    assert content(await alone.kubelet.publish(pod, "secrets")) == "tiger"
    await alone.kubelet.unpublish(gone)
    assert alone.left(gone) == []
    assert target.exists()


async def test_mount_taken_away(alone: World) -> None:
    """A volume that somebody unmounted behind the driver's back is published anew, not called OK."""
    pod = await alone.pod()
    target = await alone.kubelet.publish(pod, "secrets")
    mounts.unmount(str(target))
    await alone.kubelet.publish(pod, "secrets")

    assert content(target) == "tiger"


async def test_bus_restarted(breakable: Stack, alone: World) -> None:
    """Mounts that are under way while NATS restarts all come through."""
    pods = [await alone.pod() for _ in range(20)]
    first = [asyncio.create_task(alone.mounted(pod, seconds=4.0)) for pod in pods[:10]]
    await asyncio.to_thread(breakable.nats.process.restart)
    targets = await asyncio.gather(*first, *(alone.mounted(pod) for pod in pods[10:]))

    assert [content(target) for target in targets] == ["tiger"] * len(pods)


async def test_bus_away(breakable: Stack, alone: World, until: Until) -> None:
    """Without NATS a publish is UNAVAILABLE within seconds; what is mounted stays, and what changes is told later."""
    kept, pod, left = await alone.pod(), await alone.pod(), await alone.pod()
    for each in (kept, left):
        await alone.kubelet.publish(each, "secrets")
    await asyncio.to_thread(breakable.nats.process.stop)
    code, said = await alone.refused(alone.kubelet.publish(pod, "secrets", seconds=20.0), pod)
    await alone.kubelet.publish(kept, "secrets")
    await alone.kubelet.unpublish(left)

    assert code == "UNAVAILABLE"
    assert "NATS cannot be reached" in said
    assert alone.left(left) == []
    await asyncio.to_thread(breakable.nats.process.start)
    assert content(await alone.mounted(pod)) == "tiger"
    ids = [alone.kubelet.handle(each, "secrets") for each in (kept, pod, left)]

    async def all_told() -> bool:
        return [await told(breakable, each) for each in ids] == [VolumePublished, VolumePublished, VolumeUnpublished]

    await until(all_told, within=40.0)


async def told(stack: Stack, volume_id: str) -> type:
    """What kind of event is the last word on a volume."""
    client = await nats.connect(stack.nats.url)
    try:
        last = await client.jetstream().get_last_msg("VOLUMES", volume_subject("node-a", volume_id))
        return type(volume_event(last.data or b""))
    finally:
        await client.close()


async def test_full_tmpfs(own: Stack, settle: Settle) -> None:
    """A content that the volume cannot hold fails with both sizes and leaves nothing; a smaller one mounts."""
    with own.fetcher(), own.node_driver(KEYFERRY_VOLUME_SIZE="64Ki") as node:
        world = await settle(node)
        await world.secret("db", password="tiger", blob="x" * 100_000)
        await world.vault_class("large", "blob=db:blob")
        await world.vault_class()
        pod = await world.pod()
        code, said = await world.refused(world.kubelet.publish(pod, "large"), pod)

        assert code == "INTERNAL"
        assert "it holds at most 65536 bytes" in said
        assert content(await world.kubelet.publish(pod, "secrets")) == "tiger"


async def test_target_that_cannot_be(world: World) -> None:
    """A target below a file is refused by its path; with the file away the volume mounts."""
    pod = await world.pod()
    request = await world.kubelet.request(pod, "secrets")
    target = Path(request.target_path)
    target.parent.rmdir()
    target.parent.write_text("in the way")
    attempt = call(world.node.endpoint, "NodePublishVolume", request, csi.NodePublishVolumeResponse)
    code, said = await world.refused(attempt, pod)

    assert code == "INTERNAL"
    assert f"cannot make the target path {target}" in said
    target.parent.unlink()
    assert content(await world.kubelet.publish(pod, "secrets")) == "tiger"


async def test_api_away(apart: Apart) -> None:
    """Without the Kubernetes API classes that are known still mount; others are UNAVAILABLE and say why."""
    world = apart.world
    await world.kubelet.publish(await world.pod(), "secrets")
    known, unknown = await world.pod(), await world.pod("unseen")
    requests = [await world.kubelet.request(known, "secrets"), await world.kubelet.request(unknown, "unseen")]
    async with apart.api.refusing_connections():
        await call(world.node.endpoint, "NodePublishVolume", requests[0], csi.NodePublishVolumeResponse)
        attempt = call(
            world.node.endpoint, "NodePublishVolume", requests[1], csi.NodePublishVolumeResponse, seconds=4.0
        )
        code, said = await world.refused(attempt, unknown)

    assert content(Path(requests[0].target_path)) == "tiger"
    assert code == "UNAVAILABLE"
    assert "Kubernetes API" in said


async def test_keys_rotated(breakable: Stack, alone: World, until: Until) -> None:
    """`keyferry keys rotate` during mounts refuses none of them, neither for later use nor at once, MAC key or not."""
    stop = asyncio.Event()
    mounted: list[Path] = []

    async def keep_mounting() -> None:
        while not stop.is_set():
            mounted.append(await alone.kubelet.publish(await alone.pod(), "secrets"))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(keep_mounting())
        for flags in (["--now"], ["--now", "--mac"], ["--mac"]):
            command = [sys.executable, "-m", "keyferry", "keys", "rotate", "--dir", str(breakable.keys_dir), *flags]
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
            assert await process.wait() == 0
            more = len(mounted) + 10
            await until(lambda more=more: len(mounted) >= more)
        stop.set()

    assert {content(target) for target in mounted} == {"tiger"}


async def test_storm(own: Stack, settle: Settle, proxy: CountingProxy) -> None:
    """Two hundred mounts at once on two nodes: each its own content, few backend calls, nothing left after."""
    with ExitStack() as running:
        fetchers = [running.enter_context(own.fetcher()) for _ in range(2)]
        nodes = [running.enter_context(own.node_driver(name)) for name in ("node-a", "node-b")]
        home = await settle(nodes[0])
        worlds = [home, home.on(nodes[1])]
        names = [f"c{number}" for number in range(10)]
        for name in names:
            await home.secret(name, password=f"secret of {name}")
            await home.vault_class(name, f"password={name}:password", vaultAddress=proxy.url)
        mounts = [(world, await world.pod(name), name) for world in worlds for name in names for _ in range(10)]
        targets = await asyncio.gather(*(world.mounted(pod, name) for world, pod, name in mounts))

        assert [content(target) for target in targets] == [f"secret of {name}" for _, _, name in mounts]
        # Fetchers do not share with each other yet: one call for each of them, and one more after the sharing window.
        assert proxy.count(READ) <= 2 * len(fetchers) * len(names)
        await asyncio.gather(*(world.kubelet.unpublish(pod) for world, pod, _ in mounts))
        assert [world.left(pod) for world, pod, _ in mounts] == [[]] * len(mounts)


async def test_publish_and_unpublish_at_odds(alone: World) -> None:
    """However publish and unpublish of one volume overlap, the last unpublish leaves nothing."""
    pods = [await alone.pod() for _ in range(6)]

    async def quarrel(pod: Json) -> None:
        for _ in range(6):
            attempts = [alone.kubelet.publish(pod, "secrets"), alone.kubelet.unpublish(pod)]
            await asyncio.gather(*attempts, return_exceptions=True)

    await asyncio.gather(*(quarrel(pod) for pod in pods))
    await asyncio.gather(*(alone.kubelet.unpublish(pod) for pod in pods))

    assert [alone.left(pod) for pod in pods] == [[]] * len(pods)
