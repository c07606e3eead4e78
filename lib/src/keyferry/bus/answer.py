"""Answers questions that are asked directly, each to one of those who listen; whoever asked does not wait long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from nats.aio.msg import Msg

from keyferry.bus.client import Connection
from keyferry.bus.headers import CONSUMED
from keyferry.errors import KeyferryError, place

log = logging.getLogger(__name__)

_AT_ONCE = 64
_WAITING_MESSAGES = 4096
_WAITING_BYTES = 32 * 1024 * 1024

Answer = Callable[[bytes], Awaitable[bytes]]


async def answer(client: Connection, subject: str, queue: str, handle: Answer) -> None:
    """See `keyferry.bus.Bus.answer`."""
    places = asyncio.Semaphore(_AT_ONCE)
    async with asyncio.TaskGroup() as tasks:

        async def take(message: Msg) -> None:
            await places.acquire()
            tasks.create_task(work_off(message)).add_done_callback(lambda _: places.release())

        async def work_off(message: Msg) -> None:
            CONSUMED.labels(subject, await _outcome(client, message, handle)).inc()

        limits = {"pending_msgs_limit": _WAITING_MESSAGES, "pending_bytes_limit": _WAITING_BYTES}
        await client.hear(subject, take, queue=queue, **limits)


async def _outcome(client: Connection, message: Msg, handle: Answer) -> str:
    try:
        await client.publish(message.reply, await handle(message.data))
    except KeyferryError as error:
        log.warning("a question was not answered: %s", error.message, extra={"destination": message.subject})
        return error.reason
    except Exception as error:  # noqa: BLE001 - a defect in one answer must not stop the others
        log.warning("a question met a defect: %s", place(error), extra={"destination": message.subject})
        return "defect"
    return "done"
