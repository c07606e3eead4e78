"""Takes messages from a JetStream pull consumer without pause, never more than can be worked on.

nats-py's ``fetch(n)`` waits for a full batch or a time-out, which a mount would feel; this keeps one pull request open
with a long-lived inbox and asks for more as work is done.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

log = logging.getLogger(__name__)

_EXPIRES = 30.0
_HEARTBEAT = 5.0
_V1_TOKENS = 9  # of an ack subject without domain and account


@dataclass(frozen=True, slots=True)
class Consumer:
    """A durable consumer and what it takes.

    Attributes:
        stream: The stream's name.
        durable: The consumer's name.
        subject: Its filter.
        destination: Template of the subject, for spans and metrics.
        ack_wait: Seconds after which an unacknowledged message is delivered again.
    """

    stream: str
    durable: str
    subject: str
    destination: str
    ack_wait: float = 15.0


class Pull:
    """An async iterator over a consumer's messages; ``done`` frees the place of one."""

    def __init__(self, client: Client, consumer: Consumer, concurrency: int) -> None:
        self._nats = client
        self._consumer = consumer
        self._concurrency = concurrency
        self._running = 0
        self._asked = 0
        self._heard = time.monotonic()
        self._queue: asyncio.Queue[Msg] = asyncio.Queue()
        self._inbox = ""
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._inbox = self._nats.new_inbox()
        self._subscription = await self._nats.subscribe(self._inbox, cb=self._queue.put)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._subscription is not None and not self._nats.is_closed:
            await self._subscription.unsubscribe()

    def done(self) -> None:
        """One message has been worked off."""
        self._running -= 1
        # Wakes the iterator, which asks for more: a status message of our own.
        self._queue.put_nowait(Msg(self._nats, headers={"Status": "done"}))

    async def __aiter__(self) -> AsyncIterator[Msg]:
        while True:
            await self._ask()
            try:
                async with asyncio.timeout(_HEARTBEAT):
                    message = await self._queue.get()
            except TimeoutError:
                self._forget_lost_request()
                continue
            if message.reply:
                self._heard = time.monotonic()
                self._asked = max(0, self._asked - 1)
                self._running += 1
                yield message
            else:
                self._status(message.headers or {})

    async def _ask(self) -> None:
        free = self._concurrency - self._running - self._asked
        if free <= 0 or (self._asked and free < self._concurrency / 2):
            return
        wish = {"batch": free, "expires": int(_EXPIRES * 1e9), "idle_heartbeat": int(_HEARTBEAT * 1e9)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._consumer.stream}.{self._consumer.durable}"
        try:
            await self._nats.publish(subject, json.dumps(wish).encode(), self._inbox)
        except nats.errors.Error as error:
            log.warning("cannot ask for messages: %s", type(error).__name__, extra={"consumer": self._consumer.durable})
            await asyncio.sleep(1)
            return
        self._asked += free

    def _status(self, headers: dict[str, str]) -> None:
        status = headers.get("Status")
        if status == "done":
            return
        self._heard = time.monotonic()
        if status == "100":  # idle heartbeat
            return
        if status == "408":  # this pull request has expired; the rest of its batch is free again
            self._asked = max(0, self._asked - int(headers.get("Nats-Pending-Messages", self._asked)))
            return
        # 503: no such consumer, or no leader for it yet; 409: consumer deleted, server shutting down
        log.warning(
            "consumer answers %s %s", status, headers.get("Description", ""), extra={"consumer": self._consumer.durable}
        )
        self._asked = 0

    def _forget_lost_request(self) -> None:
        # Two missed heartbeats: the request died with a connection or a leader. Ask anew.
        if self._asked and time.monotonic() - self._heard > 2 * _HEARTBEAT:
            self._asked = 0
            self._heard = time.monotonic()


def deliveries(ack_subject: str) -> int:
    """How often a message has been delivered, this time included (NATS ADR-15, both forms of ack subject)."""
    tokens = ack_subject.split(".")
    return int(tokens[4] if len(tokens) == _V1_TOKENS else tokens[6])


def waited(ack_subject: str) -> float:
    """Seconds since the message was stored, by the server's clock."""
    tokens = ack_subject.split(".")
    stored = int(tokens[7] if len(tokens) == _V1_TOKENS else tokens[9]) / 1e9
    return max(0.0, time.time() - stored)
