"""Metrics that alerts stand on, where no other test counts them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span
from prometheus_client import REGISTRY

from fetcher.budgets import Grant, Spending
from fetcher.kept import Kept
from fetcher.leases import Round, Source, produce
from fetcher.provider import Lease
from keyferry import keymaking, keys
from keyferry.errors import AccessDenied, KeyferryError, RateLimited
from keyferry.health import health
from keyferry.keys import KeyFile
from keyferry.resources import Content
from keyferry.telemetry import exemplar


async def scraped(missing: list[str]) -> str:
    async with (
        health("127.0.0.1:0", lambda: missing) as port,
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        return await answer.text()


async def test_ready() -> None:
    """Each scrape says whether the service is ready at that moment."""
    assert "\nkeyferry_ready 0.0\n" in await scraped(["NATS is not connected"])
    assert "\nkeyferry_ready 1.0\n" in await scraped([])


def newest(file: str) -> float | None:
    return REGISTRY.get_sample_value("keyferry_keys_newest_timestamp_seconds", {"file": file})


def test_newest_keys(tmp_path: Path) -> None:
    """All files of one rotation show one time, as soon as they are scraped; a process that lags shows another."""
    keymaking.create(tmp_path, now=1000.0)
    held = [KeyFile.public(tmp_path), KeyFile.fetcher(tmp_path), KeyFile.syncer(tmp_path)]
    assert [newest(name) for name in (keys.PUBLIC, keys.FETCHER, keys.SYNCER)] == [1000.0] * 3
    stays = (tmp_path / keys.PUBLIC).read_text()
    keymaking.rotate(tmp_path, now=2000.0, delay=600.0)
    (tmp_path / keys.PUBLIC).write_text(stays)

    assert [newest(name) for name in (keys.PUBLIC, keys.FETCHER, keys.SYNCER)] == [1000.0, 2600.0, 2600.0]
    assert len(held) == 3


def test_keys_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that was broken fails no scrape, and the time is that of the keys which stay in use."""
    keymaking.create(tmp_path, now=1000.0)
    held = KeyFile.public(tmp_path)
    (tmp_path / keys.PUBLIC).write_text(json.dumps({"fetcher": []}))

    assert newest(keys.PUBLIC) == 1000.0
    assert held.keys.signing.entries


class Ending:
    """A source whose lease cannot be renewed."""

    spending = cast("Spending", None)
    keep_ms = stale_ms = 0

    def __init__(self, trouble: KeyferryError) -> None:
        self._trouble = trouble

    async def renew(self, _kept: Kept, _grant: Grant) -> Lease | None:
        """See `fetcher.leases.Source`."""
        raise self._trouble

    async def fetch(self, _fetched_at_ms: int, _held: Kept | None, _grant: Grant) -> Kept:
        """See `fetcher.leases.Source`."""
        return cast("Kept", None)


@pytest.mark.parametrize(
    ("trouble", "outcome"), [(RateLimited("slower"), "later"), (AccessDenied("no"), "lost")], ids=["later", "lost"]
)
async def test_renewals_that_fail(trouble: KeyferryError, outcome: str) -> None:
    """A renewal that fails is counted by its backend, and by whether the lease may yet be renewed."""
    labels = {"provider": "test-renewing", "outcome": outcome}
    now = time.time()
    lease = Lease(renew_at=now - 1, expires_at=now + 60, handle=b"l")
    content = Content("test-renewing", "k", b"d", 1, (), ())
    kept = Kept(content=content, secrets=(), lease=lease)
    source: Source = Ending(trouble)
    await produce(source, Round(kept, cast("Any", None), int(now * 1000), now, refresh=True))

    assert REGISTRY.get_sample_value("keyferry_lease_renewals_failed_total", labels) == 1


@pytest.fixture
def span() -> Iterator[Span]:
    """A span that is recorded."""
    with TracerProvider(shutdown_on_exit=False).get_tracer("test").start_as_current_span("mount") as running:
        yield running


def test_an_exemplar_leads_to_the_trace(span: Span) -> None:
    """Within a trace that is recorded, its id; the same as the trace has."""
    assert exemplar() == {"trace_id": f"{span.get_span_context().trace_id:032x}"}


def test_no_exemplar_without_a_trace() -> None:
    """A histogram must not lead to a trace that nobody keeps."""
    assert exemplar() is None
