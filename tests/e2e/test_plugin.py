"""A provider plugin beside the fetcher, seen by kubelet (upstream's e2e-provider.bats, 9 to 12)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio
import pytest
import yaml

from keyferry.testing.plugin import KEY
from keyferry.testing.processes import logged, server
from keyferry.testing.services import NodeDriver
from keyferry.testing.stack import Stack
from keyferry.testing.world import World

pytestmark = pytest.mark.root

Settle = Callable[[NodeDriver], Awaitable[World]]


async def refusal(world: World, name: str) -> tuple[grpc.StatusCode, str]:
    """What kubelet is told of a pod that mounts this class."""
    pod = await world.pod(name)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.kubelet.publish(pod, name, seconds=20.0)
    return caught.value.code(), str(caught.value.details())


async def test_files_come_from_a_plugin_that_may_go_and_come_back(own: Stack, settle: Settle, place: Path) -> None:
    """A class of another provider mounts as ever; its refusals and its absence are told, with what they are about."""
    folder = place / "plugins"
    folder.mkdir()
    argv = [sys.executable, "-m", "keyferry.testing.plugin", str(folder / "e2e-provider.sock")]
    with (
        server(argv, name="plugin", log=place / "plugin.log", ready=logged("serving")) as plugin,
        own.fetcher(KEYFERRY_PLUGIN_DIRS=str(folder)),
        own.node_driver("node-z") as node,
    ):
        world = await settle(node)
        array = [yaml.safe_dump({"objectName": name}) for name in ("foo", "fookey")]
        await world.make_class("secrets", "e2e-provider", {"objects": yaml.safe_dump({"array": array})})
        await world.make_class("nowhere", "conjur", {"objects": "x"})
        await world.make_class("bad", "e2e-provider", {"objects": "array: ['objectName: nope']"})

        target = await world.mounted(await world.pod("secrets"))
        missing, refused = await refusal(world, "nowhere"), await refusal(world, "bad")
        await asyncio.to_thread(plugin.kill)
        gone = await refusal(world, "secrets")
        await asyncio.to_thread(plugin.start)
        again = await world.mounted(await world.pod("secrets"))
        found = {path.name: path.read_text() for path in (target / "foo", target / "fookey", again / "foo")}

    assert found == {"foo": "secret", "fookey": KEY}
    assert missing[0] is gone[0] is grpc.StatusCode.UNAVAILABLE
    assert 'provider not found: provider "conjur"' in missing[1]
    assert "nope" in refused[1]
    assert "Connection refused" in gone[1]
