"""One connection to a plugin's socket, over which any number of calls go at the same time."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from fetcher.providers.plugin.sockets import Socket
from keyferry import telemetry
from keyferry.proto.provider.v1alpha1 import service_pb2 as pb

log = logging.getLogger(__name__)

VERSION = "v1alpha1"
"""Of the protocol."""

_SERVICE = pb.DESCRIPTOR.services_by_name["CSIDriverProvider"].full_name
_GREETING_SECONDS = 5.0  # upstream's for its health check
_LONGEST_NAME = 64


class Connection:
    """To one socket; closed by `retire`, or by the last call that still runs then.

    Args:
        name: The provider's.
        socket: Where it listens.
        largest_answer: Bytes.
    """

    def __init__(self, name: str, socket: Socket, *, largest_answer: int) -> None:
        self.socket = socket
        self._name = name
        self._channel = grpc.aio.insecure_channel(
            f"unix:{socket.path}",
            options=[
                ("grpc.default_authority", "localhost"),
                ("grpc.max_receive_message_length", largest_answer),
                ("grpc.max_send_message_length", -1),
                ("grpc.enable_retries", 0),  # ours looks for a new socket, too
                ("grpc.enable_http_proxy", 0),
                # Else a new connection to the same path would share the old one, to a plugin that was replaced.
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ],
        )
        self._version = self._channel.unary_unary(
            f"/{_SERVICE}/Version", request_serializer=pb.VersionRequest.SerializeToString
        )
        self._mount = self._channel.unary_unary(
            f"/{_SERVICE}/Mount", request_serializer=pb.MountRequest.SerializeToString
        )
        self._greeted = False
        self._calls = 0
        self._retired = False

    async def mount(self, question: pb.MountRequest, *, seconds_left: Callable[[], float]) -> bytes:
        """The plugin's answer, still encoded.

        Args:
            question: For the plugin.
            seconds_left: Until the answer is of no use; may be infinite.

        Raises:
            grpc.aio.AioRpcError: as the plugin or the connection has it.
        """
        self._calls += 1
        try:
            if not self._greeted:
                await self._greet(min(_GREETING_SECONDS, seconds_left()))
            timeout = seconds_left()
            answer: bytes = await self._mount(
                question,
                timeout=None if math.isinf(timeout) else timeout,
                metadata=tuple(telemetry.carrier().items()),
            )
            return answer
        finally:
            self._calls -= 1
            if self._retired and not self._calls:
                await self._channel.close()

    async def retire(self) -> None:
        """Close it once nobody uses it any more."""
        self._retired = True
        if not self._calls:
            await self._channel.close()

    async def _greet(self, seconds: float) -> None:
        """Ask who is there, for the log. Upstream, too, takes no answer as a reason not to go on."""
        self._greeted = True
        try:
            answer = await self._version(pb.VersionRequest(version=VERSION), timeout=seconds)
            told = pb.VersionResponse.FromString(answer)
        except grpc.aio.AioRpcError as error:
            self._greeted = error.code() is not grpc.StatusCode.UNAVAILABLE
            log.info("plugin does not tell its version", extra={"provider": self._name, "code": error.code().name})
            return
        except DecodeError:
            log.info("plugin does not tell its version", extra={"provider": self._name, "code": "malformed"})
            return
        log.log(
            logging.INFO if told.version == VERSION else logging.WARNING,
            "plugin connected",
            extra={
                "provider": self._name,
                "protocol": told.version[:_LONGEST_NAME],
                "runtime": told.runtime_name[:_LONGEST_NAME],
                "runtime_version": told.runtime_version[:_LONGEST_NAME],
            },
        )
