"""A connection to NATS: ask and wait, tell, answer, consume."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import nats
import nats.errors
from nats.aio.client import Client
from prometheus_client import Gauge

from keyferry import telemetry
from keyferry.bus.acks import check_ack, unavailable
from keyferry.bus.deliver import Deliver, Handler
from keyferry.bus.headers import MESSAGE_ID, PUBLISHED, TTL
from keyferry.bus.pull import Consumer, Pull
from keyferry.bus.requests import Requests
from keyferry.errors import KeyferryError

log = logging.getLogger(__name__)

T = TypeVar("T")

CONNECTED = Gauge("keyferry_bus_connected", "1 while the connection to NATS stands.")
_ACK_SECONDS = 5.0


class Bus:
    """One connection to NATS. Made by `connect`."""

    def __init__(self, client: Client, requests: Requests) -> None:
        self._nats = client
        self._requests = requests

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands right now."""
        return bool(self._nats.is_connected)

    async def request(
        self,
        subject: str,
        payload: bytes,
        *,
        destination: str,
        request_id: str,
        deadline: float,
        accept: Callable[[bytes], T],
    ) -> T:
        """Publish into a stream and wait for whoever takes it to answer on our inbox.

        Args:
            subject: Captured by a JetStream stream.
            payload: The request.
            destination: The subject's template, for spans and metrics.
            request_id: One subject token, unique; the reply comes to ``<inbox>.<request_id>``.
            deadline: Unix seconds.
            accept: Reads the reply. Raising UntrustedMessage makes the bus wait on: a forged reply must not be able to
                fail a mount.

        Raises:
            BusUnavailable: no connection, or no stream takes the subject.
            BusFull: the stream is full.
            RequestExpired: no answer before the deadline.
            KeyferryError: what ``accept`` raises.
        """
        return await self._requests.request(
            subject, payload, destination=destination, request_id=request_id, deadline=deadline, accept=accept
        )

    async def publish(
        self, subject: str, payload: bytes, *, destination: str, message_id: str | None = None, ttl: float | None = None
    ) -> None:
        """Publish into a stream and wait until it is stored.

        Args:
            subject: Captured by a JetStream stream.
            payload: The message.
            destination: The subject's template, for metrics.
            message_id: Repeats of the same id within the stream's duplicate window are dropped.
            ttl: Seconds after which the server forgets the message.

        Raises:
            BusUnavailable: no connection, or no stream takes the subject.
            BusFull: the stream is full.
        """
        headers = telemetry.carrier()
        if message_id is not None:
            headers[MESSAGE_ID] = message_id
        if ttl is not None:
            headers[TTL] = str(int(ttl))
        try:
            acknowledged = await self._nats.request(subject, payload, timeout=_ACK_SECONDS, headers=headers or None)
            check_ack(acknowledged)
        except (nats.errors.Error, TimeoutError) as error:
            PUBLISHED.labels(destination, "BusUnavailable").inc()
            raise unavailable(error) from None
        except KeyferryError as error:
            PUBLISHED.labels(destination, error.reason).inc()
            raise
        PUBLISHED.labels(destination, "stored").inc()

    async def reply(self, subject: str, payload: bytes) -> None:
        """Answer on somebody's inbox. Nobody acknowledges; whoever asked asks again if the answer is lost.

        Raises:
            BusUnavailable: no connection.
        """
        try:
            await self._nats.publish(subject, payload)
        except nats.errors.Error as error:
            raise unavailable(error) from None

    async def consume(self, consumer: Consumer, handle: Handler, *, concurrency: int) -> None:
        """Take messages as fast as they can be handled, until cancelled.

        What the handler raises decides: nothing → ack; a KeyferryError with ``retry_after`` → delivered again after it;
        another KeyferryError → ack (the handler has answered); anything else is a defect → again after a second, and
        in the end dead-lettered and removed, so that it cannot fill the queue.

        Args:
            consumer: Which durable consumer.
            handle: Called for each message, at most ``concurrency`` at a time.
            concurrency: Messages in work at once; the rest wait in the stream, where other processes can take them.
        """
        deliver = Deliver(self._nats, consumer, handle)
        async with Pull(self._nats, consumer, concurrency) as pull, asyncio.TaskGroup() as tasks:
            async for message in pull:
                tasks.create_task(deliver(message, pull.done))


@asynccontextmanager
async def connect(url: str, *, name: str, inbox: str | None = None) -> AsyncIterator[Bus]:
    """A connection to NATS that lasts as long as the block, through any number of lost connections.

    Args:
        url: One or more servers, comma-separated.
        name: Shown by the server.
        inbox: Prefix of the subjects that replies come to; needed to `Bus.request`.

    Raises:
        BusUnavailable: the first connection could not be made.
    """
    prefix = inbox or f"_INBOX_{name}"
    try:
        client = await nats.connect(
            url.split(","),
            name=name,
            inbox_prefix=prefix,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            error_cb=_log_error,
            disconnected_cb=_disconnected,
            reconnected_cb=_reconnected,
            allow_reconnect=True,
        )
    except (OSError, nats.errors.Error) as error:
        raise unavailable(error) from None
    CONNECTED.set(1)
    try:
        requests = Requests(client, prefix)
        if inbox is not None:
            await requests.listen()
        yield Bus(client, requests)
    finally:
        CONNECTED.set(0)
        with suppress(nats.errors.Error, TimeoutError):
            await client.flush(timeout=2)
        await client.close()


async def _log_error(error: Exception) -> None:
    # Where a permission is missing, this callback is the only one that learns of it.
    log.error("NATS: %s: %s", type(error).__name__, error)


async def _disconnected() -> None:
    CONNECTED.set(0)
    log.warning("NATS connection lost; reconnecting")


async def _reconnected() -> None:
    CONNECTED.set(1)
    log.warning("NATS connection is back")
