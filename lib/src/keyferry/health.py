"""The small HTTP server of every service: how it is, and what it counts."""

from __future__ import annotations

import asyncio
import http.server
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, disable_created_metrics, exposition
from prometheus_client.openmetrics import exposition as openmetrics

log = logging.getLogger(__name__)

_LOOP_SECONDS = 5.0

disable_created_metrics()  # type: ignore[no-untyped-call] # twice the series, and no dashboard asks for them


@asynccontextmanager
async def health(address: str, ready: Callable[[], list[str]]) -> AsyncIterator[int]:
    """Serve /healthz, /readyz and /metrics for as long as the block lasts.

    ``/healthz`` proves that the event loop turns. ``/readyz`` names what is missing. It runs in a thread of its own, so
    that a stuck loop is told instead of timing out.

    Args:
        address: ``host:port``; an empty host means all interfaces, port 0 a free one.
        ready: What is not ready, in words; empty when all is.

    Yields:
        The port.
    """
    loop = asyncio.get_running_loop()
    host, _, port = address.rpartition(":")
    handler = type("Handler", (_Handler,), {"loop": loop, "ready": staticmethod(ready)})
    server = http.server.ThreadingHTTPServer((host, int(port)), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    log.info("serving health and metrics", extra={"port": server.server_port})
    try:
        yield server.server_port
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    loop: asyncio.AbstractEventLoop
    ready: Callable[[], list[str]]

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self._metrics()
        elif self.path == "/healthz":
            turns = self._loop_turns()
            self._answer(200 if turns else 503, "ok" if turns else "the event loop does not turn")
        elif self.path == "/readyz":
            missing = self.ready()
            self._answer(503 if missing else 200, "; ".join(missing) or "ok")
        else:
            self._answer(404, "try /healthz, /readyz or /metrics")

    def _metrics(self) -> None:
        # Exemplars, the way from a histogram to a trace, exist only in the OpenMetrics format.
        if "application/openmetrics-text" in self.headers.get("Accept", ""):
            text = openmetrics.generate_latest(REGISTRY).decode()  # type: ignore[no-untyped-call] # untyped upstream
            self._answer(200, text, openmetrics.CONTENT_TYPE_LATEST)
        else:
            self._answer(200, exposition.generate_latest(REGISTRY).decode(), CONTENT_TYPE_LATEST)

    def _loop_turns(self) -> bool:
        turned = threading.Event()
        self.loop.call_soon_threadsafe(turned.set)
        return turned.wait(_LOOP_SECONDS)

    def _answer(self, status: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Probes and scrapes are not worth a line."""
