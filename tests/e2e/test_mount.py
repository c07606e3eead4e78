"""What a pod finds in its volume, and what is left when it goes."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from keyferry.testing.proxy import counting_proxy
from keyferry.testing.world import World
from node_driver.records import Records

pytestmark = pytest.mark.root


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def mapped_group() -> int:
    """The highest group that this user namespace has, up to 2000."""
    first, _, count = Path("/proc/self/gid_map").read_text().split()[:3]
    return min(int(first) + int(count) - 1, 2000)


def mount_line(target: Path) -> list[str]:
    """What the kernel says of a mount (proc(5), mountinfo)."""
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return next(line for line in lines if line[4] == str(target))


async def test_objects_are_files(world: World) -> None:
    """Each object is a file with the key's value and mode 0644."""
    await world.vault_class("two", "db-password=db:password", "db-user=db:user")
    target = await world.kubelet.publish(await world.pod("two"), "two")

    assert (target / "db-password").read_bytes() == b"tiger"
    assert (target / "db-user").read_bytes() == b"app"
    assert {path.name for path in target.iterdir() if not path.name.startswith("..")} == {"db-password", "db-user"}
    assert mode(target / "db-password") == 0o644


async def test_layout(world: World) -> None:
    """Files are laid out as kubelet's own volumes are: links through ``..data`` to a version."""
    target = await world.kubelet.publish(await world.pod(), "secrets")

    assert str((target / "password").readlink()) == "..data/password"
    assert (target / "..data").readlink().name.startswith("..2")
    assert mode(target) == 0o755


async def test_objects_in_folders(world: World) -> None:
    """An object whose name has a slash lies in a folder."""
    await world.vault_class("nested", "tls/key=db:password", "tls/user=db:user")
    target = await world.kubelet.publish(await world.pod("nested"), "nested")

    assert (target / "tls" / "key").read_text() == "tiger"
    assert (target / "tls" / "user").read_text() == "app"


async def test_file_permission(world: World) -> None:
    """An object's filePermission is the file's mode."""
    entry = {"objectName": "key", "secretPath": world.path("db"), "secretKey": "password", "filePermission": "0400"}
    await world.vault_class("private", entry)
    target = await world.kubelet.publish(await world.pod("private"), "private")

    assert mode(target / "key") == 0o400


async def test_mount_options(world: World) -> None:
    """The volume is a tmpfs of bounded size from which nothing can be run."""
    target = await world.kubelet.publish(await world.pod(), "secrets")

    line = mount_line(target)
    assert {"noexec", "nosuid", "nodev"} <= set(line[5].split(","))
    kind, _, options = line[line.index("-") + 1 :]
    assert kind == "tmpfs"
    assert "size=16384k" in options.split(",")


async def test_group(world: World) -> None:
    """With an fsGroup, files and folders belong to it and it may read them, and only read."""
    gid = mapped_group()
    entry = {"objectName": "key", "secretPath": world.path("db"), "secretKey": "password", "filePermission": "0400"}
    await world.vault_class("grouped", entry)
    target = await world.kubelet.publish(await world.pod("grouped"), "grouped", group=str(gid))

    assert ((target / "key").stat().st_gid, mode(target / "key")) == (gid, 0o440)
    assert (target.stat().st_gid, mode(target)) == (gid, 0o2755)


async def test_unpublish(world: World) -> None:
    """An unpublished volume leaves nothing, and unpublishing it again is success."""
    pod = await world.pod()
    await world.kubelet.publish(pod, "secrets")
    await world.kubelet.unpublish(pod)
    left = world.left(pod)
    await world.kubelet.unpublish(pod)

    assert left == world.left(pod) == []


async def test_unpublish_of_a_stranger(world: World) -> None:
    """Unpublishing a volume that never was is success."""
    pod = await world.pod()
    await world.kubelet.unpublish(pod)

    assert world.left(pod) == []


async def test_publish_again(world: World) -> None:
    """Publishing a published volume is success, asks no backend and touches no file."""
    async with counting_proxy(world.servers.openbao.address) as proxy:
        await world.vault_class("counted", vaultAddress=proxy.url)
        pod = await world.pod("counted")
        target = await world.kubelet.publish(pod, "counted")
        before = ((target / "..data").readlink(), (target / "password").stat())
        calls = proxy.count()
        await world.kubelet.publish(pod, "counted")

        assert ((target / "..data").readlink(), (target / "password").stat()) == before
        assert proxy.count() == calls == 2


async def test_published_at_once_from_one_fetch(world: World) -> None:
    """Pods of one service account that start together share one backend call."""
    async with counting_proxy(world.servers.openbao.address) as proxy:
        await world.vault_class("shared", vaultAddress=proxy.url)
        pods = [await world.pod("shared") for _ in range(8)]
        targets = await asyncio.gather(*(world.kubelet.publish(pod, "shared") for pod in pods))

        assert [(target / "password").read_text() for target in targets] == ["tiger"] * 8
        assert proxy.count("GET /v1/secret/data") == 1


async def test_service_accounts_do_not_share(world: World) -> None:
    """Pods of different service accounts with the same class each have the backend asked in their own name."""
    await world.account("other")
    async with counting_proxy(world.servers.openbao.address) as proxy:
        await world.vault_class("apart", vaultAddress=proxy.url)
        pods = [await world.pod("apart", account=account) for account in ("app", "other", "app", "other")]
        await asyncio.gather(*(world.kubelet.publish(pod, "apart") for pod in pods))

        assert proxy.count("GET /v1/secret/data") == 2
        assert proxy.count("login") == 2


async def test_two_volumes_of_a_pod(world: World) -> None:
    """A pod may mount two classes, each in its own volume."""
    await world.vault_class("user", "user=db:user")
    pod = await world.pod()
    targets = [
        await world.kubelet.publish(pod, "secrets"),
        await world.kubelet.publish(pod, "user", volume="more"),
    ]

    assert [(target / name).read_text() for target, name in zip(targets, ("password", "user"), strict=True)] == [
        "tiger",
        "app",
    ]


async def test_record(world: World) -> None:
    """What the node remembers on disk names the volume and its versions, and holds no value."""
    pod = await world.pod()
    await world.kubelet.publish(pod, "secrets")

    handle = world.kubelet.handle(pod, "secrets")
    record = next(record for record in Records(world.records).load_all() if record.volume_id == handle)
    assert (record.provider, record.secret_provider_class) == ("vault", "secrets")
    assert [(version.id, version.version) for version in record.versions] == [("password", "1")]
    assert not any(b"tiger" in path.read_bytes() for path in world.records.iterdir())


@pytest.mark.parametrize("name", ["größe", "a b", "semi;colon", "x" * 255, "back\\slash"])
async def test_unusual_names(world: World, name: str) -> None:
    """Whatever Linux takes as a file name, and no writer of ours needs, is one."""
    entry = {"objectName": f"dir/{name}", "secretPath": world.path("db"), "secretKey": "password"}
    await world.vault_class("unusual", entry)
    target = await world.kubelet.publish(await world.pod("unusual"), "unusual")

    assert (target / "dir" / name).read_text() == "tiger"
