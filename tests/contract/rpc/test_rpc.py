import asyncio
import socket
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY

from keyferry import telemetry
from keyferry.errors import AccessDenied, KeyferryError, ProviderError, RateLimited, VolumeBusy
from keyferry.proto.csi.v1 import csi_pb2
from keyferry.rpc import serve

NODE, IDENTITY = (csi_pb2.DESCRIPTOR.services_by_name[name] for name in ("Node", "Identity"))
CAPABILITIES = csi_pb2.NodeGetCapabilitiesResponse().SerializeToString()


class Servicer:
    """A node whose publish does what a test tells it."""

    NodeGetCapabilities = CAPABILITIES

    def __init__(self, publish: Callable[[Any, float], Any] | None = None) -> None:
        self._publish = publish
        self.calls: list[tuple[str, float]] = []

    async def NodePublishVolume(  # noqa: N802 - the specification's name
        self, request: csi_pb2.NodePublishVolumeRequest, deadline: float
    ) -> csi_pb2.NodePublishVolumeResponse:
        """Publish."""
        self.calls.append((request.volume_id, deadline))
        if self._publish is not None:
            await self._publish(request, deadline)
        return csi_pb2.NodePublishVolumeResponse()


def raising(error: Exception) -> Servicer:
    """A node that fails."""

    async def publish(_: Any, __: float) -> None:
        raise error

    return Servicer(publish)


@asynccontextmanager
async def serving(endpoint: Path, servicer: Servicer) -> AsyncIterator[str]:
    async with serve(f"unix://{endpoint}", {NODE: servicer}):
        yield f"unix://{endpoint}"


def call(
    target: str, method: str = "Node/NodePublishVolume", *, volume_id: str = "csi-1", timeout: float | None = 20.0
) -> bytes:
    """One call on a connection of its own, as kubelet makes it; blocks."""
    payload = csi_pb2.NodePublishVolumeRequest(volume_id=volume_id).SerializeToString()
    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        answer: bytes = channel.unary_unary(f"/csi.v1.{method}")(payload, timeout=timeout)
        return answer


async def failing(target: str, method: str = "Node/NodePublishVolume", within: float = 20.0) -> tuple[str, str]:
    """The status of a call that fails."""
    with pytest.raises(grpc.RpcError) as raised:
        await asyncio.to_thread(call, target, method, timeout=within)
    return raised.value.code().name, raised.value.details()


def counted(method: str, code: str) -> float:
    return REGISTRY.get_sample_value("keyferry_rpc_total", {"method": method, "code": code}) or 0.0


async def test_a_coroutine_answers(tmp_path: Path) -> None:
    """It gets the request, and its response is the answer; the call is counted and timed."""
    servicer, before = Servicer(), counted("NodePublishVolume", "OK")

    async with serving(tmp_path / "csi.sock", servicer) as target:
        assert await asyncio.to_thread(call, target) == b""

    assert [volume_id for volume_id, _ in servicer.calls] == ["csi-1"]
    assert counted("NodePublishVolume", "OK") - before == 1


async def test_bytes_are_a_constant_answer(tmp_path: Path) -> None:
    """Kubelet asks twice for capabilities at every mount: no event loop is needed to say the same again."""
    async with serving(tmp_path / "csi.sock", Servicer()) as target:
        assert await asyncio.to_thread(call, target, "Node/NodeGetCapabilities") == CAPABILITIES


@pytest.mark.parametrize("method", ["Node/NodeExpandVolume", "Identity/Probe", "Node/NoSuchMethod"])
async def test_what_is_lacking_is_unimplemented(tmp_path: Path, method: str) -> None:
    """Methods that a servicer has not, services that are not served, and methods that do not exist."""
    async with serving(tmp_path / "csi.sock", Servicer()) as target:
        assert (await failing(target, method))[0] == "UNIMPLEMENTED"


async def test_two_services_share_a_socket(tmp_path: Path) -> None:
    """Identity and Node are at one endpoint, as CSI wants it."""

    class Identity:
        Probe = b"ready"

    async with serve(f"unix://{tmp_path}/csi.sock", {NODE: Servicer(), IDENTITY: Identity()}):
        target = f"unix://{tmp_path}/csi.sock"
        assert await asyncio.to_thread(call, target, "Identity/Probe") == b"ready"
        assert await asyncio.to_thread(call, target) == b""


@pytest.mark.parametrize(
    "error", [AccessDenied("grant the role"), RateLimited("wait"), VolumeBusy("ask again, Ümläut")]
)
async def test_our_errors_become_statuses(tmp_path: Path, error: KeyferryError) -> None:
    """Code and text are the error's: kubelet acts on the one and shows the other."""
    before = counted("NodePublishVolume", error.code)
    async with serving(tmp_path / "csi.sock", raising(error)) as target:
        assert await failing(target) == (error.code, error.message)

    assert counted("NodePublishVolume", error.code) - before == 1


@pytest.mark.parametrize("code", ["OK", "BANANA", ""])
async def test_a_providers_strange_code_is_unknown(tmp_path: Path, code: str) -> None:
    """A plugin's code is foreign text: a failure never becomes a success, nor a crash."""
    error = ProviderError("the plugin says no", code=code, reason="X")

    async with serving(tmp_path / "csi.sock", raising(error)) as target:
        assert await failing(target) == ("UNKNOWN", "the plugin says no")


async def test_a_defect_is_placed_but_not_quoted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its text may quote a secret: neither kubelet's event nor the log shows it, both say where to look."""
    async with serving(tmp_path / "csi.sock", raising(ValueError("canary-1"))) as target:
        code, text = await failing(target)

    assert code == "INTERNAL"
    for told in (text, caplog.text):
        assert "ValueError at test_rpc.py:" in told
        assert "canary-1" not in told


async def test_a_malformed_request_reaches_no_method(tmp_path: Path) -> None:
    """Bytes that are no such message are refused by the server."""
    servicer = Servicer()
    async with serving(tmp_path / "csi.sock", servicer) as target:

        def garbage() -> None:
            with grpc.insecure_channel(target) as channel, pytest.raises(grpc.RpcError):
                channel.unary_unary("/csi.v1.Node/NodePublishVolume")(b"\xff\xff\xff", timeout=20)

        await asyncio.to_thread(garbage)

    assert servicer.calls == []


async def test_the_deadline_is_handed_over(tmp_path: Path) -> None:
    """In Unix seconds; without one it is infinite."""
    servicer, before = Servicer(), time.time()
    async with serving(tmp_path / "csi.sock", servicer) as target:
        await asyncio.to_thread(call, target, timeout=100.0)
        await asyncio.to_thread(call, target, timeout=None)

    assert before + 99 < servicer.calls[0][1] < time.time() + 102  # grpc rounds to seconds on the wire
    assert servicer.calls[1][1] == float("inf")


async def test_a_caller_that_gave_up_does_not_stop_the_work(tmp_path: Path) -> None:
    """Kubelet's time-out ends its call; the publish goes on, for its retry to join."""
    finish, finished = asyncio.Event(), asyncio.Event()

    async def publish(_: Any, __: float) -> None:
        await finish.wait()
        finished.set()

    async with serving(tmp_path / "csi.sock", Servicer(publish)) as target:
        assert (await failing(target, within=0.3))[0] == "DEADLINE_EXCEEDED"
        finish.set()
        async with asyncio.timeout(10):
            await finished.wait()


async def test_a_callers_trace_goes_on(tmp_path: Path) -> None:
    """A kubelet that traces sends its trace along: the mount belongs to it."""
    seen: list[str] = []

    async def publish(_: Any, __: float) -> None:
        seen.append(telemetry.carrier().get("traceparent", ""))

    def traced(target: str) -> None:
        metadata = (("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)
        with grpc.insecure_channel(target) as channel:
            channel.unary_unary("/csi.v1.Node/NodePublishVolume")(b"", timeout=20, metadata=metadata)

    async with serving(tmp_path / "csi.sock", Servicer(publish)) as target:
        await asyncio.to_thread(traced, target)

    assert [traceparent.split("-")[1] for traceparent in seen] == ["0af7651916cd43dd8448eb211c80319c"]


async def test_the_socket_is_for_root_alone(tmp_path: Path) -> None:
    """Whoever can write to it can mount: no group, no others, whatever the umask."""
    async with serving(tmp_path / "csi.sock", Servicer()):
        mode = stat.S_IMODE((tmp_path / "csi.sock").stat().st_mode)

    assert mode & 0o077 == 0
    assert mode & 0o600 == 0o600


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """A driver that was killed left one; its folder may be missing, too."""
    endpoint = tmp_path / "plugins" / "csi.sock"
    endpoint.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(endpoint))

    async with serving(endpoint, Servicer()) as target:
        assert await asyncio.to_thread(call, target) == b""
    async with serving(tmp_path / "new" / "csi.sock", Servicer()) as target:
        assert await asyncio.to_thread(call, target) == b""


async def test_a_server_that_ends_late_leaves_its_successor_its_socket(tmp_path: Path) -> None:
    """An old driver may outlive the start of the new one: what listens at the endpoint then is not its own."""
    async with AsyncExitStack() as old, AsyncExitStack() as new:
        await old.enter_async_context(serving(tmp_path / "csi.sock", Servicer()))
        target = await new.enter_async_context(serving(tmp_path / "csi.sock", Servicer()))
        await old.aclose()

        assert await asyncio.to_thread(call, target) == b""

    assert not any(path.name for path in await asyncio.to_thread(lambda: list(tmp_path.iterdir())))


async def test_what_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    """An endpoint that names a file of somebody's is a mistake to be told."""
    (tmp_path / "data").write_text("precious")

    with pytest.raises(FileExistsError, match="no socket"):
        async with serving(tmp_path / "data", Servicer()):
            pass

    assert (tmp_path / "data").read_text() == "precious"


async def test_a_hundred_calls_on_fresh_connections(tmp_path: Path) -> None:
    """A node that comes up mounts all its pods at once: the methods run at the same time, and each call is answered."""
    everybody = asyncio.Barrier(100)

    async def publish(_: Any, __: float) -> None:
        await everybody.wait()

    servicer = Servicer(publish)
    answers: list[bytes] = []
    async with serving(tmp_path / "csi.sock", servicer) as target:
        threads = [
            threading.Thread(target=lambda n=n: answers.append(call(target, volume_id=f"csi-{n}"))) for n in range(100)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)

    assert answers == [b""] * 100
    assert {volume_id for volume_id, _ in servicer.calls} == {f"csi-{n}" for n in range(100)}


async def test_a_call_in_flight_ends_before_the_server_does(tmp_path: Path) -> None:
    """A stopping driver finishes what it has begun."""
    begun, finish = asyncio.Event(), asyncio.Event()

    async def publish(_: Any, __: float) -> None:
        begun.set()
        await finish.wait()

    async with serving(tmp_path / "csi.sock", Servicer(publish)) as target:
        answer = asyncio.create_task(asyncio.to_thread(call, target))
        await begun.wait()
        asyncio.get_running_loop().call_later(0.3, finish.set)

    assert await answer == b""


async def test_a_call_that_hangs_does_not_keep_the_server(tmp_path: Path) -> None:
    """After its grace the caller is told to come back, and the method is cancelled: no thread waits on."""
    begun, ended = asyncio.Event(), asyncio.Event()
    before = counted("NodePublishVolume", "CANCELLED")

    async def publish(_: Any, __: float) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with serve(f"unix://{tmp_path}/csi.sock", {NODE: Servicer(publish)}, grace=0.2):
        answer = asyncio.create_task(failing(f"unix://{tmp_path}/csi.sock"))
        await begun.wait()

    assert (await answer)[0] in {"UNAVAILABLE", "CANCELLED"}
    async with asyncio.timeout(10):
        await ended.wait()
        while any(thread.name.startswith("rpc") for thread in threading.enumerate()):  # noqa: ASYNC110 - threads
            await asyncio.sleep(0.02)
    assert counted("NodePublishVolume", "CANCELLED") - before == 1
