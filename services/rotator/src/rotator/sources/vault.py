"""Hears of changes in Vault from its event stream, a WebSocket (Vault Enterprise; OpenBao has none)."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import NoReturn
from urllib.parse import quote

import aiohttp
from yarl import URL

from keyferry.errors import AccessDenied, ProviderUnavailable
from rotator.sources import vault_events
from rotator.sources.document import Malformed
from rotator.sources.heard import Heard
from rotator.sources.pending import Pending
from rotator.sources.reconnecting import Pauses, Stands, for_ever
from rotator.sources.settings import VaultEvents
from rotator.sources.source import Clock, Emit
from rotator.sources.vault_login import VaultToken, keep_alive, token

_LARGEST_MESSAGE = 256 * 1024
_CONNECT_SECONDS = 15.0


class VaultSource:
    """Vault sends each event once, to whoever listens: after every new connection all contents are read once.

    Args:
        settings: Of this source.
        pauses: Between tries to reach Vault.
        now: Unix seconds.
        heartbeat: Seconds between pings; one that is not answered in half of that ends the connection.
    """

    name = "vault"

    def __init__(
        self,
        settings: VaultEvents,
        *,
        pauses: Pauses = Pauses(),  # noqa: B008 - frozen
        now: Clock = time.time,
        heartbeat: float = 20.0,
    ) -> None:
        self._settings, self._pauses, self._heartbeat = settings, pauses, heartbeat
        self._heard = Heard(self.name, now)
        self._pending = Pending(self._heard, "vault", pauses)

    async def run(self, emit: Emit) -> NoReturn:
        """See `Source`."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pending.run(emit))
            await for_ever(self._heard, self._hear, self._pauses)
        raise AssertionError

    async def _hear(self, stands: Stands) -> None:
        context = await asyncio.to_thread(ssl.create_default_context, cafile=self._settings.ca_file or None)
        timeout = aiohttp.ClientTimeout(total=_CONNECT_SECONDS)
        async with (
            aiohttp.TCPConnector(ssl=context) as connector,
            aiohttp.ClientSession(connector=connector, connector_owner=False, timeout=timeout) as session,
        ):
            held = await token(session, self._settings)
            async with (
                aiohttp.ClientSession(
                    connector=connector, connector_owner=False, middlewares=(_authorizing(self._url, held),)
                ) as authorized,
                await self._subscribe(authorized) as socket,
                asyncio.TaskGroup() as tasks,
            ):
                stands()
                self._pending.everything()
                tasks.create_task(self._listen(socket))
                tasks.create_task(keep_alive(session, self._settings, held))

    @property
    def _url(self) -> URL:
        settings = self._settings
        path = f"v1/sys/events/subscribe/{quote(settings.types, safe='*/-')}"
        query = [("json", "true"), *(("namespaces", namespace) for namespace in settings.namespaces)]
        return URL(f"{settings.url.rstrip('/')}/{path}", encoded=True).with_query(query)

    async def _subscribe(self, session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
        namespace = self._settings.namespace
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                return await session.ws_connect(
                    self._url,
                    headers={"X-Vault-Namespace": namespace} if namespace else {},
                    heartbeat=self._heartbeat,
                    max_msg_size=_LARGEST_MESSAGE,
                )
        except aiohttp.WSServerHandshakeError as error:
            raise AccessDenied(
                f"Vault gives no event stream, with status {error.status}; "
                "it needs Vault Enterprise, the active node, and a policy for sys/events/subscribe and the paths"
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ProviderUnavailable(f"Vault cannot be reached: {type(error).__name__}") from None

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> NoReturn:
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                self._heard.refuse("malformed", "a message of the event stream is no text")
                continue
            try:
                change = vault_events.notified(message.data)
            except Malformed as error:
                self._heard.refuse("malformed", f"a message of the event stream is no event: {error}")
                continue
            if change is None:
                self._heard.count("irrelevant")
            else:
                self._pending.add(change)
        raise ProviderUnavailable(f"Vault has ended the event stream with code {socket.close_code}")


def _authorizing(url: URL, held: VaultToken) -> aiohttp.ClientMiddlewareType:
    """Shows the token to this origin alone: a header given with the request would go wherever a redirect leads."""

    async def authorize(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if request.url.origin() == url.origin():
            request.headers["X-Vault-Token"] = held.value
        return await handler(request)

    return authorize
