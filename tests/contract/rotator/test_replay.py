from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import nats as nats_py
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from keyferry import streams
from keyferry.bus import Bus, Stored, connect
from keyferry.errors import BusUnavailable
from keyferry.testing.nats import Nats, nats_server

ALL = "keyferry.volume.>"


@pytest.fixture
def own_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    """A server with our streams, to be broken."""
    with nats_server(tmp_path_factory.mktemp("nats")) as running:
        asyncio.run(streams.ensure(streams.Settings(nats_url=running.url)))
        yield running


@pytest.fixture
async def plain(own_nats: Nats) -> AsyncIterator[Client]:
    """Another client."""
    client = await nats_py.connect(own_nats.url)
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture
async def bus(own_nats: Nats) -> AsyncIterator[Bus]:
    """A rotator's connection."""
    async with connect(own_nats.url, name="rotator") as running:
        yield running


async def fill(client: Client, count: int) -> None:
    """So many volumes on ten nodes, and their state before."""
    for word in (b"old", b"new"):
        for n in range(count):
            await client.publish(f"keyferry.volume.n{n % 10}.v{n}", word)
        await client.flush()
    async with asyncio.timeout(20):
        while (await client.jetstream().stream_info("VOLUMES")).state.last_seq < 2 * count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_the_last_word_on_each_subject_comes_once(bus: Bus, plain: Client) -> None:
    """More than fit in one batch, in the stream's order, with when the stream took them."""
    before = time.time()
    await fill(plain, 1_300)

    found = [stored async for stored in bus.replay("VOLUMES", ALL)]

    assert [(stored.subject, stored.payload) for stored in found] == [
        (f"keyferry.volume.n{n % 10}.v{n}", b"new") for n in range(1_300)
    ]
    times = [stored.stored_us / 1e6 for stored in found]
    assert times == sorted(times)
    assert before - 1 < times[0] <= times[-1] < time.time() + 1


async def test_a_filter_and_an_empty_stream(bus: Bus, plain: Client) -> None:
    """Only what the filter names; nothing where there is nothing."""
    await fill(plain, 20)
    assert len([stored async for stored in bus.replay("VOLUMES", "keyferry.volume.n3.*")]) == 2
    assert [stored async for stored in bus.replay("VOLUMES", "keyferry.volume.elsewhere.*")] == []


async def test_a_message_without_a_payload_is_no_end(bus: Bus, plain: Client) -> None:
    """It is told from the end of a batch by its headers."""
    await plain.jetstream().publish("keyferry.volume.n1.v1", b"")
    await plain.jetstream().publish("keyferry.volume.n1.v2", b"x")
    assert [stored.payload async for stored in bus.replay("VOLUMES", ALL)] == [b"", b"x"]


async def test_what_cannot_be_read_is_an_error(bus: Bus) -> None:
    """A stream that is not there, or does not allow it, is not an empty one."""
    with pytest.raises(BusUnavailable, match="503"):
        await anext(bus.replay("DEAD", "keyferry.dead.>"))
    with pytest.raises(BusUnavailable, match="no stream"):
        await bus.identity("NOSUCH")


async def test_a_server_that_goes_away_is_an_error(bus: Bus, plain: Client, own_nats: Nats) -> None:
    """What was read by then is not taken for all there is."""
    await fill(plain, 1_300)
    reading = bus.replay("VOLUMES", ALL)
    first = await anext(reading)
    await asyncio.to_thread(own_nats.process.kill)

    async def rest() -> list[Stored]:
        return [stored async for stored in reading]

    with pytest.raises(BusUnavailable):
        await rest()
    assert first.payload == b"new"


async def test_streams_have_an_identity(bus: Bus, plain: Client, own_nats: Nats) -> None:
    """It survives the server, not the stream."""
    first = await bus.identity("VOLUMES")
    await asyncio.to_thread(own_nats.process.restart)
    async with connect(own_nats.url, name="again") as again:
        assert await again.identity("VOLUMES") == first
        async with asyncio.timeout(20):
            while not plain.is_connected:  # noqa: ASYNC110 - the client tells nobody
                await asyncio.sleep(0.05)
        await plain.jetstream().delete_stream("VOLUMES")
        await streams.ensure(streams.Settings(nats_url=own_nats.url))
        assert await again.identity("VOLUMES") != first


async def test_a_hint_reaches_who_listens(bus: Bus, plain: Client) -> None:
    """And nobody else, ever."""
    # A client's flush may return before its subscription counts: what is heard is hinted until it is.
    await bus.hint("keyferry.refresh.n1", b"nobody hears", destination="keyferry.refresh")
    assert await first_heard(bus, plain, "keyferry.refresh.n2", b"another's") == b"another's"
    assert await first_heard(bus, plain, "keyferry.refresh.n1", b"heard") == b"heard"


async def first_heard(bus: Bus, plain: Client, subject: str, payload: bytes) -> bytes:
    """What a new subscriber hears first, while this is hinted again and again."""
    come: asyncio.Queue[bytes] = asyncio.Queue()

    async def take(message: Msg) -> None:
        come.put_nowait(message.data)

    await plain.subscribe(subject, cb=take)
    async with asyncio.timeout(60):
        while come.empty():
            await bus.hint(subject, payload, destination="keyferry.refresh")
            await asyncio.sleep(0.05)
    return come.get_nowait()


async def test_a_hint_is_not_kept_for_later(bus: Bus, own_nats: Nats) -> None:
    """Without a connection it fails, rather than going out when it would be wrong."""
    await asyncio.to_thread(own_nats.process.kill)
    async with asyncio.timeout(20):
        while bus.is_connected:  # noqa: ASYNC110 - the client tells nobody
            await asyncio.sleep(0.02)
    with pytest.raises(BusUnavailable):
        await bus.hint("keyferry.refresh.n1", b"late", destination="keyferry.refresh")


async def test_what_came_after_a_message_is_read_alone(bus: Bus, plain: Client) -> None:
    """From the number of the last one that is known; nothing where nothing came."""
    await fill(plain, 20)
    known = [stored async for stored in bus.replay("VOLUMES", ALL)][-1].sequence
    await plain.publish("keyferry.volume.n1.v1", b"newer")
    await plain.flush()
    async with asyncio.timeout(20):
        while (await plain.jetstream().stream_info("VOLUMES")).state.last_seq == known:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    (found,) = [stored async for stored in bus.replay("VOLUMES", ALL, after=known)]
    assert (found.payload, found.sequence) == (b"newer", known + 1)
    assert [stored async for stored in bus.replay("VOLUMES", ALL, after=known + 1)] == []
