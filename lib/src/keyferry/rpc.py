"""A gRPC server whose methods are coroutines, and the place where our errors become gRPC statuses.

grpcio's synchronous server takes a third less CPU for a fresh connection than its asyncio one, and kubelet opens a
fresh connection for every call (docs/adr/0002). So a few threads accept calls, answer constant methods on the spot, and
hand the rest to the event loop; none of them waits for it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import logging
import os
import stat
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from prometheus_client import Counter, Histogram

from keyferry import telemetry
from keyferry.errors import InternalError, KeyferryError, place

log = logging.getLogger(__name__)

_FOREVER = 1e9  # seconds
_THREADS = 8  # they take calls and send answers; none waits for a method
_BUCKETS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)

CALLS = Counter("keyferry_rpc_total", "gRPC calls answered.", ["method", "code"])
SECONDS = Histogram("keyferry_rpc_seconds", "Time to answer a gRPC call.", ["method"], buckets=_BUCKETS)

# A provider plugin's own code is foreign text, and may even say OK.
_STATUSES = {status.name: status for status in grpc.StatusCode if status is not grpc.StatusCode.OK}

Call = concurrent.futures.Future[Message]
Method = Callable[[Any, float], Coroutine[Any, Any, Message]]
Send = Callable[[Message | None], None]
Behavior = Callable[[Any, grpc.ServicerContext, Send], None]


@asynccontextmanager
async def serve(endpoint: str, services: dict[ServiceDescriptor, object], *, grace: float = 5.0) -> AsyncIterator[None]:
    """Serve on a unix socket for as long as the block lasts.

    Args:
        endpoint: ``unix:///path``; takes the place of a socket that is there, and is for root alone.
        services: A servicer for each service. A method of it is a coroutine ``(request, deadline) -> response``, where
            the deadline is in Unix seconds, or ``bytes``: a constant answer. What it lacks is UNIMPLEMENTED.
        grace: Seconds that calls in flight may take to end, after which they are cancelled.
    """
    path = Path(endpoint.removeprefix("unix://"))
    pool = concurrent.futures.ThreadPoolExecutor(_THREADS, thread_name_prefix="rpc")
    server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
    loop = asyncio.get_running_loop()
    calls: set[Call] = set()

    def bridge(full_name: str, method: Method) -> Behavior:
        return _bridge(full_name, method, loop, pool, calls)

    for descriptor, servicer in services.items():
        handlers = {m.name: _handler(descriptor, m.name, servicer, bridge) for m in descriptor.methods}
        found = {name: handler for name, handler in handlers.items() if handler is not None}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(descriptor.full_name, found),))
    ours = _listen(server, path)
    try:
        yield
    finally:
        await asyncio.to_thread(server.stop(grace).wait)
        for call in tuple(calls):
            call.cancel()  # nobody is told any more
        pool.shutdown(wait=False, cancel_futures=True)
        _take_away(path, ours)


def _listen(server: grpc.Server, path: Path) -> int | None:
    """Listen under a name of our own, then move that into place.

    gRPC removes the name it was given when it stops, even if another process listens there by then: a driver that ends
    late would take its successor's socket away.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
        raise FileExistsError(errno.EEXIST, "is no socket; the endpoint must not name a file of somebody's", str(path))
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    mask = os.umask(0o077)
    try:
        server.add_insecure_port(f"unix://{fresh}")
    finally:
        os.umask(mask)
    server.start()
    fresh.replace(path)
    return _inode(path)


def _take_away(path: Path, ours: int | None) -> None:
    if _inode(path) == ours:
        path.unlink(missing_ok=True)


def _inode(path: Path) -> int | None:
    return path.stat().st_ino if path.exists() else None


def _handler(
    descriptor: ServiceDescriptor, name: str, servicer: object, bridge: Callable[[str, Method], Behavior]
) -> grpc.RpcMethodHandler | None:
    method = getattr(servicer, name, None)
    if method is None:
        return None
    if isinstance(method, bytes):
        return _constant(method)
    request_class = GetMessageClass(descriptor.methods_by_name[name].input_type)
    # On the wire a stream of one message is a unary answer; only for streams can grpcio be answered later.
    return grpc.unary_stream_rpc_method_handler(
        bridge(f"{descriptor.full_name}/{name}", method),
        request_deserializer=request_class.FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )


def _constant(answer: bytes) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(lambda _request, _context: answer)


def _bridge(
    full_name: str,
    method: Method,
    loop: asyncio.AbstractEventLoop,
    pool: concurrent.futures.ThreadPoolExecutor,
    calls: set[Call],
) -> Behavior:
    def call(request: Any, context: grpc.ServicerContext, send: Send) -> None:
        left = context.time_remaining()  # of a call without deadline: three hundred thousand million years
        deadline = time.time() + left if left is not None and left < _FOREVER else float("inf")
        headers = dict(context.invocation_metadata()) if context.invocation_metadata() else {}
        future = asyncio.run_coroutine_threadsafe(_answer(full_name, method, request, deadline, headers), loop)
        calls.add(future)
        future.add_done_callback(calls.discard)
        # Not in the event loop: sending waits for the transport.
        future.add_done_callback(lambda done: pool.submit(_send, done, context, send))

    call.experimental_non_blocking = True  # type: ignore[attr-defined] # grpcio's mark: the answer comes by `send`
    return call


def _send(done: Call, context: grpc.ServicerContext, send: Send) -> None:
    try:
        send(done.result())
    except KeyferryError as error:
        context.set_code(_STATUSES.get(error.code, grpc.StatusCode.UNKNOWN))
        context.set_details(error.message)
    except concurrent.futures.CancelledError:
        context.set_code(grpc.StatusCode.UNAVAILABLE)
        context.set_details("the driver is shutting down")
    send(None)


async def _answer(full_name: str, method: Method, request: Any, deadline: float, headers: dict[str, Any]) -> Message:
    start = time.perf_counter()
    service, _, name = full_name.rpartition("/")
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
    code = "CANCELLED"
    with telemetry.span(full_name, telemetry.Kind.SERVER, attributes, parent=telemetry.extract(headers)):
        try:
            response = await method(request, deadline)
        except KeyferryError as error:
            code = error.code
            raise
        except Exception as error:  # noqa: BLE001 - translated: this is the edge
            code = "INTERNAL"
            log.error("%s met a defect: %s", name, place(error))  # noqa: TRY400 - its text may quote a secret
            raise InternalError(f"the driver met a defect of its own ({place(error)}): see its log") from None
        else:
            code = "OK"
            return response
        finally:
            CALLS.labels(name, code).inc()
            SECONDS.labels(name).observe(time.perf_counter() - start, telemetry.exemplar())
