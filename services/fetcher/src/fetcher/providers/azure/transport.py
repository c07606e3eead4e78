"""The connections to Azure, which all identities share: clients of the SDK are made for each fetch, on these."""

from __future__ import annotations

import asyncio
import ssl

import aiohttp
from azure.core.pipeline.transport import AioHttpTransport

from fetcher.providers.azure.settings import AzureSettings
from keyferry.settings import SettingsError

_LARGEST = 1024 * 1024  # bytes of an answer; a secret has 25 kB at most, a page of 25 versions some 10 kB
_CONNECT = 5.0  # seconds: a host that has not taken a connection by then is not there


class _Bounded(aiohttp.ClientResponse):
    """An answer that is read only up to a size, and not unpacked: the SDK itself sets no bounds."""

    async def read(self) -> bytes:
        if self._body is None:
            if self.headers.get("Content-Encoding", "identity") != "identity":
                self.close()
                raise aiohttp.ClientPayloadError("the answer is compressed, which nobody asked for")
            pieces, size = [], 0
            async for piece in self.content.iter_any():
                pieces.append(piece)
                size += len(piece)
                if size > _LARGEST:
                    self.close()
                    raise aiohttp.ClientPayloadError("the answer is too large")
            self._body = b"".join(pieces)
        return await super().read()


class Transport:
    """One pool of connections; to be used in one event loop.

    Args:
        settings: The operator's.
        proxied: Whether HTTPS_PROXY and NO_PROXY hold.

    Raises:
        SettingsError: the CA file cannot be used.
    """

    def __init__(self, settings: AzureSettings, *, proxied: bool = True) -> None:
        self._tls = _trusted(settings.ca_file)
        self._settings = settings
        self._proxied = proxied
        self._session: aiohttp.ClientSession | None = None
        self._sdk: AioHttpTransport | None = None

    def sdk(self) -> AioHttpTransport:
        """What the SDK's clients take; closing them leaves it open."""
        if self._sdk is None:
            connector = aiohttp.TCPConnector(ssl=self._tls, limit=0, limit_per_host=max(1, self._settings.calls))
            self._session = aiohttp.ClientSession(
                connector=connector,
                response_class=_Bounded,
                headers={"Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=self._proxied,
                auto_decompress=False,
            )
            timeout = self._settings.timeout
            self._sdk = AioHttpTransport(
                session=self._session,
                session_owner=False,
                connection_timeout=min(timeout, _CONNECT),
                read_timeout=timeout,
            )
        return self._sdk

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            # aiohttp closes TLS transports in the loop's next round, and says so in its documentation.
            await asyncio.sleep(0)


def _trusted(ca_file: str) -> ssl.SSLContext | bool:
    if not ca_file:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        kind = type(error).__name__
    raise SettingsError(f"KEYFERRY_AZURE_CA_FILE names no PEM file that can be used ({kind})")
