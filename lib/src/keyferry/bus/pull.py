"""Takes messages from a JetStream pull consumer without pause, never more than can be worked on.

nats-py's ``fetch(n)`` waits for a full batch or a time-out, which a mount would feel; this keeps one pull request open
with a long-lived inbox and asks for more as work is done.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from keyferry.bus.client import Connection

log = logging.getLogger(__name__)

_EXPIRES = 30.0
_HEARTBEAT = 5.0
_REST = 1.0  # after a refusal; asking at once would be answered at once
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
        max_deliveries: How often a message is tried before it goes to the dead letters.
        begins_traces: Whether a message that belongs to no trace begins one. A trace of one span costs as much as a
            small step does, and tells less than the metrics.
    """

    stream: str
    durable: str
    subject: str
    destination: str
    ack_wait: float = 15.0
    max_deliveries: int = 5
    begins_traces: bool = True


class Pull:
    """An endless iterator over a consumer's messages; ``done`` frees the place of one."""

    def __init__(self, client: Connection, consumer: Consumer, concurrency: int) -> None:
        self._nats = client
        self._consumer = consumer
        self._concurrency = concurrency
        self._running = 0  # handed out, not done
        self._asked = 0  # asked for, not come
        self._come: deque[Msg] = deque()  # not handed out
        self._changed = asyncio.Event()
        self._heard = time.monotonic()
        self._rest_until = 0.0
        self._refused = False
        self._inbox = ""
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._inbox = self._nats.new_inbox()
        self._subscription = await self._nats.subscribe(self._inbox, cb=self._take)
        self._nats.reconnected.add(self._ask_anew)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._nats.reconnected.discard(self._ask_anew)
        if self._subscription is not None and not self._nats.is_closed:
            await self._subscription.unsubscribe()

    def done(self) -> None:
        """One message has been worked off."""
        self._running -= 1
        self._changed.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Msg:
        while True:
            self._changed.clear()
            await self._ask()
            # What was asked for twice, over a lost connection, may be more than there is room for: it waits.
            if self._come and self._running < self._concurrency:
                self._running += 1
                return self._come.popleft()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience()):
                    await self._changed.wait()
            # Two missed heartbeats: the request died with a leader. Over a lost connection we learn of it at once.
            if self._asked and time.monotonic() - self._heard > 2 * _HEARTBEAT:
                self._ask_anew()

    def _patience(self) -> float:
        rest = self._rest_until - time.monotonic()
        return rest if rest > 0 else _HEARTBEAT

    async def _ask(self) -> None:
        free = self._concurrency - self._running - len(self._come) - self._asked
        if free <= 0 or (self._asked and free < self._concurrency / 2):
            return
        if not self._nats.is_connected or time.monotonic() < self._rest_until:
            return
        wish = {"batch": free, "expires": int(_EXPIRES * 1e9), "idle_heartbeat": int(_HEARTBEAT * 1e9)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._consumer.stream}.{self._consumer.durable}"
        if not self._asked:
            self._heard = time.monotonic()
        self._asked += free
        try:
            await self._nats.publish(subject, json.dumps(wish).encode(), self._inbox)
        except nats.errors.Error as error:
            self._refuse(type(error).__name__)

    async def _take(self, message: Msg) -> None:
        self._heard = time.monotonic()
        if message.reply.startswith("$JS.ACK."):
            self._asked = max(0, self._asked - 1)
            self._come.append(message)
            self._refused = False
        else:
            self._status(message.headers or {})
        self._changed.set()

    def _status(self, headers: dict[str, str]) -> None:
        status = headers.get("Status")
        if status == "100":  # idle heartbeat
            self._refused = False
        elif status == "408":  # this pull request has expired; the rest of its batch is free again
            self._asked = max(0, self._asked - int(headers.get("Nats-Pending-Messages", self._asked)))
        elif status == "503":  # nobody listens
            self._refuse("there is none (run `python -m keyferry.streams`), or it has no leader yet")
        else:  # 409: consumer deleted, server shutting down
            self._refuse(f"{status} {headers.get('Description', '')}")

    def _refuse(self, why: str) -> None:
        if not self._refused:
            log.warning("the consumer gives no messages: %s", why, extra={"consumer": self._consumer.durable})
        self._refused = True
        self._asked = 0
        self._rest_until = time.monotonic() + _REST

    def _ask_anew(self) -> None:
        self._asked = 0
        self._rest_until = 0.0
        self._changed.set()


def deliveries(ack_subject: str) -> int:
    """How often a message has been delivered, this time included (NATS ADR-15, both forms of ack subject)."""
    tokens = ack_subject.split(".")
    return int(tokens[4] if len(tokens) == _V1_TOKENS else tokens[6])


def stream_sequence(ack_subject: str) -> int:
    """The number of a message in its stream."""
    tokens = ack_subject.split(".")
    return int(tokens[5] if len(tokens) == _V1_TOKENS else tokens[7])


def stored_us(ack_subject: str) -> int:
    """When the message was stored, Unix microseconds by the server's clock."""
    tokens = ack_subject.split(".")
    return int(tokens[7] if len(tokens) == _V1_TOKENS else tokens[9]) // 1000


def waited(ack_subject: str) -> float:
    """Seconds since the message was stored, by the server's clock."""
    return max(0.0, time.time() - stored_us(ack_subject) / 1e6)
