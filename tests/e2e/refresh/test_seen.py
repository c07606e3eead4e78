"""What an operator sees of refreshes: one trace from the hint to the files, and upstream's numbers."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from typing import TYPE_CHECKING

import pytest

from keyferry.events import RefreshFailed

if TYPE_CHECKING:
    from keyferry.testing.otlp import Otlp, Span
    from keyferry.testing.services import Service
    from tests.e2e.refresh.conftest import Shop

pytestmark = pytest.mark.root

CHAIN = (
    "process keyferry.refresh",
    "refresh",
    "send keyferry.fetch.refresh",
    "process keyferry.fetch.refresh",
    "fetch vault",
)


def chained(spans: list[Span]) -> list[tuple[str, str, str]]:
    """Name, service and the parent's name of each span of `CHAIN`."""
    names = {span.span_id: span.name for span in spans}
    return [
        (span.name, span.service, names.get(span.parent_id, ""))
        for name in CHAIN
        for span in spans
        if span.name == name
    ]


def metrics(service: Service) -> dict[str, float]:
    with urllib.request.urlopen(f"{service.http}/metrics") as answer:  # noqa: S310 - our own address
        text = answer.read().decode()
    return {key: float(value) for key, value in re.findall(r"^([^#\s]\S*(?: ?\{.*\})?) (\S+)$", text, re.MULTILINE)}


async def test_one_refresh_is_one_trace(observed: tuple[Shop, Otlp]) -> None:
    """From the hint over the fetch to the write, all of a refresh hangs on one trace."""
    shop, otlp = observed
    _, _, volume = await shop.mount()
    await shop.rotate(password="lion")
    await shop.rotator.refresh(volume)
    spans = list(await otlp.trace(*CHAIN))

    assert chained(spans) == [
        ("process keyferry.refresh", "node-driver", ""),
        ("refresh", "node-driver", "process keyferry.refresh"),
        ("send keyferry.fetch.refresh", "node-driver", "refresh"),
        ("process keyferry.fetch.refresh", "fetcher", "send keyferry.fetch.refresh"),
        ("fetch vault", "fetcher", "process keyferry.fetch.refresh"),
    ]
    (refresh,) = [span for span in spans if span.name == "refresh"]
    assert [event.name for event in refresh.events] == ["seal", "open", "write"]
    assert {span.status for span in spans} == {"unset"}


async def test_metrics(observed: tuple[Shop, Otlp]) -> None:
    """Refreshes are counted under upstream's names: those that changed files, those that did not, those that failed."""
    shop, _ = observed
    _, _, volume = await shop.mount()
    await shop.rotator.refresh(volume)
    await shop.rotate(password="lion")
    await shop.rotator.refresh(volume)
    await shop.rotate(other="x")
    (answer,) = await shop.rotator.refresh(volume)
    seen = await asyncio.to_thread(metrics, shop.world.node)

    assert isinstance(answer, RefreshFailed)
    assert seen['rotation_reconcile_total{os_type="linux",provider="vault",rotated="false"}'] == 1
    assert seen['rotation_reconcile_total{os_type="linux",provider="vault",rotated="true"}'] == 1
    failed = (
        'rotation_reconcile_error_total{error_type="SecretNotFound",os_type="linux",provider="vault",rotated="false"}'
    )
    assert seen[failed] == 1
    assert seen['rotation_reconcile_duration_sec_count{os_type="linux"}'] == 3
    assert seen["keyferry_refresh_outdated_total"] == 0
    assert seen['keyferry_bus_consumed_total{consumer="keyferry.refresh",outcome="done"}'] >= 3
