"""Google's REST calls around identity: small JSON answers over kept connections, bounded in size and time."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from keyferry.errors import ProviderUnavailable

_LARGEST = 256 * 1024  # bytes of an answer; tokens have a few thousand
_CONNECT = 5.0  # seconds: a host that has not taken a connection by then is not there


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said, whatever the status; the body may hold a token."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def document(self) -> dict[str, Any]:
        """The JSON object that it is; empty if it is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            found = None
        return found if isinstance(found, dict) else {}


class Rest:
    """One session for all identities: a call carries its own token.

    Args:
        tls: For https; None trusts the public CAs.
        timeout: Seconds for one call.
        proxied: Whether HTTPS_PROXY and NO_PROXY hold.
    """

    def __init__(self, tls: ssl.SSLContext | None, *, timeout: float, proxied: bool = True) -> None:
        self._tls: ssl.SSLContext | bool = tls or True
        self._timeout = aiohttp.ClientTimeout(timeout, connect=min(timeout, _CONNECT))
        self._proxied = proxied
        self._session: aiohttp.ClientSession | None = None

    async def call(self, method: str, url: str, **send: Any) -> Answer:
        """One request. Redirects are not followed: the token would go along.

        Args:
            method: GET or POST.
            url: Where to; of the operator's choice.
            **send: `json`, `data` or `headers`, as aiohttp takes them.

        Raises:
            ProviderUnavailable: no answer, none in time, or one that is no JSON of Google's.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout, trust_env=self._proxied, cookie_jar=aiohttp.DummyCookieJar()
            )
        try:
            async with self._session.request(method, url, allow_redirects=False, ssl=self._tls, **send) as response:
                body = await _body(response.content)
                if body is not None:
                    headers = {name.lower(): value for name, value in response.headers.items()}
                    return Answer(response.status, headers, body)
                why = "answers with more than a token"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            why = _why(error)
        # Outside the block: the client's error holds the request, token included, and must not come along.
        raise ProviderUnavailable(f"{urlsplit(url).netloc} {why}")

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            # aiohttp closes TLS transports in the loop's next round, and says so in its documentation.
            await asyncio.sleep(0)


async def _body(content: aiohttp.StreamReader) -> bytes | None:
    pieces, size = [], 0
    async for piece in content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > _LARGEST:
            return None
    return b"".join(pieces)


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "does not answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | ssl.SSLError):
        return "has a certificate that is not trusted, or speaks no TLS: see KEYFERRY_GCP_CA_FILE"
    return f"cannot be reached or broke off ({type(error).__name__})"
