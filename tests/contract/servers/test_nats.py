from pathlib import Path

import nats as nats_py
import pytest
from nats.aio.client import Client
from nats.errors import Error, MaxPayloadError
from nats.js.api import StreamConfig

from keyferry.testing.nats import Nats, nats_server
from keyferry.testing.ports import free_port
from keyferry.testing.processes import ServerError


async def test_a_message_of_the_largest_size_is_stored(nats: Nats) -> None:
    """8 MiB is the payload that deployed servers allow, and one byte more is refused."""
    async with await nats_py.connect(nats.url) as client:
        stream = client.jetstream()
        await stream.add_stream(StreamConfig(name="LARGE", subjects=["large.>"]))

        await stream.publish("large.one", bytes(8 * 1024 * 1024))
        with pytest.raises(MaxPayloadError):
            await stream.publish("large.two", bytes(8 * 1024 * 1024 + 1))

        assert (await stream.stream_info("LARGE")).state.messages == 1


async def test_the_sessions_server_serves_another_event_loop(nats: Nats) -> None:
    """Each test has a loop of its own; the server is tied to none."""
    async with await nats_py.connect(nats.url) as client:
        assert client.is_connected


async def test_streams_survive_a_crash(tmp_path: Path) -> None:
    """Killed and started again it has the same port and the same messages."""
    with nats_server(tmp_path) as running:
        async with await nats_py.connect(running.url) as client:
            await client.jetstream().add_stream(StreamConfig(name="KEPT", subjects=["kept"]))
            await client.jetstream().publish("kept", b"1")
        running.process.kill()
        running.process.start()

        async with await nats_py.connect(running.url) as client:
            assert (await client.jetstream().stream_info("KEPT")).state.messages == 1


async def test_streams_are_found_again_in_the_same_folder(tmp_path: Path) -> None:
    """A later server in the same folder and port continues an earlier one."""
    port = free_port()
    with nats_server(tmp_path, port=port) as running:
        async with await nats_py.connect(running.url) as client:
            await client.jetstream().add_stream(StreamConfig(name="KEPT", subjects=["kept"]))

    with nats_server(tmp_path, port=port) as running:
        async with await nats_py.connect(running.url) as client:
            assert (await client.jetstream().stream_info("KEPT")).config.subjects == ["kept"]


async def test_extra_configuration_is_obeyed(tmp_path: Path) -> None:
    """With users configured nobody connects without one."""
    with nats_server(tmp_path, extra='authorization { users: [{ user: "node", password: "pw" }] }') as running:
        async with await nats_py.connect(running.url, user="node", password="pw") as client:
            assert client.is_connected
        stranger = Client()
        with pytest.raises(Error, match="Authorization Violation"):
            await stranger.connect(running.url, allow_reconnect=False, error_cb=_ignore)
        await stranger.close()  # a refused client keeps its socket open


def test_wrong_configuration_is_reported(tmp_path: Path) -> None:
    """The parser's complaint reaches the reader of the test report."""
    with (
        pytest.raises(ServerError, match=r"ended with status 1 .*(?s:.*)Parse error on line"),
        nats_server(tmp_path, extra="accounts {"),
    ):
        pass


async def _ignore(_: Exception) -> None:
    """The refusal is what the test waits for; it need not be logged too."""
