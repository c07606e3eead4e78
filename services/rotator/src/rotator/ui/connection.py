"""Connections of browsers: few, short unless they are told what changes, and never told what they sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 256
_SECONDS = 20.0

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
SAFE = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
    "Server": "keyferry",  # aiohttp's own would tell versions
}
"""Headers of every answer."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def answer(
    status: int, body: bytes | str = b"", kind: str = "text/plain; charset=utf-8", **headers: str
) -> web.Response:
    """An answer after which the connection ends."""
    data = body.encode() if isinstance(body, str) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = web.Response(status=status, body=data, headers={**SAFE, "Content-Type": kind, **named})
    response.force_close()
    return response


class Connection(RequestHandler):
    """Ended after some seconds, unless it has been kept."""

    server: Listening
    _end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        super().connection_made(transport)
        if len(self.server.connections) > MOST_CONNECTIONS:
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
        return answer(status)


class Listening(web.Server):
    """Makes such connections.

    Args:
        handler: Answers requests.
        seconds: How long a connection may last that is not kept.
    """

    def __init__(self, handler: Handler, *, seconds: float = _SECONDS) -> None:
        super().__init__(handler)
        self.seconds = seconds

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
