"""The small HTTP server of every service: how it is, and what it counts."""

from __future__ import annotations

import asyncio
import http.server
import logging
import socket
import socketserver
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Gauge, disable_created_metrics, exposition
from prometheus_client.openmetrics import exposition as openmetrics

from keyferry.errors import place

log = logging.getLogger(__name__)

_CLIENT_SECONDS = 10.0  # whoever connects and says nothing does not keep a thread for ever

READY = Gauge("keyferry_ready", "1 while /readyz would say ok.")

disable_created_metrics()  # type: ignore[no-untyped-call] # twice the series, and no dashboard asks for them


class Readiness:
    """What a service still waits for, in words. It starts as "it is starting" and is asked from another thread."""

    def __init__(self) -> None:
        self._missing: Callable[[], list[str]] = lambda: ["it is starting"]

    def wait_for(self, missing: Callable[[], list[str]]) -> None:
        """From now on, ready when this names nothing."""
        self._missing = missing

    def failed(self, why: str) -> None:
        """Not ready, and why."""
        self._missing = lambda: [why]

    def missing(self) -> list[str]:
        """What is not ready; empty when all is."""
        return self._missing()


@asynccontextmanager
async def health(address: str, ready: Callable[[], list[str]], *, stuck_after: float = 5.0) -> AsyncIterator[int]:
    """Serve /healthz, /readyz and /metrics for as long as the block lasts.

    ``/healthz`` proves that the event loop turns. ``/readyz`` names what is missing. It runs in a thread of its own, so
    that a stuck loop is told instead of timing out.

    Args:
        address: ``host:port``; an empty host means all interfaces, port 0 a free one.
        ready: What is not ready, in words; empty when all is. Called in another thread.
        stuck_after: Seconds without a turn of the event loop until it is told to be stuck.

    Yields:
        The port.
    """
    loop = asyncio.get_running_loop()
    host, _, port = address.rpartition(":")
    about = {"loop": loop, "ready": staticmethod(ready), "stuck_after": stuck_after}
    server = _Server(host.strip("[]"), int(port), type("Handler", (_Handler,), about))
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    log.info("serving health and metrics", extra={"port": server.port})
    try:
        yield server.port
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """As http.server's own, which would ask DNS for this host's name before it serves."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host: str, port: int, handler: type[_Handler]) -> None:
        if not host and socket.has_dualstack_ipv6():
            host = "::"  # which takes IPv4 as well
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), handler, bind_and_activate=False)
        if host == "::":
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            self.server_bind()
            self.server_activate()
        except OSError:
            self.server_close()
            raise

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the base class's
        # Its own would print the traceback; mostly it is a prober that did not wait for the answer.
        log.info("a health or metrics request failed: %s", place(sys.exception() or Exception()))


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = _CLIENT_SECONDS
    loop: asyncio.AbstractEventLoop
    ready: Callable[[], list[str]]
    stuck_after: float

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._metrics()
        elif path == "/healthz":
            turns = self._loop_turns()
            self._answer(200 if turns else 503, "ok" if turns else "the event loop does not turn")
        elif path == "/readyz":
            missing = self.ready()
            self._answer(503 if missing else 200, "; ".join(missing) or "ok")
        else:
            self._answer(404, "try /healthz, /readyz or /metrics")

    def _metrics(self) -> None:
        READY.set(not self.ready())
        # Exemplars, the way from a histogram to a trace, exist only in the OpenMetrics format.
        if "application/openmetrics-text" in self.headers.get("Accept", ""):
            text = openmetrics.generate_latest(REGISTRY).decode()  # type: ignore[no-untyped-call] # untyped upstream
            self._answer(200, text, openmetrics.CONTENT_TYPE_LATEST)
        else:
            self._answer(200, exposition.generate_latest(REGISTRY).decode(), CONTENT_TYPE_LATEST)

    def _loop_turns(self) -> bool:
        turned = threading.Event()
        self.loop.call_soon_threadsafe(turned.set)
        return turned.wait(self.stuck_after)

    def _answer(self, status: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Probes and scrapes are not worth a line."""
