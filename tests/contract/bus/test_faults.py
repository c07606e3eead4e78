import asyncio
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from keyferry.bus import Bus, Delivery, connect
from keyferry.errors import BusUnavailable
from keyferry.settings import load
from keyferry.streams import MOUNTS, Settings, ensure
from keyferry.testing.nats import Nats, nats_server
from keyferry.testing.ports import free_port

from .conftest import Admin, Node, administering, answering, asking, consuming

HANGING_CONSUMER = """
import asyncio, sys
from keyferry.bus import connect
from keyferry.streams import MOUNTS

async def hang(_):
    print("taken", flush=True)
    await asyncio.Event().wait()

async def main():
    async with connect(sys.argv[1], name="fetcher") as bus:
        await bus.consume(MOUNTS, hang, concurrency=1)

asyncio.run(main())
"""


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Nats]:
    """A server for one test to break, without streams."""
    with nats_server(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def own(bare: Nats) -> Nats:
    """A server for one test to break, with our streams."""
    await ensure(load(Settings, {"KEYFERRY_NATS_URL": bare.url}))
    return bare


async def test_what_a_killed_consumer_worked_on_is_delivered_again(bus: Bus, admin: Admin, nats: Nats) -> None:
    """A process that dies in the middle of a request costs the time of one acknowledgement, not the request."""
    consumer = await admin.impatient(MOUNTS, 0.5)
    attempts: list[int] = []

    async def note(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HANGING_CONSUMER, nats.url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await admin.context.publish("keyferry.fetch.mount.n", b"work")
    assert await process.stdout.readline() == b"taken\n"
    process.kill()
    assert await process.wait() == -signal.SIGKILL
    async with consuming(bus, note, consumer):
        await admin.settled()

    assert attempts == [2]


@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "killed"])
async def test_a_restart_of_nats_is_survived(own: Nats, crash: bool) -> None:
    """A consumer and a requester that ran before it answer and are answered after it, untouched."""
    async with connect(own.url, name="fetcher") as bus, asking(own.url) as node, consuming(bus, answering(bus)):
        assert await node.ask("before") == b"answer"
        await asyncio.to_thread(own.process.kill if crash else own.process.stop)
        during = asyncio.create_task(node.ask("during", within=8.0))
        await asyncio.to_thread(own.process.start)

        assert await during == b"answer"
        assert await node.ask("after") == b"answer"
        assert (bus.is_connected, node.bus.is_connected) == (True, True)


async def test_a_storm_is_answered_through_restarts(own: Nats) -> None:
    """Of hundreds of requests under way while NATS is killed twice none is lost and none fails."""
    answers: list[object] = []

    async def ask_on(node: Node, name: str) -> None:
        for n in range(40):
            answers.append(await node.ask(f"{name}-{n}", within=60.0))
            await asyncio.sleep(0.01)

    async with connect(own.url, name="fetcher") as bus, asking(own.url) as node, consuming(bus, answering(bus)):
        asyncio.get_running_loop().set_exception_handler(lambda _, context: answers.append(context))
        storm = [asyncio.create_task(ask_on(node, f"r-{n}")) for n in range(20)]
        for _ in range(2):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(own.process.kill)
            await asyncio.to_thread(own.process.start)
        await asyncio.gather(*storm)

    assert answers == [b"answer"] * 800


async def test_a_frozen_nats_costs_time_only(own: Nats) -> None:
    """Sockets that are open and say nothing: what was asked meanwhile is answered later."""
    async with connect(own.url, name="fetcher") as bus, asking(own.url) as node, consuming(bus, answering(bus)):
        assert await node.ask("before") == b"answer"
        own.process.pause()
        asked = asyncio.create_task(node.ask("frozen"))
        await asyncio.sleep(1.2)
        own.process.resume()

        assert await asked == b"answer"


async def test_a_request_is_told_when_nats_stays_away(own: Nats) -> None:
    """Before kubelet's patience ends, in words about NATS and not about fetchers."""
    async with asking(own.url) as node:
        await asyncio.to_thread(own.process.kill)
        with pytest.raises(BusUnavailable, match="NATS cannot be reached"):
            await node.ask("r-1", within=60.0)


async def test_an_event_is_told_when_nats_stays_away(own: Nats) -> None:
    """Whoever tells of a volume learns that nobody has heard it."""
    async with asking(own.url) as node:
        await asyncio.to_thread(own.process.kill)
        with pytest.raises(BusUnavailable):
            await node.bus.publish("keyferry.volume.n.v", b"event", destination="keyferry.volume")


async def test_a_first_connection_that_fails_is_told() -> None:
    """Within seconds, with the reason: a service at start must not hang without a word."""
    port = free_port()

    with pytest.raises(BusUnavailable, match=f"NATS cannot be reached .*{port}"):
        async with connect(f"nats://127.0.0.1:{port}", name="fetcher"):
            pass


async def test_one_of_two_servers_is_enough(own: Nats) -> None:
    """A server of the list that is away is passed over."""
    away = f"nats://127.0.0.1:{free_port()}"

    async with connect(f"{away},{own.url}", name="fetcher") as bus:
        assert bus.is_connected


async def test_a_consumer_that_is_deleted_and_made_again_is_found(bus: Bus, node: Node, admin: Admin) -> None:
    """As an operator or a restored backup does; what was asked meanwhile is answered."""
    async with consuming(bus, answering(bus)):
        assert await node.ask("before") == b"answer"
        await admin.context.delete_consumer("FETCH", "fetch-mount")
        asked = asyncio.create_task(node.ask("between"))
        await asyncio.sleep(0.3)
        await admin.impatient(MOUNTS, MOUNTS.ack_wait)

        assert await asked == b"answer"
        assert await node.ask("after") == b"answer"


async def test_streams_that_are_made_after_the_consumer_started_are_found(bare: Nats) -> None:
    """A fetcher that starts before `python -m keyferry.streams` has run needs no restart."""
    async with connect(bare.url, name="fetcher") as bus, consuming(bus, answering(bus)):
        await asyncio.sleep(0.2)
        async with administering(bare.url), asking(bare.url) as node:
            assert await node.ask("r-1") == b"answer"


async def test_a_missing_consumer_is_asked_for_with_rests(bare: Nats, caplog: pytest.LogCaptureFixture) -> None:
    """The server refuses at once; asking again at once would burn a core. One line says what is wrong."""
    async with connect(bare.url, name="fetcher") as bus, consuming(bus, answering(bus)):
        await asyncio.sleep(1.5)
        asked = bus._nats.stats["out_msgs"]

    assert 1 <= asked <= 3
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        "the consumer gives no messages: there is none (run `python -m keyferry.streams`), or it has no leader yet"
    ]


async def test_a_stranger_on_natss_port_is_survived(own: Nats) -> None:
    """What is no NATS server, met while reconnecting, is left for the real one when that is back."""
    met = asyncio.Event()

    async def stranger(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO []\r\n")
        await writer.drain()
        writer.close()
        met.set()

    async with connect(own.url, name="fetcher") as bus, asking(own.url) as node, consuming(bus, answering(bus)):
        await asyncio.to_thread(own.process.kill)
        async with await asyncio.start_server(stranger, "127.0.0.1", urlsplit(own.url).port):
            await met.wait()
            await asyncio.sleep(0.2)
        await asyncio.to_thread(own.process.start)

        assert await node.ask("after", within=60.0) == b"answer"


async def test_closing_while_nats_is_away_ends(own: Nats) -> None:
    """A service can be stopped when NATS cannot be reached."""
    async with asyncio.timeout(10):
        async with connect(own.url, name="fetcher") as bus, consuming(bus, answering(bus)):
            await asyncio.to_thread(own.process.kill)
            async with asyncio.timeout(5):
                while bus.is_connected:  # noqa: ASYNC110 - the bus tells only this
                    await asyncio.sleep(0.02)

    assert not bus.is_connected
