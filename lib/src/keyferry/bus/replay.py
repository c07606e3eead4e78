"""Reads all that a stream holds, without a consumer: the data plane has no right to create one.

It is the batched direct get of NATS 2.11 (ADR-31). Nothing of it is acknowledged, and it may be done at any time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import nats.errors
from nats.aio.msg import Msg

from keyferry.bus.acks import refused
from keyferry.bus.client import Connection
from keyferry.errors import BusUnavailable

_BATCH = 500
_SILENCE_SECONDS = 5.0  # after which the rest of a batch is taken for lost
_BATCH_ENDS, _NOTHING_LEFT = "204", "404"


@dataclass(frozen=True, slots=True)
class Stored:
    """A message of a stream.

    Attributes:
        subject: Where it was published.
        payload: Its bytes.
        stored_us: When the stream took it, Unix microseconds by the server's clock.
        sequence: Its number in the stream.
    """

    subject: str
    payload: bytes = field(repr=False)
    stored_us: int
    sequence: int = 0


async def replay(client: Connection, stream: str, subject: str, after: int = 0) -> AsyncIterator[Stored]:
    """See `keyferry.bus.Bus.replay`."""
    inbox, come = client.new_inbox(), asyncio.Queue[Msg]()

    async def take(message: Msg) -> None:
        come.put_nowait(message)

    try:
        subscription = await client.subscribe(inbox, cb=take)
    except nats.errors.Error as error:
        raise refused(error) from None
    try:
        first = after + 1
        while True:
            await _ask(client, stream, {"seq": first, "batch": _BATCH, "next_by_subj": subject}, inbox)
            before = 0
            async for message, headers in _batch(come, stream):
                # Each message names the one before it: one that the connection lost is asked for again.
                if int(headers["Nats-Last-Sequence"]) != before:
                    raise BusUnavailable(f"a message of stream {stream} was lost on the way: it must be read again")
                before = int(headers["Nats-Sequence"])
                yield _stored(message, headers)
            if not before:
                return
            first = before + 1
    finally:
        if not client.is_closed:
            await subscription.unsubscribe()


async def identity(client: Connection, stream: str) -> str:
    """See `keyferry.bus.Bus.identity`."""
    try:
        answer = await client.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=_SILENCE_SECONDS)
        about: dict[str, Any] = json.loads(answer.data or b"{}")
    except (nats.errors.Error, TimeoutError) as error:
        raise refused(error) from None
    except ValueError:
        raise BusUnavailable(f"what is said of stream {stream} is unreadable") from None
    if "created" not in about:
        raise BusUnavailable(f"there is no stream {stream}: run `python -m keyferry.streams`, and check JetStream")
    return str(about["created"])


async def last(client: Connection, stream: str, subject: str) -> Stored | None:
    """See `keyferry.bus.Bus.last`."""
    try:
        message = await client.request(f"$JS.API.DIRECT.GET.{stream}.{subject}", b"", timeout=_SILENCE_SECONDS)
    except (nats.errors.Error, TimeoutError) as error:
        raise refused(error) from None
    headers = message.headers or {}
    if headers.get("Status") == _NOTHING_LEFT:
        return None
    if "Nats-Subject" not in headers:
        raise BusUnavailable(f"stream {stream} cannot be read: run `python -m keyferry.streams`, and check JetStream")
    return _stored(message, headers)


def _stored(message: Msg, headers: dict[str, str]) -> Stored:
    at, sequence = _microseconds(headers["Nats-Time-Stamp"]), int(headers["Nats-Sequence"])
    return Stored(headers["Nats-Subject"], message.data, at, sequence)


async def _ask(client: Connection, stream: str, wish: dict[str, Any], inbox: str) -> None:
    try:
        await client.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(wish).encode(), inbox)
    except nats.errors.Error as error:
        raise refused(error) from None


async def _batch(come: asyncio.Queue[Msg], stream: str) -> AsyncIterator[tuple[Msg, dict[str, str]]]:
    while True:
        try:
            async with asyncio.timeout(_SILENCE_SECONDS):
                message = await come.get()
        except TimeoutError:
            raise BusUnavailable(f"stream {stream} was not read to its end: NATS fell silent") from None
        headers = message.headers or {}
        status = headers.get("Status")
        if status in (_BATCH_ENDS, _NOTHING_LEFT):
            return
        if status is not None:
            raise BusUnavailable(
                f"stream {stream} cannot be read ({status}): run `python -m keyferry.streams`, and check JetStream"
            )
        yield message, headers


def _microseconds(timestamp: str) -> int:
    """From RFC 3339 with up to nine digits of fraction, in UTC, as Go writes it."""
    whole, _, fraction = timestamp.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * 1_000_000 + int(f"{fraction:0<9}"[:6])
