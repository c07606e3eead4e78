import asyncio
import logging
import socket
import stat
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from keyferry.proto.pluginregistration.v1 import registration_pb2 as pb
from node_driver.registration import SERVICE, registered

DRIVER = "secrets-store.csi.k8s.io"
ENDPOINT = "/var/lib/kubelet/plugins/csi-secrets-store/csi.sock"


class Kubelet:
    """Calls a registration socket as kubelet's plugin watcher does: a fresh connection each time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def info(self) -> pb.PluginInfo:
        """Ask who is there."""
        answer = await self._call("GetInfo", pb.InfoRequest())
        return pb.PluginInfo.FromString(answer)

    async def tell(self, *, ok: bool, error: str = "") -> None:
        """Say how the registration went."""
        await self._call("NotifyRegistrationStatus", pb.RegistrationStatus(plugin_registered=ok, error=error))

    async def _call(self, method: str, request: pb.InfoRequest | pb.RegistrationStatus) -> bytes:
        async with grpc.aio.insecure_channel(f"unix://{self.path}") as channel:
            answer: bytes = await channel.unary_unary(f"/{SERVICE}/{method}")(request.SerializeToString(), timeout=5)
            return answer


class Heard:
    """What the driver heard from kubelet, in order."""

    def __init__(self) -> None:
        self.statuses: asyncio.Queue[str | None] = asyncio.Queue()

    async def next(self) -> str | None:
        """Wait for the next word."""
        return await asyncio.wait_for(self.statuses.get(), 5)


@asynccontextmanager
async def driver(path: Path, heard: Heard | None = None) -> AsyncIterator[Kubelet]:
    on_status = (heard or Heard()).statuses.put_nowait
    async with registered(path, driver=DRIVER, endpoint=ENDPOINT, on_status=on_status, look_seconds=0.01):
        yield Kubelet(path)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited 5 s in vain")


def remove(path: Path) -> None:
    path.unlink()


def list_of(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def is_private_socket(path: Path) -> bool:
    return path.lstat().st_mode == stat.S_IFSOCK | 0o600


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / f"{DRIVER}-reg.sock"


async def test_kubelet_learns_who_the_driver_is(path: Path) -> None:
    """The answer names a CSI plugin, its driver name, where its socket is and which CSI it speaks."""
    async with driver(path) as kubelet:
        info = await kubelet.info()

    assert info == pb.PluginInfo(type="CSIPlugin", name=DRIVER, endpoint=ENDPOINT, supported_versions=["1.0.0"])


async def test_the_driver_learns_how_kubelet_took_it(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A refusal is logged as an error and told with its reason, a later success takes it back."""
    heard = Heard()
    with caplog.at_level(logging.INFO, "node_driver.registration"):
        async with driver(path, heard) as kubelet:
            await kubelet.tell(ok=False, error="endpoint in use")
            await kubelet.tell(ok=False)
            await kubelet.tell(ok=True)
            statuses = [await heard.next() for _ in range(3)]

    assert statuses == ["endpoint in use", "kubelet gives no reason", None]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "INFO"]


async def test_the_socket_is_for_root_alone(path: Path) -> None:
    """Nobody but the driver's own user can connect."""
    async with driver(path):
        assert is_private_socket(path)


async def test_the_socket_goes_with_the_driver(path: Path) -> None:
    """When the driver ends, or fails, the file goes: that is how kubelet learns that the driver left."""
    with pytest.raises(RuntimeError, match="driver fails"):
        async with driver(path):
            raise RuntimeError("driver fails")

    assert list_of(path.parent) == []


async def test_a_stale_socket_is_replaced(path: Path) -> None:
    """What a killed driver left behind does not keep the next one from listening."""
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    async with driver(path) as kubelet:
        assert (await kubelet.info()).name == DRIVER


async def test_a_socket_that_vanishes_is_made_again(path: Path) -> None:
    """A file that somebody removed comes back and answers, as often as it takes."""
    async with driver(path) as kubelet:
        remove(path)
        await until(path.exists)
        remove(path)
        await until(path.exists)

        assert (await kubelet.info()).name == DRIVER
        assert is_private_socket(path)


async def test_a_directory_that_vanishes_is_waited_for(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While kubelet's directory is away the driver goes on looking, and registers when it is back."""
    directory = path.parent / "plugins_registry"
    directory.mkdir()
    async with driver(directory / "reg.sock") as kubelet:
        (directory / "reg.sock").unlink()
        directory.rmdir()
        await until(lambda: "registration socket not made" in caplog.text)
        directory.mkdir()
        await until((directory / "reg.sock").exists)

        assert (await kubelet.info()).name == DRIVER


async def test_a_directory_that_is_not_there_is_an_error(path: Path) -> None:
    """A driver that can never be registered says so at its start, with the path and what to look at."""
    with pytest.raises(OSError, match=r"cannot listen on .*/missing/reg\.sock: is its directory mounted"):
        async with driver(path.parent / "missing" / "reg.sock"):
            raise AssertionError("never registered")


async def test_nothing_outlives_the_registration(path: Path) -> None:
    """Neither a task nor a thread of ours is left when the block ends."""
    async with driver(path) as kubelet:
        await kubelet.info()

    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [thread for thread in threading.enumerate() if thread.name.startswith("registration")] == []
