import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import nats as nats_py
import pytest
import uvloop
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError
from prometheus_client import REGISTRY

from keyferry import streams
from keyferry.bus import Bus, Consumer, Delivery, Handler, connect
from keyferry.settings import load
from keyferry.streams import MOUNTS
from keyferry.testing.nats import Nats

NODE_INBOX = "_INBOX.node.node-1"


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What the services run on: its transports fail in other ways than asyncio's."""
    return {"uvloop": uvloop.new_event_loop}


@dataclass(frozen=True)
class Admin:
    """A plain client that may do everything, to look at streams and to do what attackers and operators do."""

    client: Client
    context: JetStreamContext

    async def waiting(self, stream: str = "FETCH") -> int:
        """How many messages a stream holds."""
        return (await self.context.stream_info(stream)).state.messages

    async def settled(self, stream: str = "FETCH", *, messages: int = 0) -> None:
        """Wait until a stream holds so many messages."""
        async with asyncio.timeout(20):
            while await self.waiting(stream) != messages:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.02)

    async def dead_letters(self) -> list[tuple[bytes, dict[str, str]]]:
        """What is dead, and its headers."""
        state = (await self.context.stream_info("DEAD")).state
        letters = [await self.context.get_msg("DEAD", n) for n in range(max(1, state.first_seq), state.last_seq + 1)]
        return [(letter.data or b"", letter.headers or {}) for letter in letters]

    async def impatient(self, consumer: Consumer, ack_wait: float) -> Consumer:
        """A consumer whose messages are delivered again after less time than ours."""
        config = ConsumerConfig(
            durable_name=consumer.durable,
            filter_subject=consumer.subject,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ack_wait,
            max_deliver=-1,
            max_waiting=512,
        )
        with suppress(NotFoundError):
            await self.context.delete_consumer(consumer.stream, consumer.durable)
        await self.context.add_consumer(consumer.stream, config)
        return replace(consumer, ack_wait=ack_wait)


@asynccontextmanager
async def administering(url: str) -> AsyncIterator[Admin]:
    """A client on a server that has our streams, until the end of the block."""
    await streams.ensure(load(streams.Settings, {"KEYFERRY_NATS_URL": url}))
    client = await nats_py.connect(url)
    try:
        yield Admin(client, client.jetstream())
    finally:
        await client.close()


@pytest.fixture
async def admin(nats: Nats) -> AsyncIterator[Admin]:
    """The session's server, with fresh streams."""
    async with administering(nats.url) as running:
        yield running
        for stream in await running.context.streams_info():
            await running.context.delete_stream(str(stream.config.name))


@dataclass(frozen=True)
class Node:
    """A requester that asks again after half a second."""

    bus: Bus

    async def ask(
        self, request_id: str, *, lane: str = "mount", within: float = 20.0, accept: Callable[[bytes], object] = bytes
    ) -> object:
        """Request something; the payload is the request id, so that a handler knows where to answer."""
        return await self.bus.request(
            f"keyferry.fetch.{lane}.node-1",
            request_id.encode(),
            destination=f"keyferry.fetch.{lane}",
            request_id=request_id,
            deadline=time.time() + within,
            accept=accept,
        )


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[Node]:
    """A node on a server, until the end of the block."""
    async with connect(url, name="node-driver", inbox=NODE_INBOX, attempt_seconds=0.5) as running:
        yield Node(running)


@pytest.fixture
async def node(nats: Nats, admin: Admin) -> AsyncIterator[Node]:  # noqa: ARG001 - the streams must be there
    """A node on the session's server."""
    async with asking(nats.url) as running:
        yield running


@pytest.fixture
async def bus(nats: Nats, admin: Admin) -> AsyncIterator[Bus]:  # noqa: ARG001 - the streams must be there
    """The connection of a consumer."""
    async with connect(nats.url, name="fetcher") as running:
        yield running


def answering(bus: Bus, answer: bytes = b"answer") -> Handler:
    """A handler that answers every request of `Node.ask`."""

    async def handle(delivery: Delivery) -> None:
        await bus.reply(f"{NODE_INBOX}.{delivery.payload.decode()}", answer)

    return handle


@asynccontextmanager
async def consuming(
    bus: Bus, handle: Handler, consumer: Consumer = MOUNTS, *, concurrency: int = 16
) -> AsyncIterator[None]:
    """Consume for as long as the block lasts, which a consumer that fails does not reach the end of."""
    task = asyncio.create_task(bus.consume(consumer, handle, concurrency=concurrency))
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def consumed(outcome: str, consumer: Consumer = MOUNTS) -> float:
    """How many messages had this outcome so far, over all tests."""
    labels = {"consumer": consumer.durable, "outcome": outcome}
    return REGISTRY.get_sample_value("keyferry_bus_consumed_total", labels) or 0.0
