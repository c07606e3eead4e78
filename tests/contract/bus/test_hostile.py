import asyncio
import signal
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from keyferry.bus import Bus, Delivery, connect
from keyferry.errors import BusUnavailable
from keyferry.testing.nats import Nats, nats_server
from keyferry.testing.ports import free_port

from .conftest import NODE_INBOX, Admin, Node, answering, consuming


async def test_wrong_credentials_are_told_and_not_shown(tmp_path: Path) -> None:
    """The reason is NATS's own, and the password in the URL is nowhere."""
    users = 'authorization { users: [{ user: "fetcher", password: "right" }] }'
    with nats_server(tmp_path, extra=users) as guarded:
        url = guarded.url.replace("//", "//fetcher:hunter2@")
        with pytest.raises(BusUnavailable, match="Authorization Violation") as raised:
            async with connect(url, name="fetcher"):
                pass

    assert "hunter2" not in str(raised.value)


async def test_a_missing_permission_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A denied publish fails as if nobody answered; only the log says why, and the connection goes on."""
    users = 'authorization { users: [{ user: "n", password: "p", permissions: { publish: "allowed.>" } }] }'
    with nats_server(tmp_path, extra=users) as guarded:
        async with connect(guarded.url.replace("//", "//n:p@"), name="node-driver") as bus:
            await bus.reply("denied.subject", b"")
            async with asyncio.timeout(10):
                while "permissions violation" not in caplog.text.lower():  # noqa: ASYNC110 - a log has no event
                    await asyncio.sleep(0.01)
            assert bus.is_connected


async def raw_publish(url: str, subject: bytes, header: bytes, payload: bytes = b"") -> None:
    """Publish bytes that no client library would, as somebody with a socket can."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    await reader.readline()
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n')
    writer.write(b"HPUB %s %d %d\r\n%s%s\r\n" % (subject, len(header), len(header + payload), header, payload))
    writer.write(b"PING\r\n")
    answer = await reader.readline()
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    assert answer == b"PONG\r\n"


@pytest.mark.parametrize(
    "header",
    [
        b"NATS/1.0 \xff\xff\xff\r\n\r\n",
        b"NATS/1.0 503\r\n\r\n",
        b"NATS/1.0 100 \xff\xfe\r\n\r\n",
        b"NATS/1.0\r\n\xff: \xfe\r\n\r\n",
        b"NATS/1.0\r\nno colon\r\n\r\n",
        b"NATS/1.0\r\n: \r\n\r\n",
        b"NATS/1.0\r\n",
        b"NATS/1.0\r\n\r\n",
    ],
)
async def test_headers_of_an_attacker_are_survived(
    bus: Bus, node: Node, admin: Admin, nats: Nats, header: bytes
) -> None:
    """No bytes in a message's headers silence the consumers of its stream or a node's inbox."""
    seen: list[bytes] = []

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery.payload)
        await answering(bus)(delivery)

    async with consuming(bus, handle):
        await raw_publish(nats.url, b"keyferry.fetch.mount.x", header, b"poison")
        await raw_publish(nats.url, NODE_INBOX.encode() + b".poison", header, b"poison")
        assert await node.ask("r-1") == b"answer"
        await admin.settled()

    assert seen == [b"poison", b"r-1"]
    assert (bus._nats.stats["reconnects"], node.bus._nats.stats["reconnects"]) == (0, 0)


async def test_subjects_of_an_attacker_are_survived(bus: Bus, node: Node, admin: Admin, nats: Nats) -> None:
    """A subject need not be UTF-8, and its handler gets it as far as it can be read."""
    seen: list[str] = []

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery.subject)
        await answering(bus)(delivery)

    async with consuming(bus, handle):
        await raw_publish(nats.url, b"keyferry.fetch.mount.\xff\xfe", b"NATS/1.0\r\n\r\n", b"poison")
        assert await node.ask("r-1") == b"answer"
        await admin.settled()

    assert seen == ["keyferry.fetch.mount.\ufffd\ufffd", "keyferry.fetch.mount.node-1"]


async def test_a_refusal_of_the_server_does_not_end_the_connection(bus: Bus, node: Node) -> None:
    """After an error that closes the socket, such as a protocol violation, the client connects again."""
    async with consuming(bus, answering(bus)):
        assert await node.ask("before") == b"answer"
        await bus._nats._send_command(b"NONSENSE\r\n")
        await bus._nats._flush_pending()

        assert await node.ask("after") == b"answer"
        assert bus._nats.stats["reconnects"] == 1


async def test_a_defect_of_the_client_library_does_not_end_the_connection(bus: Bus, node: Node) -> None:
    """nats-py stops reading at an exception it does not know, and says nothing: we connect again."""

    async def stumble(_: bytes) -> None:
        del bus._nats._ps.parse
        raise LookupError

    async with consuming(bus, answering(bus)):
        assert await node.ask("before") == b"answer"
        bus._nats._ps.parse = stumble  # type: ignore[method-assign,assignment]  # the library's, for one call

        assert await node.ask("after", within=8.0) == b"answer"
        assert bus._nats.stats["reconnects"] == 1


async def test_a_socket_that_is_closed_under_us_is_told_as_the_bus(bus: Bus, node: Node) -> None:
    """Whoever publishes at that moment gets our error, not the event loop's; then the connection is back."""

    async def reply() -> str:
        try:
            await bus.reply("somewhere", b"")
        except BusUnavailable:
            return "told"
        return "sent"

    async with consuming(bus, answering(bus)):
        assert await node.ask("before") == b"answer"
        bus._nats._flusher_task.cancel()  # type: ignore[union-attr]  # it runs
        bus._nats._transport.close()  # type: ignore[union-attr]  # it is open
        await asyncio.sleep(0)
        assert {await reply() for _ in range(5)} == {"told"}

        assert await node.ask("after", within=8.0) == b"answer"


async def test_permissions_that_are_taken_away_and_given_back(tmp_path: Path) -> None:
    """A reload of the server's users drops the connection; it is back when the user is."""
    port = free_port()
    users = 'authorization {{ users: [{{ user: "{}", password: "p" }}] }}'
    with nats_server(tmp_path, port=port, extra=users.format("n")) as guarded:
        good = guarded.config.read_text()
        async with connect(guarded.url.replace("//", "//n:p@"), name="node-driver") as bus:
            guarded.config.write_text(good.replace('user: "n"', 'user: "other"'))
            guarded.process._signal(signal.SIGHUP)
            async with asyncio.timeout(10):
                while bus.is_connected:  # noqa: ASYNC110 - the bus tells only this
                    await asyncio.sleep(0.02)
            guarded.config.write_text(good)
            guarded.process._signal(signal.SIGHUP)
            async with asyncio.timeout(20):
                while not bus.is_connected:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.02)
