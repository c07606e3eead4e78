"""Makes kubelet know the driver: serves plugin registration v1 on a socket in kubelet's plugins_registry.

kubelet watches that directory and reads all of it when it starts, so a socket that is there and answers is all it takes
to survive kubelet's restarts. A socket file that vanishes (somebody cleans the directory, a previous driver exits late)
takes the registration with it, so it is looked for every few seconds and made again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import stat
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from keyferry.proto.pluginregistration.v1 import registration_pb2

log = logging.getLogger(__name__)

SERVICE = "pluginregistration.Registration"
_CSI_VERSIONS = ("1.0.0",)  # what node-driver-registrar says; kubelet looks at the major version
_LOOK_SECONDS = 5.0

OnStatus = Callable[[str | None], None]


@asynccontextmanager
async def registered(
    socket: Path, *, driver: str, endpoint: str, on_status: OnStatus, look_seconds: float = _LOOK_SECONDS
) -> AsyncIterator[None]:
    """Keep the driver registered for as long as the block lasts.

    Args:
        socket: Where to listen, such as ``/var/lib/kubelet/plugins_registry/<driver>-reg.sock``.
        driver: The CSIDriver's name.
        endpoint: Path of the CSI socket as kubelet sees it, on the host.
        on_status: Called in the event loop at each of kubelet's answers: None when it has registered the driver, else
            what it complains of.
        look_seconds: How often to look whether the socket file is still there.

    Raises:
        OSError: when nothing can listen there.
    """
    loop = asyncio.get_running_loop()

    def tell(error: str | None) -> None:
        loop.call_soon_threadsafe(on_status, error)

    listener = _Listener(socket, _handler(driver, endpoint, tell))
    listener.start()
    looking = asyncio.create_task(_keep(listener, look_seconds), name="registration socket")
    try:
        yield
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
        listener.close()


async def _keep(listener: _Listener, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        if not listener.socket.exists():
            log.warning("registration socket vanished, making it again", extra={"socket": str(listener.socket)})
            try:
                listener.start()
            except OSError as error:  # such as kubelet's directory being away for a moment: look again later
                log.error("registration socket not made: %s", error)  # noqa: TRY400 - the text says it all


class _Listener:
    """A gRPC server on a socket file, which can be started again when the file is lost."""

    def __init__(self, socket: Path, handler: grpc.GenericRpcHandler) -> None:
        self.socket = socket
        self._handler = handler
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="registration")
        self._server: grpc.Server | None = None

    def start(self) -> None:
        """Listen, in place of whatever listened before.

        Raises:
            OSError: when the socket cannot be made.
        """
        self._stop()
        if self.socket.exists() and stat.S_ISSOCK(self.socket.lstat().st_mode):
            self.socket.unlink()  # a driver that was killed left it
        server = grpc.server(self._threads, handlers=[self._handler])
        try:
            server.add_insecure_port(f"unix://{self.socket}")
        except RuntimeError:
            raise OSError(f"cannot listen on {self.socket}: is its directory mounted and writable?") from None
        self.socket.chmod(0o600)
        server.start()
        self._server = server

    def close(self) -> None:
        """Stop listening and take the socket file away, which tells kubelet that the driver is gone."""
        self._stop()
        self._threads.shutdown()
        self.socket.unlink(missing_ok=True)

    def _stop(self) -> None:
        if self._server is not None:
            self._server.stop(grace=None).wait()
            self._server = None


def _handler(driver: str, endpoint: str, on_status: OnStatus) -> grpc.GenericRpcHandler:
    info = registration_pb2.PluginInfo(
        type="CSIPlugin", name=driver, endpoint=endpoint, supported_versions=_CSI_VERSIONS
    )

    def notify(status: registration_pb2.RegistrationStatus) -> registration_pb2.RegistrationStatusResponse:
        if status.plugin_registered:
            log.info("registered with kubelet", extra={"driver": driver})
        else:
            log.error("kubelet does not register the driver", extra={"driver": driver, "error": status.error})
        on_status(None if status.plugin_registered else status.error or "kubelet gives no reason")
        return registration_pb2.RegistrationStatusResponse()

    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "GetInfo": grpc.unary_unary_rpc_method_handler(
                lambda _request, _context: info,
                request_deserializer=registration_pb2.InfoRequest.FromString,
                response_serializer=registration_pb2.PluginInfo.SerializeToString,
            ),
            "NotifyRegistrationStatus": grpc.unary_unary_rpc_method_handler(
                lambda status, _context: notify(status),
                request_deserializer=registration_pb2.RegistrationStatus.FromString,
                response_serializer=registration_pb2.RegistrationStatusResponse.SerializeToString,
            ),
        },
    )
