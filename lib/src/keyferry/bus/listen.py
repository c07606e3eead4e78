"""Hears what is told to whoever listens right now: hints, of which none is kept and any may be lost."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from nats.aio.msg import Msg

from keyferry import telemetry
from keyferry.bus.client import Connection
from keyferry.bus.headers import CONSUMED, messaging
from keyferry.errors import KeyferryError, place

log = logging.getLogger(__name__)

# What waits for a handler that is busy; beyond that hints are lost, and memory is not.
_WAITING_MESSAGES = 256
_WAITING_BYTES = 4 * 1024 * 1024

Hear = Callable[[bytes], Awaitable[None]]


async def listen(client: Connection, subject: str, handle: Hear, destination: str) -> None:
    """See `keyferry.bus.Bus.listen`."""

    async def take(message: Msg) -> None:
        CONSUMED.labels(destination, await _outcome(message, handle, destination)).inc()

    await client.hear(subject, take, pending_msgs_limit=_WAITING_MESSAGES, pending_bytes_limit=_WAITING_BYTES)


async def _outcome(message: Msg, handle: Hear, destination: str) -> str:
    """What became of a message; anyone on the bus may have sent it, so that nothing in it may end the listening."""
    parent = telemetry.extract(message.headers)
    try:
        with telemetry.span(
            f"process {destination}", telemetry.Kind.CONSUMER, messaging("process", destination), parent=parent
        ):
            await handle(message.data)
    except KeyferryError as error:
        log.warning("a message was not taken: %s", error.message, extra={"destination": destination})
        return error.reason
    except Exception as error:  # noqa: BLE001 - a defect in one message must not stop the others
        log.warning("a message met a defect: %s", place(error), extra={"destination": destination})
        return "defect"
    return "done"
