"""A connection to NATS: ask and wait, tell, answer, consume."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar
from urllib.parse import urlsplit

import nats.errors

from keyferry import telemetry
from keyferry.bus.acks import check_ack, refused
from keyferry.bus.answer import Answer, answer
from keyferry.bus.client import Connection
from keyferry.bus.deliver import Deliver, Handler
from keyferry.bus.headers import MESSAGE_ID, PUBLISHED, TTL
from keyferry.bus.identity import Access
from keyferry.bus.listen import Hear, listen
from keyferry.bus.pull import Consumer, Pull
from keyferry.bus.renewal import LOOK_SECONDS, renew
from keyferry.bus.replay import Stored, identity, last, replay
from keyferry.bus.requests import ATTEMPT_SECONDS, Requests
from keyferry.errors import BusUnavailable, KeyferryError
from keyferry.subjects import service_inbox

T = TypeVar("T")

_ACK_SECONDS = 5.0


class Bus:
    """One connection to NATS. Made by `connect`."""

    def __init__(self, client: Connection, requests: Requests) -> None:
        self._nats = client
        self._requests = requests

    @property
    def client(self) -> Connection:
        """What stands below: for those who speak to the server itself, of streams and consumers."""
        return self._nats

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
            raise refused(error) from None
        except KeyferryError as error:
            PUBLISHED.labels(destination, error.reason).inc()
            raise
        PUBLISHED.labels(destination, "stored").inc()

    async def reply(self, subject: str, payload: bytes) -> None:
        """Answer on somebody's inbox. Nobody acknowledges; whoever asked asks again if the answer is lost.

        Raises:
            BusUnavailable: no connection.
            ContentTooLarge: more than NATS takes in a message.
        """
        try:
            await self._nats.publish(subject, payload)
        except nats.errors.Error as error:
            raise refused(error) from None

    async def hint(self, subject: str, payload: bytes, *, destination: str) -> None:
        """Tell whoever listens right now; whoever does not is never told.

        Args:
            subject: Captured by no stream.
            payload: The message.
            destination: The subject's template, for metrics.

        Raises:
            BusUnavailable: no connection; a hint is not kept for later, when it would be wrong.
        """
        try:
            if not self._nats.is_connected:
                raise nats.errors.StaleConnectionError
            await self._nats.publish(subject, payload, headers=telemetry.carrier() or None)
        except nats.errors.Error as error:
            PUBLISHED.labels(destination, "BusUnavailable").inc()
            raise refused(error) from None
        PUBLISHED.labels(destination, "sent").inc()

    def replay(self, stream: str, subject: str, *, after: int = 0) -> AsyncIterator[Stored]:
        """All that a stream holds, in its order; ends when caught up.

        Args:
            stream: One that allows direct gets.
            subject: A filter.
            after: The sequence of the last message that is known already; 0 for all.

        Raises:
            BusUnavailable: not read to the end; what came so far is true, and not all.
        """
        return replay(self._nats, stream, subject, after)

    async def last(self, stream: str, subject: str) -> Stored | None:
        """The last message of a subject; None where there is none (any more).

        Args:
            stream: One that allows direct gets.
            subject: Without wildcards.

        Raises:
            BusUnavailable: no connection, or no such stream.
        """
        return await last(self._nats, stream, subject)

    async def identity(self, stream: str) -> str:
        """What tells a stream from another of its name, made after this one was lost.

        Raises:
            BusUnavailable: no connection, or no such stream.
        """
        return await identity(self._nats, stream)

    async def listen(self, subject: str, handle: Hear, *, destination: str = "") -> None:
        """Hand every message on a subject to a handler, one after the other, until cancelled.

        Args:
            subject: Captured by no stream, or nobody else's business: what comes while nobody listens is lost.
            handle: Called with the payload; shall be quick. What it raises is logged and counted, UntrustedMessage
                among it, and ends nothing.
            destination: The subject's template, for spans and metrics; the subject itself where it names no node.

        Raises:
            BusUnavailable: the connection has been closed for good. One that is lost is waited for.
        """
        await listen(self._nats, subject, handle, destination or subject)

    async def answer(self, subject: str, queue: str, handle: Answer) -> None:
        """Answer what is asked on a subject, until cancelled; of those who share a queue, one is asked.

        Args:
            subject: Captured by no stream.
            queue: The queue group.
            handle: Called with the question, for many at once; returns the answer. What it raises is logged and counted
                and leaves the question unanswered.

        Raises:
            BusUnavailable: the connection has been closed for good. One that is lost is waited for.
        """
        await answer(self._nats, subject, queue, handle)

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
async def connect(
    url: str,
    *,
    name: str,
    inbox: str | None = None,
    access: Access | None = None,
    attempt_seconds: float = ATTEMPT_SECONDS,
    look_seconds: float = LOOK_SECONDS,
) -> AsyncIterator[Bus]:
    """A connection to NATS that lasts as long as the block, through any number of lost connections.

    Args:
        url: One or more servers, comma-separated.
        name: Shown by the server.
        inbox: Prefix of the subjects that replies come to; needed to `Bus.request`. A service's own without it.
        access: Who we are, and whom we trust; by default nobody in particular.
        attempt_seconds: How long a request waits for its reply before it is published again.
        look_seconds: How often to look whether a token has been replaced.

    Raises:
        BusUnavailable: the first connection could not be made within some seconds.
    """
    prefix = inbox or service_inbox(name)
    client = Connection()
    try:
        await client.open(
            url,
            access=access,
            name=name,
            inbox_prefix=prefix,
        )
    except (OSError, nats.errors.Error) as error:
        servers = ", ".join(urlsplit(server).netloc.rpartition("@")[2] or server for server in url.split(","))
        why = str(error) or "it did not answer in time"
        raise BusUnavailable(
            f"NATS cannot be reached at {servers} ({why}): check the servers, the credentials and the network policy"
        ) from None
    requests, renewing = Requests(client, prefix, attempt_seconds), None
    try:
        if inbox is not None:
            await requests.listen()
        if access is not None and access.token_file:
            renewing = asyncio.create_task(renew(client, access.token, requests.are_done, every=look_seconds))
        yield Bus(client, requests)
    finally:
        if renewing is not None:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing
        await client.close()
