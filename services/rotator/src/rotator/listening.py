"""What the rotator's HTTP servers have in common: few connections, short ones, none of which is told what it sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Connection(RequestHandler):
    """Ended after some seconds whatever it does, unless it has been kept."""

    server: Listening
    _end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        super().connection_made(transport)
        if len(self.server.connections) > self.server.most:
            self.server.crowded()
            self.force_close()
            return
        self._end = self._loop.call_later(self.server.seconds, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        """See asyncio."""
        self.keep()
        super().connection_lost(exc)

    def keep(self) -> None:
        """It may last."""
        if self._end:
            self._end.cancel()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What is answered to what is no HTTP; aiohttp's own would answer and log parts of it, such as a token."""
        del request, exc, message
        return self.server.malformed(status)


class Listening(web.Server):
    """Makes such connections.

    Args:
        handler: Answers requests.
        seconds: How long a connection may last that is not kept.
        most: How many may be open.
        malformed: Answers, with this status, what is no HTTP.
        crowded: Told of each connection that is one too many.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        seconds: float,
        most: int,
        malformed: Callable[[int], web.StreamResponse],
        crowded: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(handler)
        self.seconds, self.most, self.malformed, self.crowded = seconds, most, malformed, crowded

    def __call__(self) -> RequestHandler:
        """A connection."""
        connection = Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # None is how to have none
            lingering_time=0,
            auto_decompress=False,
            keepalive_timeout=self.seconds,
        )
        connection.server = self
        return connection
