"""Asks through a stream and waits for the answer on our own inbox, however often the asking must be repeated."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import nats.errors
from nats.aio.msg import Msg

from keyferry import telemetry
from keyferry.bus.acks import check_ack, is_good, refused
from keyferry.bus.client import Connection
from keyferry.bus.headers import DEADLINE, MESSAGE_ID, PUBLISHED, messaging
from keyferry.errors import BusFull, BusUnavailable, KeyferryError, RequestExpired, UntrustedMessage

log = logging.getLogger(__name__)

T = TypeVar("T")

AT_ONCE = 64
"""Requests on one subject that are on their way; more wait here. The stream takes twice as many of one sender
(KEYFERRY_FETCH_MAX_MESSAGES_PER_NODE): what is asked for a second time lies there twice."""
ATTEMPT_SECONDS = 10.0  # after which a request is published again: its fetcher or its reply may be lost
_RECONNECT_SECONDS = 5.0  # how long a request waits for a lost connection before kubelet is told to come back


class Requests:
    """The requests of one connection that wait for their replies."""

    def __init__(self, client: Connection, inbox: str, attempt_seconds: float = ATTEMPT_SECONDS) -> None:
        self._nats = client
        self._inbox = inbox
        self._attempt_seconds = attempt_seconds
        # Queues, not futures: a true reply right behind a forged one must not be lost.
        self._waiting: dict[str, asyncio.Queue[Msg]] = {}
        self._places: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))

    def are_done(self) -> bool:
        """Whether nobody waits for a reply."""
        return not self._waiting

    async def listen(self) -> None:
        """Begin to take replies."""
        await self._nats.subscribe(f"{self._inbox}.*", cb=self._take)

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
        """See `keyferry.bus.Bus.request`."""
        attempt = 0
        replies = self._waiting[request_id] = asyncio.Queue()
        try:
            async with self._place(subject, deadline):
                while True:
                    attempt += 1
                    with telemetry.span(f"send {destination}", telemetry.Kind.PRODUCER, messaging("send", destination)):
                        await self._publish_request(subject, payload, request_id, attempt, deadline)
                    found = await self._await_reply(replies, request_id, accept, deadline, again=attempt > 1)
                    if found is not None:
                        PUBLISHED.labels(destination, "answered").inc()
                        return found
                    log.warning("no reply yet; asking again", extra={"request_id": request_id, "attempt": attempt})
        except KeyferryError as error:
            PUBLISHED.labels(destination, error.reason).inc()
            raise
        finally:
            self._waiting.pop(request_id, None)

    @asynccontextmanager
    async def _place(self, subject: str, deadline: float) -> AsyncIterator[None]:
        async with self._places[subject]:
            if time.time() >= deadline:
                raise _late()
            yield

    async def _publish_request(
        self, subject: str, payload: bytes, request_id: str, attempt: int, deadline: float
    ) -> None:
        headers = telemetry.carrier()
        headers[MESSAGE_ID] = f"{request_id}.{attempt}"
        if math.isfinite(deadline):
            headers[DEADLINE] = str(int(deadline * 1000))
        await self._connected(deadline)
        try:
            # The stream's acknowledgement comes to the same inbox as the reply, marked by the prefix: no second
            # subscription, no task to wait for it.
            await self._nats.publish(subject, payload, f"{self._inbox}.ack-{request_id}", headers)
        except nats.errors.Error as error:
            raise refused(error) from None

    async def _await_reply(
        self,
        replies: asyncio.Queue[Msg],
        request_id: str,
        accept: Callable[[bytes], T],
        deadline: float,
        *,
        again: bool,
    ) -> T | None:
        attempt_ends = time.time() + self._attempt_seconds
        while True:
            left = min(attempt_ends, deadline) - time.time()
            try:
                async with asyncio.timeout(left):
                    message = await replies.get()
            except TimeoutError:
                if time.time() < deadline:
                    return None
                raise _late() from None
            if _is_ack(message):
                try:
                    check_ack(message)
                except BusFull:
                    if not again:  # what was asked before is still in the stream, and is answered
                        raise
                continue
            try:
                with telemetry.phase("open"):
                    return accept(message.data)
            except UntrustedMessage as error:
                log.error("a reply was refused: %s", error.message, extra={"request_id": request_id})  # noqa: TRY400

    async def _take(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject.rpartition(".")[2].removeprefix("ack-"))
        if waiting is not None and not (_is_ack(message) and is_good(message)):
            waiting.put_nowait(message)

    async def _connected(self, deadline: float) -> None:
        give_up = min(deadline, time.time() + _RECONNECT_SECONDS)
        while not self._nats.is_connected:
            if time.time() >= give_up:
                raise BusUnavailable("NATS cannot be reached: check the servers and the network policy")
            await asyncio.sleep(0.05)


def _late() -> RequestExpired:
    return RequestExpired(
        "no fetcher answered in time: check that fetchers run, and the lag of the FETCH stream's consumers"
    )


def _is_ack(message: Msg) -> bool:
    return message.subject.rpartition(".")[2].startswith("ack-")
