"""What operators ask of JetStream itself: how streams and consumers are, and the dead letters."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import nats.errors

from keyferry.bus import Bus
from keyferry.bus.acks import refused
from keyferry.cli.clock import parsed
from keyferry.errors import BusUnavailable
from keyferry.streams import CONSUMERS

STREAMS = ("FETCH", "VOLUMES", "CHANGES", "SYNC", "DEAD")
_SECONDS = 3.0
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class StreamState:
    """A stream.

    Attributes:
        name: Its name.
        messages: How many it holds.
        bytes: Their size.
    """

    name: str
    messages: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ConsumerState:
    """A consumer.

    Attributes:
        stream: Where it takes from.
        name: Its durable name.
        waiting: Messages that nobody has taken yet.
        in_work: Taken, and not finished.
        again: Of those, delivered more than once.
        askers: Open requests for messages; without any, nobody works.
    """

    stream: str
    name: str
    waiting: int
    in_work: int
    again: int
    askers: int


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter.

    Attributes:
        sequence: Its number in the stream DEAD.
        consumer: ``STREAM.durable`` of who could not process it.
        subject: Where it first was.
        error: Why.
        buried_at: Unix seconds.
        payload: What it was.
    """

    sequence: int
    consumer: str
    subject: str
    error: str
    buried_at: float
    payload: bytes = field(repr=False)


class JetStream:
    """JetStream's own interface, over a bus.

    Args:
        bus: A connection; its identity needs the rights of ``cli`` in `keyferry.bus.permissions`.
    """

    def __init__(self, bus: Bus) -> None:
        self._client = bus.client

    async def stream(self, name: str) -> StreamState | None:
        """A stream; None if it is missing.

        Raises:
            BusUnavailable: it cannot be told.
        """
        told = await self._ask(f"STREAM.INFO.{name}")
        return StreamState(name, told["state"]["messages"], told["state"]["bytes"]) if told else None

    async def consumer(self, stream: str, name: str) -> ConsumerState | None:
        """A consumer; None if it, or its stream, is missing.

        Raises:
            BusUnavailable: it cannot be told.
        """
        told = await self._ask(f"CONSUMER.INFO.{stream}.{name}")
        if told is None:
            return None
        return ConsumerState(
            stream, name, told["num_pending"], told["num_ack_pending"], told["num_redelivered"], told["num_waiting"]
        )

    async def consumers(self) -> list[ConsumerState]:
        """Those that are there, of those that should be.

        Raises:
            BusUnavailable: it cannot be told.
        """
        found = [await self.consumer(each.stream, each.durable) for each in CONSUMERS]
        return [each for each in found if each is not None]

    async def letters(self) -> AsyncIterator[Letter]:
        """All dead letters, the oldest first.

        Raises:
            BusUnavailable: not read to the end.
        """
        following = 1
        while True:
            told = await self._ask("STREAM.MSG.GET.DEAD", {"seq": following, "next_by_subj": "keyferry.dead.>"})
            if told is None:
                return
            letter = _letter(told["message"])
            following = letter.sequence + 1
            yield letter

    async def letter(self, sequence: int) -> Letter | None:
        """One of them; None if there is none of this number.

        Raises:
            BusUnavailable: it cannot be told.
        """
        told = await self._ask("STREAM.MSG.GET.DEAD", {"seq": sequence})
        return _letter(told["message"]) if told else None

    async def drop(self, sequence: int) -> bool:
        """Take a dead letter out; false if it is gone already.

        Raises:
            BusUnavailable: it may still be there.
        """
        return await self._ask("STREAM.MSG.DELETE.DEAD", {"seq": sequence}) is not None

    async def _ask(self, what: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
        try:
            payload = json.dumps(body).encode() if body else b""
            answer = await self._client.request(f"$JS.API.{what}", payload, timeout=_SECONDS)
            told: dict[str, Any] = json.loads(answer.data or b"{}")
        except TimeoutError:
            raise BusUnavailable(f"NATS does not answer {what}: this identity may not ask it (docs/cli.md)") from None
        except nats.errors.Error as error:
            raise refused(error) from None
        except ValueError:
            raise BusUnavailable(f"what NATS answers {what} is unreadable") from None
        refusal = told.get("error")
        if refusal is None:
            return told
        # Deleting what is gone is "no message found", with status 500 and an error code of its own.
        if refusal.get("code") == _NOT_FOUND or refusal.get("err_code") in (10037, 10043, 10057):
            return None
        raise BusUnavailable(f"NATS answers {what}: {refusal.get('description')} ({refusal.get('err_code')})")


def _letter(message: dict[str, Any]) -> Letter:
    headers = _headers(base64.b64decode(message.get("hdrs", "")))
    return Letter(
        sequence=message["seq"],
        consumer=message["subject"].removeprefix("keyferry.dead."),
        subject=headers.get("Keyferry-Subject", ""),
        error=headers.get("Keyferry-Error", ""),
        buried_at=parsed(message["time"]),
        payload=base64.b64decode(message.get("data", "")),
    )


def _headers(raw: bytes) -> dict[str, str]:
    lines = raw.decode(errors="replace").split("\r\n")[1:]
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip()}
