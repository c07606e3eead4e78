"""The HTTP server that takes events: one request per connection, every part of it bounded in size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from aiohttp import web

from keyferry.errors import InvalidArgument
from rotator.certificate import Certificate, CertificateError
from rotator.listening import Listening
from rotator.sources.bodies import TooLarge, whole
from rotator.sources.heard import Heard, told
from rotator.sources.receiver import Answer, Head, Receiver
from rotator.sources.reconnecting import Pauses, Stands, for_ever
from rotator.sources.source import Emit

_LARGEST_BODY = 64 * 1024
_BODY_SECONDS = 5.0
_CONNECTION_SECONDS = 20.0
_MOST_CONNECTIONS = 128
_LOOK_SECONDS = 30.0
_SAFE = {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
_TOO_LARGE, _TOO_SLOW, _NOWHERE, _DEFECT = Answer(413), Answer(408), Answer(404), Answer(500)


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

        try:
            certificate = Certificate(*self._files, "the webhooks")
        except CertificateError as error:
            raise InvalidArgument(str(error)) from None
        server = Listening(
            handle,
            seconds=self._connection_seconds,
            most=_MOST_CONNECTIONS,
            malformed=self._malformed,
            crowded=lambda: self._heard.refuse("limited", f"{_MOST_CONNECTIONS} connections are open already"),
        )
        host, _, port = self._listen.rpartition(":")
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(
            server, host.strip("[]") or None, int(port), ssl=certificate.context, backlog=128
        )
        try:
            self.port = listening.sockets[0].getsockname()[1]
            stands()
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                certificate.renew()
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

    def _malformed(self, status: int) -> web.StreamResponse:
        self._heard.refuse("malformed", f"a request is no HTTP, answered with {status}")
        return _response(Answer(status))


def _response(answer: Answer) -> web.StreamResponse:
    response = web.Response(status=answer.status, body=answer.body, headers={**_SAFE, **answer.headers})
    response.force_close()
    return response


def _first(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        found.setdefault(name.lower(), value)
    return found
