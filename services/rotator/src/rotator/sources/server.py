"""The HTTP server that takes events: one request per connection, every part of it bounded in size and time."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from keyferry.errors import InvalidArgument
from rotator.sources.bodies import TooLarge, whole
from rotator.sources.heard import Heard, told
from rotator.sources.receiver import Answer, Head, Receiver
from rotator.sources.reconnecting import Pauses, Stands, for_ever
from rotator.sources.source import Emit

log = logging.getLogger(__name__)

_LARGEST_BODY = 64 * 1024
_BODY_SECONDS = 5.0
_CONNECTION_SECONDS = 20.0
_MOST_CONNECTIONS = 128
_LOOK_SECONDS = 30.0
_SAFE = {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
_TOO_LARGE, _TOO_SLOW, _NOWHERE, _DEFECT = Answer(413), Answer(408), Answer(404), Answer(500)


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class _Connection(RequestHandler):
    """One connection: ended after some seconds whatever it does, and never told what it sent."""

    server: _Server
    _end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self.server.connections) > _MOST_CONNECTIONS:
            self.server.heard.refuse("limited", f"{_MOST_CONNECTIONS} connections are open already")
            self.force_close()
            return
        self._end = self._loop.call_later(self.server.connection_seconds, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._end:
            self._end.cancel()
        super().connection_lost(exc)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        # aiohttp's own would answer and log parts of what could not be parsed.
        del request, exc, message
        self.server.heard.refuse("malformed", f"a request is no HTTP, answered with {status}")
        return _response(Answer(status))


class _Server(web.Server):
    def __init__(self, handler: Handler, heard: Heard, connection_seconds: float) -> None:
        super().__init__(handler)
        self.heard, self.connection_seconds = heard, connection_seconds

    def __call__(self) -> RequestHandler:
        connection = _Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # None is how to have none
            lingering_time=0,
            auto_decompress=False,
            keepalive_timeout=self.connection_seconds,
        )
        connection.server = self
        return connection


class WebhookServer:
    """Gives each receiver what is sent to its path.

    Args:
        listen: ``host:port``; an empty host means all interfaces.
        receivers: One for each path.
        certificate: PEM file; empty serves plain HTTP.
        private_key: PEM file.
        pauses: Between tries to listen.
        connection_seconds: How long a connection may take in all.
        body_seconds: How long a body may take.
    """

    name = "webhooks"

    def __init__(
        self,
        listen: str,
        receivers: Sequence[Receiver],
        *,
        certificate: str = "",
        private_key: str = "",
        pauses: Pauses = Pauses(),  # noqa: B008 - frozen
        connection_seconds: float = _CONNECTION_SECONDS,
        body_seconds: float = _BODY_SECONDS,
    ) -> None:
        self._listen = listen
        self._receivers: Mapping[str, Receiver] = {receiver.path: receiver for receiver in receivers}
        self._files = (certificate, private_key or certificate)
        self._pauses, self._connection_seconds, self._body_seconds = pauses, connection_seconds, body_seconds
        self._heard = Heard(self.name)
        self.port = 0

    async def run(self, emit: Emit) -> NoReturn:
        """See `Source`."""

        async def hear(stands: Stands) -> None:
            await self._serve(emit, stands)

        await for_ever(self._heard, hear, self._pauses)

    async def _serve(self, emit: Emit, stands: Stands) -> None:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            try:
                return _response(await self._answer(request, emit))
            except (ConnectionError, asyncio.CancelledError):
                raise
            except Exception as error:  # noqa: BLE001 - one request's defect; aiohttp would log its text
                self._heard.refuse("defect", f"a request met a defect: {told(error)}")
                return _response(_DEFECT)

        server = _Server(handle, self._heard, self._connection_seconds)
        host, _, port = self._listen.rpartition(":")
        context = self._context() if self._files[0] else None
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(server, host.strip("[]") or None, int(port), ssl=context, backlog=128)
        try:
            self.port = listening.sockets[0].getsockname()[1]
            stands()
            await self._watch(context)
        finally:
            listening.close()
            await server.shutdown(1.0)

    async def _answer(self, request: web.BaseRequest, emit: Emit) -> Answer:
        receiver = self._receivers.get(request.path)
        if receiver is None:
            self._heard.count("nowhere")
            return _NOWHERE
        head = Head(request.method, _first(request.headers.items()), _first(request.query.items()))
        if (request.content_length or 0) > _LARGEST_BODY:
            self._heard.refuse("too_large", "a request is larger than 64 KiB")
            return _TOO_LARGE
        if refusal := await receiver.refusal(head):
            return refusal
        try:
            async with asyncio.timeout(self._body_seconds):
                body = await whole(request.content, _LARGEST_BODY)
        except TimeoutError:
            self._heard.refuse("too_slow", "a request's body did not arrive in time")
            return _TOO_SLOW
        except TooLarge:
            self._heard.refuse("too_large", "a request is larger than 64 KiB")
            return _TOO_LARGE
        return await receiver.receive(head, body, emit)

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(*self._files)
        except (OSError, ValueError):
            raise InvalidArgument(f"{self._files[0]} and {self._files[1]} are no certificate and key") from None
        return context

    async def _watch(self, context: ssl.SSLContext | None) -> NoReturn:
        """Load a certificate again when it is renewed: new connections get it."""
        stamp = self._stamp()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if context and (now := self._stamp()) != stamp:
                try:
                    context.load_cert_chain(*self._files)
                    stamp = now
                except (OSError, ValueError):
                    log.warning("the renewed certificate of the webhooks cannot be loaded; the old one stays")

    def _stamp(self) -> list[int]:
        return [Path(file).stat().st_mtime_ns for file in self._files if file and Path(file).exists()]


def _response(answer: Answer) -> web.StreamResponse:
    response = web.Response(status=answer.status, body=answer.body, headers={**_SAFE, **answer.headers})
    response.force_close()
    return response


def _first(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        found.setdefault(name.lower(), value)
    return found
