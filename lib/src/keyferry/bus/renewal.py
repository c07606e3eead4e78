"""Connects anew when the token that we connected with has been replaced, at a moment when nothing is on its way."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from keyferry.bus.client import Connection

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
_PATIENCE_SECONDS = 120.0  # kubelet replaces a token when a fifth of its life is left: two minutes of the shortest one
_MOMENT = 0.05


async def renew(
    client: Connection, token: Callable[[], str], is_quiet: Callable[[], bool], *, every: float = LOOK_SECONDS
) -> NoReturn:
    """Stay connected with a token that is valid; belongs into a task.

    A server ends a connection when the token it was made with expires, whatever is under way on it.

    Args:
        client: The connection.
        token: The token as it is now.
        is_quiet: Whether nobody waits for a reply; after two minutes of asking it is done regardless.
        every: Seconds between two looks at the token.
    """
    since = 0.0  # when it was first seen that there is a newer one
    while True:
        await asyncio.sleep(_MOMENT if since else every)
        with suppress(OSError):  # it is being replaced
            if not client.is_connected or token() == client.token_used:
                since = 0.0
                continue
            since = since or time.monotonic()
            if is_quiet() or time.monotonic() - since > _PATIENCE_SECONDS:
                log.info("the token has been replaced; connecting to NATS with the new one")
                await client.renew()
                since = 0.0
