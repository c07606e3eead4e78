"""What is recorded of each request: who got which versions, from where, or why not; and never a value."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fetcher.provider import Answer, Secret
from keyferry import audit
from keyferry.errors import AccessDenied, IdentityRefused, ProviderUnavailable, RateLimited
from keyferry.telemetry.logs import JsonFormatter

from .conftest import CLASS, Desk, token


class Lines(logging.Handler):
    """Keeps what would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter("fetcher"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(self.format(record))

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines, read again."""
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The records of a test."""
    kept, logger = Lines(), logging.getLogger(audit.NAME)
    logger.addHandler(kept)
    with audit.written_to(audit.LOGS, "fetcher"):
        yield kept
    logger.removeHandler(kept)


def now_ms() -> int:
    return int(time.time() * 1000)


def told(lines: Lines, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(record.get(name) for name in names) for record in lines.records]


async def test_a_delivered_content(desk: Desk, lines: Lines) -> None:
    """The record says who got what at which version, for which volume, and where it came from."""
    request = desk.request()
    await desk.deliver(request)
    content = desk.answer(request)

    (record,) = lines.records
    assert {name: record[name] for name in record.keys() - {"time"}} == {
        "level": "info",
        "service": "fetcher",
        "logger": "keyferry.audit",
        "message": "content delivered",
        "outcome": "delivered",
        "origin": "backend",
        "namespace": "shop",
        "pod": "shop/web-0",
        "pod_uid": "u-1",
        "service_account": "web",
        "verified": True,
        "node": "node.a",
        "volume_id": "csi-1",
        "request_id": request.request_id,
        "purpose": "mount",
        "secret_provider_class": "db",
        "provider": "vault",
        "objects": [{"id": "db", "version": "3"}],
        "left_out": [],
        "content_key": content.content_key,
        "fetched_at_ms": content.fetched_at_ms,
    }


async def test_where_it_came_from(desk: Desk, lines: Lines) -> None:
    """What another pod had fetched is shared, what is as the node has it is unchanged, and an outage's is stale."""
    desk.cluster.spc = replace(CLASS, annotations={"keyferry.io/stale-if-error": "1h"})
    first = desk.request()
    await desk.deliver(first)
    known = desk.answer(first).digest
    await desk.deliver(desk.request())
    await asyncio.sleep(0.002)
    await desk.deliver(desk.request(not_before_ms=now_ms(), known_digest=known))
    await asyncio.sleep(0.002)
    desk.backend.outcomes.append(RateLimited("slower", retry_after=30.0))
    await desk.deliver(desk.request(not_before_ms=now_ms()))

    assert told(lines, "purpose", "outcome", "origin") == [
        ("mount", "delivered", "backend"),
        ("mount", "delivered", "shared"),
        ("refresh", "unchanged", "backend"),
        ("refresh", "delivered", "stale"),
    ]


async def test_who_joins_a_flight_shares(desk: Desk, lines: Lines) -> None:
    """Of pods that mount at once, one has the backend asked."""
    desk.backend.gate.clear()
    waiting = [asyncio.create_task(desk.deliver(desk.request())) for _ in range(3)]
    await asyncio.sleep(0.05)
    desk.backend.gate.set()
    await asyncio.gather(*waiting)

    assert sorted(told(lines, "origin")) == [("backend",), ("shared",), ("shared",)]


async def test_what_there_is_no_object_of(desk: Desk, lines: Lines) -> None:
    """Optional objects that the backend does not have are named."""
    desk.backend.outcomes.append(Answer((Secret("p", b"x", "db", "3"),), ("extra",)))
    await desk.deliver(desk.request())

    assert told(lines, "left_out") == [(["extra"],)]


async def test_a_refusal_by_the_backend(desk: Desk, lines: Lines) -> None:
    """The record says who was refused what and why, in one word: the text may be a backend's."""
    desk.backend.outcomes.append(AccessDenied("role web may not read swordfish"))
    await desk.deliver(desk.request())

    assert told(lines, "level", "outcome", "reason", "code", "pod", "verified", "provider") == [
        ("warning", "refused", "AccessDenied", "PERMISSION_DENIED", "shop/web-0", True, "vault")
    ]
    assert "swordfish" not in lines.lines[0]


async def test_an_identity_that_is_refused(desk: Desk, lines: Lines) -> None:
    """Whom the request claimed to be for is told, and that it is not proven."""
    desk.cluster.refusal = IdentityRefused("no")
    await desk.deliver(desk.request())

    assert told(lines, "reason", "verified", "pod", "provider") == [("IdentityRefused", False, "shop/web-0", "")]


async def test_another_node_s_name(desk: Desk, lines: Lines) -> None:
    """A node that asks in another's name leaves a record, though it gets no answer."""
    with pytest.raises(IdentityRefused):
        await desk.deliver(desk.request(), subject="keyferry.fetch.mount.other")

    assert told(lines, "reason", "verified", "node", "pod") == [("IdentityRefused", False, "node.a", "")]


async def test_one_record_for_one_answer(desk: Desk, lines: Lines) -> None:
    """A try after which another comes is no answer, and leaves no record."""
    desk.backend.outcomes.append(ProviderUnavailable("down"))
    request = desk.request()
    with pytest.raises(ProviderUnavailable):
        await desk.deliver(request)
    await desk.deliver(request, attempt=2)

    assert told(lines, "outcome") == [("delivered",)]


async def test_a_defect(desk: Desk, lines: Lines) -> None:
    """The last try of a request that meets a defect of ours is answered, and recorded, without the defect's text."""
    desk.backend.outcomes.append(ValueError("swordfish"))
    with pytest.raises(ValueError, match="swordfish"):
        await desk.deliver(desk.request(), last=True)

    assert told(lines, "outcome", "reason") == [("refused", "InternalError")]
    assert "swordfish" not in lines.lines[0]


SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_categories=["Cs"]), min_size=12)
OUTCOMES = st.sampled_from(["fine", "denied", "down", "defect", "identity", "unchanged"])


@given(value=SECRETS, shown=SECRETS, outcome=OUTCOMES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_value_is_recorded(desk: Desk, lines: Lines, value: str, shown: str, outcome: str) -> None:
    """Whatever values, tokens and texts there are, and whatever comes of the request, no record has any of them."""
    lines.lines.clear()
    answers: dict[str, Exception | Sequence[Secret]] = {
        "denied": AccessDenied(value),
        "down": ProviderUnavailable(value, retry_after=60.0),
        "defect": ValueError(value),
    }
    fine = [Secret("password", value.encode(), "db", "3")]
    desk.backend.outcomes[:] = [answers.get(outcome, fine)]
    desk.cluster.refusal = {"identity": IdentityRefused(value)}.get(outcome)
    ask = {"tokens": {"keyferry": token(), "vault": token(), "x": shown}, "node_publish_secret": {"k": shown}}
    usual = {"tokens": {"keyferry": token(), "vault": token()}, "node_publish_secret": {"k": shown}}
    for each in (usual, ask):
        await asyncio.gather(
            desk.deliver(desk.request(not_before_ms=now_ms() + 1, **each), last=True), return_exceptions=True
        )
    desk.bus.replies.clear()
    written = "\n".join(json.dumps(record, ensure_ascii=False) for record in lines.records)

    assert len(lines.lines) == 2
    assert value not in written
    assert shown not in written
    assert token() not in written
