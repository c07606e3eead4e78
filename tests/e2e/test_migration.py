"""A node that today's driver has run on: its volumes, as kubelet goes on calling for them after Keyferry took over."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import grpc.aio
import pytest

from keyferry.kube import Json
from keyferry.proto.csi.v1 import csi_pb2 as csi
from keyferry.testing.kubelet import call
from keyferry.testing.world import NOT_FINAL, World
from node_driver import mounts

pytestmark = pytest.mark.root

SIZE = {"size_bytes": 1 << 20, "inodes": 64, "mode": 0o755}


def left_behind(world: World, pod: Json) -> Path:
    """A volume of the pod, as today's driver has mounted and written it, and of which Keyferry has no record."""
    target = world.kubelet.target(pod, "secrets")
    target.mkdir(parents=True)
    mounts.mount_tmpfs(str(target), **SIZE)
    (target / "..2026").mkdir()
    (target / "..2026" / "password").write_text("as today's driver left it")
    os.symlink("..2026", target / "..data")  # noqa: PTH211 - as the atomic writer makes it
    os.symlink("..data/password", target / "password")  # noqa: PTH211 - as above
    return target


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Path]:
    """A folder to bind a volume to, as a container has it."""
    yield tmp_path
    mounts.unmount(str(tmp_path))


async def test_a_volume_is_taken_over(world: World, container: Path) -> None:
    """Kubelet's republish replaces what is mounted; a container that runs keeps the files that it had."""
    pod = await world.pod()
    target = left_behind(world, pod)
    bind = await asyncio.create_subprocess_exec("mount", "--bind", str(target), str(container))
    assert await bind.wait() == 0

    assert await world.kubelet.publish(pod, "secrets") == target
    assert (target / "password").read_text() == "tiger"
    assert (container / "password").read_text() == "as today's driver left it"
    await world.kubelet.unpublish(pod)
    assert world.left(pod) == []


async def test_a_volume_that_cannot_be_fetched_stays(world: World) -> None:
    """A republish that fails leaves the files of today's driver where they are, and has kubelet try again."""
    pod = await world.pod("no-such-class")
    target = left_behind(world, pod)

    for _ in range(2):
        with pytest.raises(grpc.aio.AioRpcError, match="no-such-class") as refused:
            await world.kubelet.publish(pod, "no-such-class")
        # A final error would have kubelets with kubernetes#121271 forget the volume.
        assert refused.value.code().name in NOT_FINAL
        assert (target / "password").read_text() == "as today's driver left it"
    await world.kubelet.unpublish(pod)
    assert not target.exists()


async def test_a_request_that_cannot_be_understood_is_no_end_either(world: World) -> None:
    """Today's driver may have mounted what Keyferry refuses at once."""
    pod = await world.pod()
    target = left_behind(world, pod)
    request = await world.kubelet.request(pod, "secrets")
    del request.volume_context["secretProviderClass"]

    with pytest.raises(grpc.aio.AioRpcError, match="secretProviderClass is not set") as refused:
        await call(world.node.endpoint, "NodePublishVolume", request, csi.NodePublishVolumeResponse)
    assert refused.value.code().name in NOT_FINAL
    await world.kubelet.unpublish(pod)
    assert not target.exists()


async def test_a_first_publish_that_fails_for_good_is_final(world: World) -> None:
    """Nothing is mounted: kubelet need not unmount it, and csi's codes are what they are."""
    pod = await world.pod("no-such-class")

    with pytest.raises(grpc.aio.AioRpcError, match="no-such-class") as refused:
        await world.kubelet.publish(pod, "no-such-class")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert world.left(pod) == []


async def test_a_volume_that_was_never_taken_over_goes(world: World) -> None:
    """A pod that ends before kubelet's next republish is cleaned up after as any other."""
    pod = await world.pod()
    target = left_behind(world, pod)

    await world.kubelet.unpublish(pod)
    assert not target.exists()
