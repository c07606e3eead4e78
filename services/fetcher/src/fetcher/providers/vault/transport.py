"""Sends requests to Vault over kept connections, through hvac's adapter, one session per address and TLS settings."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy

import requests
import urllib3
from hvac.adapters import RawAdapter
from requests.adapters import HTTPAdapter

from fetcher.providers.vault.objects import Call
from fetcher.providers.vault.parameters import Server
from fetcher.providers.vault.tls import TlsAdapter, stamp
from keyferry.errors import ContentTooLarge, ProviderUnavailable
from keyferry.resources import MAX_CONTENT_BYTES

log = logging.getLogger(__name__)

LARGEST_ANSWER = 2 * MAX_CONTENT_BYTES  # JSON may double a value's size (escapes, base64); more never fits a volume
_CHUNK = 64 * 1024
_LONGEST_CONNECT = 5.0  # seconds: a host that has not taken a connection by then is not there
_SESSIONS = 64  # each holds a TLS context (2 MB with the public CAs) and a few sockets


@dataclass(frozen=True, slots=True)
class Answer:
    """What Vault said, whatever the status; header names in lower case, the body as it came."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Transport:
    """Blocking calls, meant for worker threads; any number at the same time.

    Args:
        connections: Kept open per address.
        proxy: URL of an HTTP proxy; empty for none.
    """

    def __init__(self, *, connections: int, proxy: str = "") -> None:
        self._connections = connections
        self._proxies = {"http": proxy, "https": proxy} if proxy else {}
        self._sessions: OrderedDict[object, requests.Session] = OrderedDict()
        self._lock = threading.Lock()

    def send(self, server: Server, call: Call, *, token: str | None = None, timeout: float) -> Answer:
        """One request and its answer. Redirects are not followed: the token would go along.

        Args:
            server: Where to.
            call: What.
            token: Vault's token; None to log in.
            timeout: Seconds for all of it.

        Raises:
            InvalidSecretProviderClass: a TLS file cannot be used.
            ProviderUnavailable: no answer, or none in time.
            ContentTooLarge: an answer that no volume could hold.
        """
        ends = time.monotonic() + timeout
        adapter = RawAdapter(
            base_uri=server.address,
            token=token,
            namespace=server.namespace or None,
            session=self._session(server),
            allow_redirects=False,
            timeout=(min(timeout, _LONGEST_CONNECT), timeout),
        )
        try:
            with adapter.request(
                call.method,
                f"/v1/{call.path}",
                headers={"Accept-Encoding": "identity", "Content-Type": "application/json"},
                params=call.query or None,
                data=call.body,
                stream=True,
                raise_exception=False,
            ) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status_code, headers, _read(response, ends))
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            failure = _unreachable(server, error)
        # Raised here and not above: the SDK's exception holds the request, token included, and must not come along.
        raise failure

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for session in self._sessions.values():
                session.close()
            self._sessions.clear()

    def _session(self, server: Server) -> requests.Session:
        key = (server.address, server.tls, stamp(server.tls))
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                session = self._sessions[key] = self._open(server)
                while len(self._sessions) > _SESSIONS:
                    self._sessions.popitem(last=False)[1].close()
            self._sessions.move_to_end(key)
            return session

    def _open(self, server: Server) -> requests.Session:
        session = requests.Session()
        session.trust_env = False  # no netrc, no proxy and no CA that the settings do not name
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # many identities share this session
        session.proxies = dict(self._proxies)
        session.mount("http://", HTTPAdapter(pool_maxsize=self._connections, max_retries=0))
        if server.address.startswith("https:"):
            if server.tls.skip_verify:
                log.warning("a class switches off the check of Vault's certificate", extra={"address": server.address})
            session.mount("https://", TlsAdapter(server.tls, connections=self._connections))
        return session


def _read(response: requests.Response, ends: float) -> bytes:
    """The body, piece by piece as it comes in: a server that drips must not hold a thread past the end."""
    pieces, size = [], 0
    while piece := response.raw.read1(_CHUNK, decode_content=False):
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST_ANSWER:
            raise ContentTooLarge(f"Vault's answer is larger than {LARGEST_ANSWER} bytes, which no volume can hold")
        if time.monotonic() > ends:
            raise requests.ReadTimeout
    return b"".join(pieces)


def _unreachable(server: Server, error: Exception) -> ProviderUnavailable:
    if isinstance(error, requests.Timeout | TimeoutError | urllib3.exceptions.TimeoutError):
        why = "does not answer in time"
    elif isinstance(error, requests.exceptions.SSLError | urllib3.exceptions.SSLError):
        why = "has a certificate that is not trusted, or speaks no TLS: see vaultCACertPath and vaultTLSServerName"
    elif isinstance(error, requests.exceptions.ProxyError):
        why = "cannot be reached through the proxy (VAULT_PROXY_ADDR)"
    else:
        why = f"cannot be reached or broke off ({type(error).__name__})"
    return ProviderUnavailable(f"Vault at {server.address} {why}")
