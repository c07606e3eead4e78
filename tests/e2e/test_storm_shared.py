"""Many pods, several fetchers, one Redis: the backend sees one read a content, and Redis may come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keyferry.testing.proxy import CountingProxy, counting_proxy
from keyferry.testing.services import NodeDriver
from keyferry.testing.stack import Stack
from keyferry.testing.valkey import Valkey, valkey_server
from keyferry.testing.world import World

if TYPE_CHECKING:
    from tests.e2e.conftest import Settle

pytestmark = pytest.mark.root

READ = "GET /v1/secret/data"
FETCHERS, PODS, CONTENTS = 3, 100, 10


@pytest.fixture
async def proxy(servers: Stack) -> AsyncIterator[CountingProxy]:
    """Between the fetchers and OpenBao."""
    async with counting_proxy(servers.openbao.address) as proxy:
        yield proxy


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Valkey]:
    """The fetchers' own."""
    with valkey_server(tmp_path) as running:
        yield running


@pytest.fixture
def nodes(own: Stack, redis: Valkey) -> Iterator[list[NodeDriver]]:
    """Two nodes, and three fetchers that share."""
    with ExitStack() as running:
        for _ in range(FETCHERS):
            running.enter_context(own.fetcher(KEYFERRY_REDIS_URL=redis.url, KEYFERRY_SHARING_WINDOW="60s"))
        yield [running.enter_context(own.node_driver(name)) for name in ("node-a", "node-b")]


async def classes(world: World, proxy: CountingProxy) -> list[str]:
    names = [f"c{number}" for number in range(CONTENTS)]
    for name in names:
        await world.secret(name, password=f"secret of {name}")
        await world.vault_class(name, f"password={name}:password", vaultAddress=proxy.url)
    return names


async def mount_all(worlds: list[World], names: list[str]) -> None:
    """Many pods of every class on both nodes, each of which must read what is its own."""
    mounts = [
        (world, await world.pod(name), name) for world in worlds for name in names for _ in range(PODS // len(names))
    ]
    targets = await asyncio.gather(*(world.mounted(pod, name) for world, pod, name in mounts))
    assert [(target / "password").read_text() for target in targets] == [f"secret of {name}" for _, _, name in mounts]
    await asyncio.gather(*(world.kubelet.unpublish(pod) for world, pod, _ in mounts))
    assert [world.left(pod) for world, pod, _ in mounts] == [[]] * len(mounts)


async def test_a_storm_is_one_read_a_content(nodes: list[NodeDriver], settle: Settle, proxy: CountingProxy) -> None:
    """Two hundred mounts of ten contents at three fetchers read ten secrets, each once."""
    home = await settle(nodes[0])
    names = await classes(home, proxy)
    await mount_all([home, home.on(nodes[1])], names)

    assert proxy.count(READ) == len(names)


async def test_redis_dies_in_a_storm(
    nodes: list[NodeDriver], settle: Settle, proxy: CountingProxy, redis: Valkey
) -> None:
    """No mount fails; each fetcher reads for itself, and they share again when it is back."""
    home = await settle(nodes[0])
    names = await classes(home, proxy)
    proxy.delay(0.1, match=READ)
    storm = asyncio.create_task(mount_all([home, home.on(nodes[1])], names))
    await proxy.arrived(1, READ)
    await asyncio.to_thread(redis.process.kill)
    await storm

    assert proxy.count(READ) <= 2 * FETCHERS * len(names)
    await asyncio.to_thread(redis.process.start)
    await asyncio.sleep(2.5)  # until the fetchers have looked again
    await home.secret("late", password="secret of late")
    await home.vault_class("late", "password=late:password", vaultAddress=proxy.url)
    await mount_all([home], ["late"])
    assert proxy.count(f"{READ}/{home.namespace}/late") == 1
