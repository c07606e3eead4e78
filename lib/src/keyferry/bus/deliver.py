"""Hands one message to its handler and settles it: ack, nak, term and in-progress are sent here alone."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import nats.errors
from nats.aio.msg import Msg

from keyferry import telemetry
from keyferry.bus.acks import check_ack
from keyferry.bus.client import Connection
from keyferry.bus.headers import CONSUMED, MESSAGE_ID, deadline_of, messaging
from keyferry.bus.pull import Consumer, deliveries, stored_us, stream_sequence, waited
from keyferry.errors import KeyferryError, place

log = logging.getLogger(__name__)

_ACK_SECONDS = 5.0
_BUG_DELAY = 1.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that was taken from a consumer.

    Attributes:
        subject: Where it was published.
        payload: Its bytes.
        deadline: Unix seconds after which nobody waits for the outcome.
        attempt: 1 for the first delivery.
        last: Whether a failure now sends it to the dead letters.
        stored_us: When the stream took it, Unix microseconds: of two words on one subject, which is the later.
    """

    subject: str
    payload: bytes = field(repr=False)
    deadline: float
    attempt: int
    last: bool
    stored_us: int = 0


Handler = Callable[[Delivery], Awaitable[None]]


class Deliver:
    """Works off the messages of one consumer."""

    def __init__(self, client: Connection, consumer: Consumer, handle: Handler) -> None:
        self._nats = client
        self._consumer = consumer
        self._handle = handle

    async def __call__(self, message: Msg, done: Callable[[], None]) -> None:
        """Settle one message, then call ``done``; raises nothing."""
        try:
            outcome = await self._work_off(message)
            CONSUMED.labels(self._consumer.durable, outcome).inc()
        except nats.errors.Error as error:
            # The acknowledgement is lost with the connection; the server delivers the message again.
            self._log(f"could not acknowledge: {type(error).__name__}")
        except Exception as error:  # noqa: BLE001 - one message must not stop the others; it comes again, and is buried
            self._log(f"a message could not be handed out: {place(error)}")
        finally:
            done()

    async def _work_off(self, message: Msg) -> str:
        deadline = deadline_of(message.headers or {})
        attempt = deliveries(message.reply)
        if time.time() > deadline:
            await self._settle(message, b"+ACK")
            return "expired"
        if attempt > self._consumer.max_deliveries:
            return await self._bury(message, "no process that took it lived to finish it")
        last, stored = attempt >= self._consumer.max_deliveries, stored_us(message.reply)
        delivery = Delivery(message.subject, message.data, deadline, attempt, last, stored)
        try:
            await self._traced(message, delivery)
        except KeyferryError as error:
            return await self._failed(message, delivery, error)
        except Exception as error:  # noqa: BLE001 - a defect in one message must not stop the others
            return await self._defective(message, delivery, place(error))
        except asyncio.CancelledError:
            await self._settle(message, _nak(0))  # we are told to stop: another process shall have it at once
            raise
        await self._settle(message, b"+ACK")
        return "done"

    async def _traced(self, message: Msg, delivery: Delivery) -> None:
        if not self._consumer.begins_traces and telemetry.CARRIED.isdisjoint(message.headers or ()):
            await self._timed(message, delivery)
            return
        destination = self._consumer.destination
        parent = telemetry.extract(message.headers)
        attributes = messaging("process", destination)
        with telemetry.span(f"process {destination}", telemetry.Kind.CONSUMER, attributes, parent=parent):
            await self._timed(message, delivery)

    async def _timed(self, message: Msg, delivery: Delivery) -> None:
        telemetry.observe("queue", waited(message.reply))
        async with self._in_progress(message):
            await self._handle(delivery)

    async def _failed(self, message: Msg, delivery: Delivery, error: KeyferryError) -> str:
        if error.retry_after is not None and delivery.last and math.isinf(delivery.deadline):
            return await self._bury(message, error.reason)  # nobody waits who has been told: operators must be
        if error.retry_after is None or delivery.last:
            await self._settle(message, b"+ACK")
            return error.reason
        await self._settle(message, _nak(error.retry_after))
        return "again"

    async def _defective(self, message: Msg, delivery: Delivery, where: str) -> str:
        self._log(f"a message met a defect: {where}")
        if delivery.last:
            return await self._bury(message, where)
        await self._settle(message, _nak(_BUG_DELAY))
        return "defect"

    async def _bury(self, message: Msg, why: str) -> str:
        # Its own headers stay behind, but for the trace: such as Nats-TTL would have the dead letter refused for ever.
        headers = {name: value for name, value in (message.headers or {}).items() if name in telemetry.CARRIED}
        headers["Keyferry-Subject"] = message.subject
        headers["Keyferry-Error"] = why
        headers[MESSAGE_ID] = f"dead.{self._consumer.stream}.{stream_sequence(message.reply)}"
        subject = f"keyferry.dead.{self._consumer.stream}.{self._consumer.durable}"
        try:
            check_ack(await self._nats.request(subject, message.data, timeout=_ACK_SECONDS, headers=headers))
        except (nats.errors.Error, TimeoutError, KeyferryError):
            await self._settle(message, _nak(_BUG_DELAY))
            return "again"
        await self._settle(message, b"+TERM")
        self._log(f"a message was dead-lettered: {why}")
        return "dead"

    async def _settle(self, message: Msg, how: bytes) -> None:
        await self._nats.publish(message.reply, how)

    @asynccontextmanager
    async def _in_progress(self, message: Msg) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        every = self._consumer.ack_wait / 3
        timer: asyncio.TimerHandle

        def tell() -> None:
            nonlocal timer
            told.append(loop.create_task(self._settle(message, b"+WPI")))
            timer = loop.call_later(every, tell)

        told: list[asyncio.Task[None]] = []
        timer = loop.call_later(every, tell)
        try:
            yield
        finally:
            timer.cancel()
            for task in told:
                with suppress(nats.errors.Error):
                    await task

    def _log(self, text: str) -> None:
        log.warning(text, extra={"consumer": self._consumer.durable})


def _nak(delay: float) -> bytes:
    return b"-NAK " + json.dumps({"delay": int(delay * 1e9)}).encode()
