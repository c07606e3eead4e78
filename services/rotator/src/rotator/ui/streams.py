"""Tells pages what changes, by server-sent events: once a second at most, and only while they may still see it."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import Any

from aiohttp import web

from keyferry.errors import KeyferryError
from rotator.listening import Connection
from rotator.ui.changes import HEARTBEAT, Sent, event
from rotator.ui.connection import SAFE, answer
from rotator.ui.desk import Desk
from rotator.ui.door import Door
from rotator.ui.query import Query

_STEP_SECONDS = 1.0
_HEARTBEAT_SECONDS = 15.0
_LONGEST_SECONDS = 3600.0
_WRITE_SECONDS = 5.0
_OF_ONE_VIEWER = 8


class Streams:
    """The streams that are open.

    Args:
        door: Says who a viewer is, again and again.
        desk: Says what they see.
        most: How many may be open at once.
        step_seconds: Between two looks for news.
    """

    def __init__(self, door: Door, desk: Desk, *, most: int, step_seconds: float = _STEP_SECONDS) -> None:
        self._door, self._desk, self._most, self._step_seconds = door, desk, most, step_seconds
        self._open: Counter[str] = Counter()

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request for events.

        Raises:
            KeyferryError: nothing has been answered yet, and this is why it cannot be.
        """
        viewer = await self._door.viewer(request)
        if viewer is None:
            return answer(401, "sign in", WWW_Authenticate="Bearer")
        query = Query.parsed(request.query)
        if self._open.total() >= self._most or self._open[viewer.key] >= _OF_ONE_VIEWER:
            return answer(503, "too many pages are open: close one", Retry_After="10")
        self._open[viewer.key] += 1
        try:
            return await self._told(request, query)
        finally:
            self._open[viewer.key] -= 1
            self._open += Counter()  # forgets who has none

    async def _told(self, request: web.BaseRequest, query: Query) -> web.StreamResponse:
        response = web.StreamResponse(headers={**SAFE, "Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        response.force_close()
        assert isinstance(request.protocol, Connection)  # noqa: S101 - no other are made
        request.protocol.keep()
        await response.prepare(request)
        teller, began, wrote = _Teller(self._door, self._desk, request, query), time.monotonic(), 0.0
        while not teller.has_ended and (now := time.monotonic()) - began < _LONGEST_SECONDS:
            if request.transport is None or request.transport.is_closing():
                break
            message = await teller.message()
            if message or now - wrote > _HEARTBEAT_SECONDS:
                if not await told_in_time(request, response, message or HEARTBEAT):
                    break
                wrote = now
            await asyncio.sleep(self._step_seconds)
        return response


class _Teller:
    """What one page is told."""

    def __init__(self, door: Door, desk: Desk, request: web.BaseRequest, query: Query) -> None:
        self._door, self._desk, self._request, self._query = door, desk, request, query
        self._sent = Sent()
        self._trouble = ""
        self.has_ended = False

    async def message(self) -> bytes:
        """What to write next, if anything."""
        trouble, self._trouble = self._trouble, ""
        try:
            viewer = await self._door.viewer(self._request)
            if viewer is None:
                self.has_ended = True
                return event("ended", {})
            news = self._sent.news(await self._desk.view(viewer, self._query))
        except KeyferryError as error:  # who it cannot be told of sees nothing new
            self._trouble = error.message
            return event("trouble", {"message": error.message}) if error.message != trouble else b""
        return event("news", {"now": int(time.time() * 1000)} | news) if news or trouble else b""


async def told_in_time(
    request: web.BaseRequest, response: web.StreamResponse, data: bytes, *, seconds: float = _WRITE_SECONDS
) -> bool:
    """Whether it went out; who is too slow to take it is dropped, and may come back."""
    try:
        async with asyncio.timeout(seconds):
            await response.write(data)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        return False
    return True


def written(about: dict[str, Any]) -> bytes:
    """As JSON."""
    return json.dumps(about).encode()
