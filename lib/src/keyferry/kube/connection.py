"""A connection pool to the API server, with this service's own credentials."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException, load_kube_config
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

from keyferry.errors import KubernetesUnavailable
from keyferry.kube.paths import Json
from keyferry.kube.refusals import refusal
from keyferry.settings import SettingsError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CALL_SECONDS = 10.0
_CONNECT_SECONDS = 5.0
_WATCH_GRACE_SECONDS = 15.0
_NOT_FOUND = 404
_REFUSED = 400
# A peer that vanished without a word (a node that lost power) is noticed within a minute instead of two hours.
_KEEPALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}


class Kube:
    """The API server; see `connect`."""

    def __init__(self, rest: Any, configuration: Configuration, user_agent: str) -> None:
        self._rest = rest
        self._configuration = configuration
        self._user_agent = user_agent

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Json | None:
        """An object or a list.

        Args:
            path: Absolute, such as ``/api/v1/pods``. Whoever puts foreign text into it uses `object_path`.
            query: Query parameters.

        Returns:
            None where there is no such object (404).

        Raises:
            AccessDenied: we may not; the text names the missing permission.
            KubernetesUnavailable: no answer, 429, 5xx, or an answer that is no JSON object.
            Rejected: any other refusal.
        """
        return await self.call("GET", path, query=query)

    async def post(self, path: str, body: Json) -> Json | None:
        """Creates an object; parameters, result and errors as for `get`."""
        return await self.call("POST", path, body=body)

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> Json | None:
        """Any request that is answered by one JSON object; result and errors as for `get`."""
        timeout = aiohttp.ClientTimeout(total=_CALL_SECONDS, sock_connect=_CONNECT_SECONDS)
        with _unreachable(method, path):
            response = await self._send(
                method, path, query=query, timeout=timeout, body=body, content_type=content_type
            )
            data = await response.read()
        if response.status == _NOT_FOUND:
            return None
        if response.status >= _REFUSED:
            raise refusal(method, path, response.status, data, wait=response.headers.get("Retry-After"))
        return _json_object(data, method, path)

    async def watch(self, path: str, query: Mapping[str, str], *, seconds: float) -> AsyncGenerator[Json, None]:
        """Events of a resource as they come; use it in ``aclosing``. The first item, an empty dict, says "open".

        Args:
            path: Of a list.
            query: Such as resourceVersion and allowWatchBookmarks.
            seconds: After which the server ends the stream.

        Raises:
            Rejected: status 410, the history from that resourceVersion on is gone: list again.
            AccessDenied, KubernetesUnavailable: as for `get`.
        """
        query = {**query, "watch": "1", "timeoutSeconds": str(int(seconds))}
        timeout = aiohttp.ClientTimeout(total=seconds + _WATCH_GRACE_SECONDS, sock_connect=_CONNECT_SECONDS)
        with _unreachable("GET", path):
            response = await self._send("GET", path, query=query, timeout=timeout)
        try:
            if response.status >= _REFUSED:
                wait = response.headers.get("Retry-After")
                raise refusal("GET", path, response.status, await response.read(), watch=True, wait=wait)
            yield {}
            while True:
                with _unreachable("GET", path):
                    line = await response.content.readline()
                if not line:
                    return
                yield _json_object(line, "GET", path)
        finally:
            response.close()

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own, which ends a watch between two reads
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> aiohttp.ClientResponse:
        # "*/*" because /openid/v1/jwks answers 406 to a client that takes nothing but application/json.
        headers = {
            "Accept": "application/json, */*",
            "Content-Type": content_type,
            "User-Agent": self._user_agent,
        }
        credentials = (await self._configuration.auth_settings()).get("BearerToken")
        if credentials:
            headers["Authorization"] = credentials["value"] or ""
        url = self._configuration.host + path + (f"?{urlencode(query)}" if query else "")
        answer = await self._rest.request(method, url, headers=headers, body=body, _request_timeout=timeout)
        response: aiohttp.ClientResponse = answer.response
        return response


class _Rest(RESTClientObject):
    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=self.maxsize, ssl=self.ssl_context, socket_factory=_socket)


@asynccontextmanager
async def connect(
    kubeconfig: str | Path | None,
    *,
    context: str | None = None,
    user_agent: str = "keyferry",
    service_account: Path = SERVICE_ACCOUNT,
) -> AsyncIterator[Kube]:
    """The API server of a kubeconfig, or of the cluster that this process runs in.

    Args:
        kubeconfig: Path of a kubeconfig file (its tokens are read once: it is for development and tests); None for the
            pod's own service account.
        context: Which of the kubeconfig's contexts; its current one without.
        user_agent: Who we say we are, in the API server's audit log.
        service_account: Where kubelet puts ``token`` and ``ca.crt``; the token is read anew for each request, since
            kubelet replaces it before it expires.

    Raises:
        SettingsError: neither can be read.
    """
    configuration = Configuration()
    try:
        if kubeconfig is None:
            _of_pod(configuration, service_account)
        else:
            await load_kube_config(  # type: ignore[no-untyped-call] # theirs
                str(kubeconfig), context=context, client_configuration=configuration, persist_config=False
            )
        rest = _Rest(configuration)
    except (ConfigException, OSError) as error:
        where = f"the kubeconfig {kubeconfig}" if kubeconfig else f"the service account in {service_account}"
        raise SettingsError(f"cannot reach Kubernetes with {where}: {error}") from error
    try:
        yield Kube(rest, configuration, user_agent)
    finally:
        await rest.close()


def _of_pod(configuration: Configuration, service_account: Path) -> None:
    token_file = service_account / "token"
    loader: Any = InClusterConfigLoader(  # type: ignore[no-untyped-call] # theirs
        str(token_file), str(service_account / "ca.crt"), try_refresh_token=False
    )
    loader.load_and_set(configuration)

    def read_token(configuration: Configuration) -> None:
        configuration.api_key["BearerToken"] = f"Bearer {token_file.read_text().strip()}"

    configuration.refresh_api_key_hook = read_token  # type: ignore[assignment] # declared None, documented callable


def _socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


@contextmanager
def _unreachable(method: str, path: str) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # TimeoutError is an OSError; ValueError is aiohttp's word for a line longer than its buffer.
        what = getattr(error, "strerror", None) or type(error).__name__
        raise KubernetesUnavailable(f"the Kubernetes API server does not answer {method} {path} ({what})") from error


def _json_object(data: bytes, method: str, path: str) -> Json:
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise KubernetesUnavailable(f"the Kubernetes API server answers {method} {path} with something that is no JSON")
    return told
