import asyncio
import socket
import time

import aiohttp
import pytest
from prometheus_client import Counter

from keyferry.health import health
from keyferry.telemetry import observe

TOTAL = Counter("test_health_total", "Something to be seen.")


async def get(port: int, path: str, *, host: str = "127.0.0.1", accept: str = "*/*") -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}{path}", headers={"Accept": accept}) as response,
    ):
        return response.status, await response.text(), response.headers["Content-Type"]


async def test_a_loop_that_turns_is_healthy() -> None:
    """Whatever is not ready: a restart would not help."""
    async with health("127.0.0.1:0", lambda: ["NATS is not connected"]) as port:
        assert (await get(port, "/healthz"))[:2] == (200, "ok")


async def test_what_is_missing_is_named() -> None:
    """An operator reads the reason in the probe's event; when all is there it is ready."""
    missing = ["NATS is not connected", "no keys"]
    async with health("127.0.0.1:0", lambda: missing) as port:
        assert (await get(port, "/readyz"))[:2] == (503, "NATS is not connected; no keys")
        missing.clear()
        assert (await get(port, "/readyz"))[:2] == (200, "ok")


async def test_a_loop_that_is_stuck_is_told() -> None:
    """A probe gets its 503 while the loop turns not at all."""
    async with health("127.0.0.1:0", list, stuck_after=0.2) as port:
        answer = asyncio.get_running_loop().run_in_executor(None, raw_get, port, b"/healthz")
        time.sleep(1.0)  # noqa: ASYNC251 - the loop is to be blocked
        assert (await answer).startswith(b"HTTP/1.0 503")
        assert (await get(port, "/healthz"))[0] == 200


def raw_get(port: int, path: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET " + path + b" HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(4096), b""))


async def test_metrics_for_every_prometheus() -> None:
    """The classic text format, with our own metrics and the process's."""
    TOTAL.inc()
    async with health("127.0.0.1:0", list) as port:
        status, text, kind = await get(port, "/metrics?name=x")

    assert (status, kind.partition(";")[0]) == (200, "text/plain")
    assert "test_health_total " in text
    assert "process_resident_memory_bytes " in text


async def test_metrics_with_exemplars() -> None:
    """OpenMetrics, where a scraper asks for it: only there do exemplars exist."""
    observe("test-health", 0.1)
    async with health("127.0.0.1:0", list) as port:
        status, text, kind = await get(port, "/metrics", accept="application/openmetrics-text;version=1.0.0")

    assert (status, kind.partition(";")[0]) == (200, "application/openmetrics-text")
    assert text.endswith("# EOF\n")


async def test_other_paths_are_not_found() -> None:
    """With the paths that there are."""
    async with health("127.0.0.1:0", list) as port:
        assert (await get(port, "/"))[:2] == (404, "try /healthz, /readyz or /metrics")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_all_interfaces_are_of_both_families(host: str) -> None:
    """Kubelet probes a pod by its IPv6 address where the cluster has no other."""
    async with health(":0", list) as port:
        assert (await get(port, "/healthz", host=host))[0] == 200


async def test_one_interface_is_taken_at_its_word() -> None:
    """An address in brackets is IPv6's, and nothing else is listened on."""
    async with health("[::1]:0", list) as port:
        assert (await get(port, "/healthz", host="[::1]"))[0] == 200
        with pytest.raises(aiohttp.ClientConnectionError):
            await get(port, "/healthz", host="127.0.0.1")


async def test_a_port_in_use_is_told() -> None:
    """And the port is free again when the block ends."""
    async with health("127.0.0.1:0", list) as port:
        with pytest.raises(OSError, match="Address already in use"):
            async with health(f"127.0.0.1:{port}", list):
                pass
    async with health(f"127.0.0.1:{port}", list) as again:
        assert again == port


async def test_a_client_that_leaves_disturbs_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    """Garbage and half requests are survived, and print no traceback."""
    async with health("127.0.0.1:0", list) as port:
        for sent in (b"", b"GET", b"\x16\x03\x01 tls", b"GET /metrics HTTP/1.1\r\n\r\n", b"PUT / HTTP/1.1\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.sendall(sent)
        assert (await get(port, "/healthz"))[0] == 200

    assert "Traceback" not in capfd.readouterr().err
