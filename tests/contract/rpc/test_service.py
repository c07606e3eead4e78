import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from keyferry.testing.nats import nats_server
from keyferry.testing.otlp import otlp_receiver
from keyferry.testing.ports import free_port

PROGRAM = """
import asyncio, sys
from dataclasses import dataclass
from keyferry import service, settings, telemetry
from keyferry.bus import connect
from keyferry.errors import AccessDenied, BusUnavailable
from keyferry.keys import KeyFileError

@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(service.ServiceSettings):
    color: str = settings.setting("APP_COLOR", "the color of the shed")
    pace: float = settings.setting("APP_PACE", "how fast", default=1.0, parse=settings.duration)

async def serve(s, ready):
    async with connect(s.nats_url, name="probe") as bus:
        with telemetry.span("started", telemetry.Kind.INTERNAL):
            pass
        ready.wait_for(list)
        print("started", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            print("cleaned up", flush=True)

async def permanent(s, ready):
    raise AccessDenied("grant the role")

async def defect(s, ready):
    raise ValueError("canary-1")

async def keys(s, ready):
    raise KeyFileError("fetcher.json is readable by everybody")

async def grouped(s, ready):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(defect(s, ready))
        tasks.create_task(permanent(s, ready))

tries = 0
async def flaky(s, ready):
    global tries
    tries += 1
    if tries < 2:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(away(s))
    print("started", flush=True)
    await asyncio.Event().wait()

async def away(s):
    raise BusUnavailable("NATS is away")

async def forgotten(s, ready):
    asyncio.get_running_loop().call_soon(int, "canary-1")
    asyncio.create_task(defect(s, ready))
    await asyncio.sleep(0.1)
    print("started", flush=True)
    await asyncio.Event().wait()

sys.exit(service.run(globals()[sys.argv[1]], Settings, name="probe"))
"""


@dataclass
class Probe:
    """A service that runs as a process."""

    process: asyncio.subprocess.Process
    lines: asyncio.StreamReader

    async def line(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for a line of its log."""
        async with asyncio.timeout(20):
            async for text in self.lines:
                parsed: dict[str, Any] = json.loads(text)
                if holds(parsed):
                    return parsed
        raise AssertionError("the log ended")

    async def printed(self, text: bytes) -> None:
        """Wait for a line of its standard output."""
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            assert await self.process.stdout.readline() == text + b"\n"

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to end; returns its exit status."""
        self.process.send_signal(number)
        async with asyncio.timeout(20):
            return await self.process.wait()


@asynccontextmanager
async def running(name: str = "serve", **environ: str) -> AsyncIterator[Probe]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        name,
        env={"PATH": os.environ["PATH"], "APP_COLOR": "red", "KEYFERRY_HTTP_ADDRESS": "127.0.0.1:0", **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        yield Probe(process, process.stderr)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ended(name: str = "serve", **environ: str) -> tuple[int | None, str]:
    """Exit status and standard error of a service that ends by itself."""
    async with running(name, **environ) as probe, asyncio.timeout(20):
        text = (await probe.lines.read()).decode()
        await probe.process.wait()
        return probe.process.returncode, text


async def answer(port: int, path: str) -> tuple[int, str]:
    """What its HTTP server says."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/{path}") as response:
        return response.status, await response.text()


@pytest.fixture
def nats_url(tmp_path: Path) -> Any:
    """A server of the test's own."""
    with nats_server(tmp_path) as own:
        yield own.url


async def test_bad_settings_are_told_all_at_once() -> None:
    """Exit status 1, and each variable that is missing or malformed on standard error, the common ones too."""
    status, text = await ended(APP_COLOR="", APP_PACE="fast", KEYFERRY_LOG_LEVEL="loud", KEYFERRY_HTTP_ADDRESS="8095")

    assert status == 1
    assert text.splitlines() == [
        "probe: settings:",
        'KEYFERRY_HTTP_ADDRESS is "8095": write host:port, or :port for all interfaces',
        'KEYFERRY_LOG_LEVEL is "loud": write debug, info, warning or error',
        "APP_COLOR is not set: the color of the shed",
        'APP_PACE is "fast": write a duration such as 90s, 2m or 1h30m',
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_order(nats_url: str, number: signal.Signals) -> None:
    """Exit status 0: it was told to; what is open is closed first, and every line of the log is JSON."""
    async with running(KEYFERRY_NATS_URL=nats_url) as probe:
        port = (await probe.line(lambda line: "port" in line))["port"]
        await probe.printed(b"started")
        assert await answer(port, "readyz") == (200, "ok")
        assert await probe.stop(number) == 0
        await probe.printed(b"cleaned up")
        rest = [json.loads(line) for line in (await probe.lines.read()).splitlines()]

    assert [line["message"] for line in rest] == ["stopping"]
    assert {line["service"] for line in rest} == {"probe"}


async def test_a_dependency_that_is_away_at_start_is_waited_for(tmp_path: Path) -> None:
    """Alive and not ready, and says for what; when it comes the service starts, and nobody had to restart it."""
    port = free_port()
    async with running(KEYFERRY_NATS_URL=f"nats://127.0.0.1:{port}") as probe:
        http = (await probe.line(lambda line: "port" in line))["port"]
        waiting = await probe.line(lambda line: line["message"].startswith("cannot start yet"))
        healthy, (status, missing) = await answer(http, "healthz"), await answer(http, "readyz")
        with nats_server(tmp_path, port=port):
            await probe.printed(b"started")
            assert await probe.stop() == 0

    assert healthy == (200, "ok")
    assert (status, missing) == (503, waiting["message"])

    assert re.search(rf"NATS cannot be reached at 127\.0\.0\.1:{port} ", waiting["message"])


async def test_it_can_be_stopped_while_it_waits() -> None:
    """A pod that cannot start yet need not be killed."""
    async with running(KEYFERRY_NATS_URL=f"nats://127.0.0.1:{free_port()}") as probe:
        await probe.line(lambda line: line["message"].startswith("cannot start yet"))
        assert await probe.stop() == 0


async def test_what_passes_is_waited_for_in_a_group_too() -> None:
    """A task group wraps its tasks' errors; their kind decides all the same."""
    async with running("flaky") as probe:
        await probe.printed(b"started")
        assert await probe.stop() == 0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("permanent", ["cannot go on: grant the role"]),
        ("keys", ["cannot go on: fetcher.json is readable by everybody"]),
        ("defect", ["cannot go on: ValueError at <string>:"]),
        ("grouped", ["cannot go on: ValueError at <string>:", "cannot go on: grant the role"]),
    ],
)
async def test_what_does_not_pass_ends_it(name: str, told: list[str]) -> None:
    """Exit status 1 and one line for each cause, without a traceback and without a defect's text."""
    status, text = await ended(name)

    lines = [line for line in map(json.loads, text.splitlines()) if line["level"] != "info"]
    assert status == 1
    assert [line["level"] for line in lines] == ["critical"] * len(told)
    assert [line["message"][: len(start)] for line, start in zip(lines, told, strict=True)] == told
    assert "canary" not in text


async def test_forgotten_defects_are_logged_without_their_text() -> None:
    """The event loop would print the exception of a callback or of a task that nobody awaits."""
    async with running("forgotten") as probe:
        await probe.printed(b"started")
        assert await probe.stop() == 0
        text = (await probe.lines.read()).decode()

    errors = [line["message"] for line in map(json.loads, text.splitlines()) if line["level"] == "error"]
    assert len(errors) == 2
    assert all("ValueError" in message for message in errors)
    assert "canary" not in text


async def test_a_port_in_use_is_told(nats_url: str) -> None:
    """By its reason, not only by its place."""
    async with running(KEYFERRY_NATS_URL=nats_url) as probe:
        port = (await probe.line(lambda line: "port" in line))["port"]
        status, text = await ended(KEYFERRY_NATS_URL=nats_url, KEYFERRY_HTTP_ADDRESS=f"127.0.0.1:{port}")

    assert status == 1
    assert "Address already in use" in text


async def test_spans_are_exported_before_it_ends(nats_url: str) -> None:
    """With the standard variables alone: name, resource attributes, and nothing lost at the end."""
    async with otlp_receiver() as otlp:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp.url, "KEYFERRY_NODE_NAME": "node-1"}
        async with running(KEYFERRY_NATS_URL=nats_url, **environ) as probe:
            await probe.printed(b"started")
            assert await probe.stop() == 0

        (span,) = await otlp.trace("started")

    assert (span.service, span.kind) == ("probe", "internal")
    assert any(b"node-1" in body for body in otlp.bodies)
