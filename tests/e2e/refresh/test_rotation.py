"""A secret changes in its backend, and the pods that mount it see that: no more, no less, and never half of it."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keyferry.changes import Due
from keyferry.events import RefreshFailed, VolumeRefreshed
from keyferry.testing.stack import Stack

if TYPE_CHECKING:
    from tests.e2e.conftest import Until
    from tests.e2e.refresh.conftest import Shop

pytestmark = pytest.mark.root


def content(target: Path) -> str:
    return (target / "password").read_text()


def touched(target: Path) -> tuple[Path, os.stat_result, os.stat_result]:
    """Everything that a write would change."""
    return (target / "..data").readlink(), (target / "..data").lstat(), (target / "password").stat()


async def test_new_secret(shop: Shop) -> None:
    """A hint brings the secret's new value, and the rotator is told which version the volume has now."""
    _, target, volume = await shop.mount()
    await shop.rotate(password="lion")
    (answer,) = await shop.rotator.refresh(volume)

    assert content(target) == "lion"
    assert isinstance(answer, VolumeRefreshed)
    assert answer.changed
    assert [version.version for version in answer.volume.versions] == ["2"]
    assert answer.volume.target_path == str(target)


async def test_unchanged_secret(shop: Shop) -> None:
    """A hint for a secret that is as it was has the backend asked once, and no file touched."""
    _, target, volume = await shop.mount()
    before, reads = touched(target), shop.reads
    (answer,) = await shop.rotator.refresh(volume)

    assert touched(target) == before
    assert isinstance(answer, VolumeRefreshed)
    assert not answer.changed
    assert shop.reads == reads + 1


async def test_hint_for_a_content(shop: Shop, until: Until) -> None:
    """A hint that names a content is for every volume with it, and one backend call serves them all."""
    mounted = [await shop.mount() for _ in range(5)]
    _, other, _ = await shop.mount("both")
    key = (await shop.rotator.published(mounted[0][2])).content_key
    await shop.rotate(password="lion", user="app")
    reads = shop.reads
    await shop.rotator.hint(Due(key, int(time.time() * 1000)))
    await until(lambda: [content(target) for _, target, _ in mounted] == ["lion"] * 5)

    assert shop.reads == reads + 1
    assert content(other) == "tiger"


async def test_two_hints_at_once(shop: Shop) -> None:
    """Hints that say the same at the same time are one fetch, and whoever repeats one afterwards is told again."""
    _, _, volume = await shop.mount()
    reads, now_ms = shop.reads, int(time.time() * 1000)
    with shop.proxy.held(shop.READ):
        for _ in range(5):
            await shop.rotator.hint(Due("", now_ms, (volume,)))
        await shop.proxy.arrived(reads + 1, shop.READ)
    await shop.rotator.refresh(volume)
    assert shop.reads <= reads + 2  # the second is that of `refresh`, which asks for later
    told = len(shop.rotator.answers(volume, now_ms))
    await asyncio.sleep(1.1)
    reads = shop.reads
    await shop.rotator.hint(Due("", now_ms, (volume,)))
    async with asyncio.timeout(10):
        while len(shop.rotator.answers(volume, now_ms)) == told:  # noqa: ASYNC110 - the ear has no bell
            await asyncio.sleep(0.01)

    assert shop.reads == reads


async def test_denied(shop: Shop) -> None:
    """A backend that refuses the pod leaves the old content, and its owner is told why until it is mended."""
    pod, target, volume = await shop.mount()
    bao, name = shop.world.servers.openbao, shop.world.namespace
    await shop.rotate(password="lion")
    await bao.allow_read(name, "secret/data/nothing")
    (answer,) = await shop.rotator.refresh(volume)
    await shop.world.kubelet.publish(pod, "secrets")

    assert isinstance(answer, RefreshFailed)
    assert (answer.code, answer.reason) == ("PERMISSION_DENIED", "AccessDenied")
    assert answer.volume.volume_id == volume
    assert content(target) == "tiger"
    await bao.allow_read(name, f"secret/data/{name}/*")
    await shop.rotator.refresh(volume)
    assert content(target) == "lion"


async def test_deleted_class(shop: Shop) -> None:
    """A class that is deleted leaves the old content, and the words that people look for are in the event."""
    _, target, volume = await shop.mount()
    path = f"/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{shop.world.namespace}/secretproviderclasses/secrets"
    await shop.world.kube.call("DELETE", path)
    async with asyncio.timeout(20):
        while not isinstance(answer := (await shop.rotator.refresh(volume))[0], RefreshFailed):
            pass  # the fetcher learns of it in a moment

    assert answer.reason == "SecretProviderClassNotFound"
    assert "failed to get secretproviderclass" in answer.message
    assert content(target) == "tiger"


async def test_too_large(shop: Shop) -> None:
    """A new content that the volume cannot hold beside the old one leaves the old one whole."""
    _, target, volume = await shop.mount("both")
    before = touched(target)
    await shop.rotate(password="lion", user="x" * 5_000_000)
    (answer,) = await shop.rotator.refresh(volume)

    assert isinstance(answer, RefreshFailed)
    assert touched(target) == before


async def test_object_added_and_removed(shop: Shop) -> None:
    """A class that is edited takes effect at the next refresh: files come and go."""
    _, target, volume = await shop.mount("both")
    path = f"/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{shop.world.namespace}/secretproviderclasses"
    found = await shop.world.kube.get(f"{path}/both")
    assert found is not None
    found["spec"]["parameters"]["objects"] = (
        f'- {{objectName: password, secretPath: "{shop.world.path("db")}", secretKey: password}}\n'
        f'- {{objectName: more, secretPath: "{shop.world.path("db")}", secretKey: user}}\n'
    )
    await shop.world.kube.call("PUT", f"{path}/both", body=found)
    async with asyncio.timeout(20):
        while not (target / "more").exists():  # the fetcher learns of it in a moment
            await shop.rotator.refresh(volume)

    assert sorted(path.name for path in target.iterdir() if path.name[0] != ".") == ["more", "password"]
    assert (target / "more").read_text() == "app"


async def test_readers_see_one_version(shop: Shop) -> None:
    """Whoever opens the directory of a version finds all of it, of one version, however often it is switched."""
    mounted = [await shop.mount("both") for _ in range(4)]
    seen: set[tuple[str, str]] = set()
    stop = threading.Event()
    readers = [threading.Thread(target=read, args=(target, seen, stop)) for _, target, _ in mounted]
    for reader in readers:
        reader.start()
    for number in range(8):
        await shop.rotate(password=f"v{number}", user=f"v{number}")
        await shop.rotator.refresh(*(volume for _, _, volume in mounted))
    stop.set()
    for reader in readers:
        await asyncio.to_thread(reader.join)

    assert {(password, user) for password, user in seen if password != user} == {("tiger", "app")}
    assert len(seen) == 9


def read(target: Path, seen: set[tuple[str, str]], stop: threading.Event) -> None:
    """Read both files of a version again and again, as a careful program does."""
    while not stop.is_set():
        try:
            version = (target / "..data").resolve(strict=True)
            seen.add(((version / "password").read_text(), (version / "user").read_text()))
        except FileNotFoundError:  # the version has been replaced meanwhile
            continue


async def test_unpublish_during_a_refresh(shop: Shop) -> None:
    """A pod that ends while its volume is asked for leaves nothing: no mount, no folder, no record."""
    pod, _, volume = await shop.mount()
    reads = shop.reads
    with shop.proxy.held(shop.READ):
        await shop.rotator.hint(Due("", int(time.time() * 1000), (volume,)))
        await shop.proxy.arrived(reads + 1, shop.READ)
        await shop.world.kubelet.unpublish(pod)
        assert shop.world.left(pod) == []
    await shop.rotator.refresh((await shop.mount())[2])

    assert shop.world.left(pod) == []


async def test_republish_during_a_refresh(shop: Shop) -> None:
    """Kubelet's republish of a volume that is being asked for is OK at once."""
    pod, target, volume = await shop.mount()
    await shop.rotate(password="lion")
    reads = shop.reads
    with shop.proxy.held(shop.READ):
        await shop.rotator.hint(Due("", int(time.time() * 1000), (volume,)))
        await shop.proxy.arrived(reads + 1, shop.READ)
        await shop.world.kubelet.publish(pod, "secrets", seconds=2.0)
        assert content(target) == "tiger"
    await shop.rotator.refresh(volume)

    assert content(target) == "lion"


@pytest.mark.parametrize("payload", [b"", b"\xff\xff", b"x" * 400_000, b"\x0a\x02\x12\x00" * 9])
async def test_hint_that_is_none(shop: Shop, payload: bytes) -> None:
    """Whatever is sent where hints are sent, volumes stay as they are and the next hint is heard."""
    _, target, volume = await shop.mount()
    await shop.rotator.send(payload)
    await shop.rotate(password="lion")
    await shop.rotator.refresh(volume)

    assert content(target) == "lion"


async def test_flood_of_hints(shop: Shop) -> None:
    """A thousand forged hints for the far future are a handful of requests."""
    _, _, volume = await shop.mount()
    reads, start = shop.reads, time.monotonic()
    for _ in range(1000):
        await shop.rotator.hint(Due("", 2**62, (volume,)))
    await shop.rotator.refresh(volume)

    assert shop.reads - reads <= 3 + (time.monotonic() - start)


async def test_safety_net(shop: Shop, breakable: Stack, until: Until, running: ExitStack) -> None:
    """Without any hint kubelet's republish brings new secrets, after two intervals, from one call for all volumes."""
    starting = breakable.node_driver("node-b", KEYFERRY_ROTATION_INTERVAL="3s")
    world = shop.world.on(await asyncio.to_thread(running.enter_context, starting))
    pods = [await world.pod() for _ in range(3)]
    targets = [await world.kubelet.publish(pod, "secrets") for pod in pods]
    await shop.rotate(password="lion")
    reads = shop.reads
    for pod in pods:
        await world.kubelet.publish(pod, "secrets")
    assert [content(target) for target in targets] == ["tiger"] * 3
    assert shop.reads == reads
    await asyncio.sleep(6.1)
    for pod in pods:
        await world.kubelet.publish(pod, "secrets", seconds=2.0)
    await until(lambda: [content(target) for target in targets] == ["lion"] * 3)

    assert shop.reads <= reads + 2  # two where an interval ended just between the republishes
