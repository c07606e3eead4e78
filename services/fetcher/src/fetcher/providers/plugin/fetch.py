"""Fetches a class's objects from a plugin: find its socket, ask, ask again if nobody was there, read the answer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from fetcher.provider import ProviderRequest, Scope, Secret
from fetcher.providers.plugin.answers import secrets
from fetcher.providers.plugin.connection import Connection
from fetcher.providers.plugin.faults import failed
from fetcher.providers.plugin.question import mount_request
from fetcher.providers.plugin.settings import PluginSettings
from fetcher.providers.plugin.sockets import find
from keyferry.proto.provider.v1alpha1 import service_pb2 as pb

PAUSES = (1.0, 1.1)
"""Seconds between the tries of a call that found nobody (upstream's retry policy: three tries, 1 s, times 1.1)."""


class Client:
    """Speaks to all plugins, over one connection each.

    Args:
        settings: The operator's.
        pauses: Seconds between tries; one more try than there are pauses.
    """

    def __init__(self, settings: PluginSettings, *, pauses: Sequence[float] = PAUSES) -> None:
        self._settings = settings
        self._pauses = pauses
        self._connections: dict[str, Connection] = {}

    async def mount(self, name: str, request: ProviderRequest) -> pb.MountResponse:
        """What the plugin of this name answers.

        Raises:
            InvalidSecretProviderClass: no plugin can have this name.
            ProviderUnavailable: it has no socket.
            ProviderError: the call failed; the code is the plugin's.
        """
        question = mount_request(request)
        for pause in (*self._pauses, math.inf):
            connection = await self._connected(name)
            try:
                return pb.MountResponse.FromString(await connection.mount(question, seconds_left=request.seconds_left))
            except grpc.aio.AioRpcError as error:
                status, details = error.code(), error.details() or ""
            except DecodeError:
                status, details = grpc.StatusCode.INTERNAL, "its answer is no MountResponse of protocol v1alpha1"
            # Decided here and not above: gRPC's error quotes the plugin, and must not come along with ours.
            if status is not grpc.StatusCode.UNAVAILABLE or pause >= request.seconds_left():
                break
            await asyncio.sleep(pause)
        raise failed(name, status, details, request)

    async def close(self) -> None:
        """Let go of all connections."""
        while self._connections:
            await self._connections.popitem()[1].retire()

    async def _connected(self, name: str) -> Connection:
        """The connection to the socket that is there now; upstream keeps the first one that it has found."""
        socket = find(name, self._settings.folders)
        known = self._connections.get(name)
        if known is not None and known.socket == socket:
            return known
        opened = Connection(name, socket, largest_answer=self._settings.largest_answer)
        self._connections[name] = opened
        if known is not None:
            await known.retire()
        return self._connections.get(name, opened)  # not ours, if it was replaced once more meanwhile


@dataclass(frozen=True, slots=True)
class Plugin:
    """The provider of one name; as cheap as the name."""

    name: str
    client: Client = field(repr=False)

    def scope(self, _parameters: Mapping[str, str]) -> Scope:
        """See `fetcher.provider.Scoped`: a plugin is told which pod asks."""
        return Scope(by_pod=True)

    async def fetch(self, request: ProviderRequest) -> Sequence[Secret]:
        """See `fetcher.provider.Provider`."""
        return secrets(self.name, await self.client.mount(self.name, request), request)

    async def close(self) -> None:
        """See `fetcher.provider.Provider`; the connections are the client's."""
