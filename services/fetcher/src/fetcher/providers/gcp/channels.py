"""gRPC channels to Secret Manager and Parameter Manager: one per endpoint, which all identities share.

A client of Google's SDK belongs to one identity, and a new one costs a TLS handshake. Here the token goes along as
metadata of each call. The messages are the SDK's, but without its wrappers around them, which would be a quarter of a
call's cost, and without its interceptor, which logs tokens and secrets at DEBUG.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import grpc

from fetcher.providers.gcp.methods import METHODS, Method
from fetcher.providers.gcp.resources import PARAMETER, Resource
from fetcher.providers.gcp.settings import GcpSettings

_MAX_CHANNELS = 64
_GRACE = 30.0  # seconds for calls on a channel that is given up
_OPTIONS = (
    ("grpc.primary_user_agent", "keyferry"),
    # After an outage the channel shall be back within seconds; gRPC itself would wait up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A connection that a firewall has forgotten is noticed while calls wait on it.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    channel: grpc.aio.Channel
    slots: asyncio.Semaphore
    calls: Mapping[Method, Any]


class Channels:
    """All channels of the process; to be used in one event loop.

    Args:
        settings: Where to.
        ca: PEM of the CAs of these endpoints; None for the public ones.
    """

    def __init__(self, settings: GcpSettings, ca: bytes | None) -> None:
        self._settings = settings
        self._ca = ca
        self._open: OrderedDict[str, _Endpoint] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    async def call(self, method: Method, resource: Resource, token: str, seconds: float, **more: Any) -> Any:
        """One call.

        Args:
            method: One of `METHODS`.
            resource: What about.
            token: As whom.
            seconds: For it, with the wait for a turn.
            **more: Fields of the request beside the resource's name.

        Raises:
            grpc.aio.AioRpcError: it failed.
        """
        endpoint = self._endpoint(self.url(resource))
        metadata = (
            ("authorization", f"Bearer {token}"),
            ("x-goog-request-params", f"{method.key}={quote(resource.name, safe='')}"),
        )
        request = method.request(**{method.key: resource.name}, **more)
        async with asyncio.timeout(seconds), endpoint.slots:
            return await endpoint.calls[method](request, metadata=metadata, timeout=seconds)

    def url(self, resource: Resource) -> str:
        """Where a resource is served."""
        settings = self._settings
        if resource.kind == PARAMETER:
            url = settings.regional_parameters_endpoint if resource.location else settings.parameters_endpoint
        else:
            url = settings.regional_secrets_endpoint if resource.location else settings.secrets_endpoint
        return url.replace("{location}", resource.location)

    async def close(self) -> None:
        """Close all channels; calls under way are cancelled."""
        for endpoint in self._open.values():
            await endpoint.channel.close()
        self._open.clear()
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _endpoint(self, url: str) -> _Endpoint:
        endpoint = self._open.get(url)
        if endpoint is None:
            endpoint = self._open[url] = self._connect(url)
            if len(self._open) > _MAX_CHANNELS:
                task = asyncio.create_task(self._open.popitem(last=False)[1].channel.close(_GRACE))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
        self._open.move_to_end(url)
        return endpoint

    def _connect(self, url: str) -> _Endpoint:
        parts = urlsplit(url)
        target = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        if parts.scheme == "https":
            channel = grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(self._ca), _OPTIONS)
        else:
            channel = grpc.aio.insecure_channel(target, _OPTIONS)
        calls = {
            method: channel.unary_unary(method.path, method.request.SerializeToString, method.response.FromString)
            for method in METHODS
        }
        return _Endpoint(channel, asyncio.Semaphore(max(1, self._settings.calls)), calls)
