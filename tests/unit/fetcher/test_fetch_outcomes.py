"""What a reply and a handover say of a content, beyond its files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from fetcher.provider import Answer, Secret
from keyferry.errors import (
    AccessDenied,
    KeyferryError,
    ProviderUnavailable,
    RateLimited,
)
from keyferry.handover import SecretsFetched
from keyferry.resources import File

from .conftest import CLASS, Desk


@pytest.fixture
async def announcing(desk: Desk) -> AsyncIterator[None]:
    """The announcer at work."""
    task = asyncio.create_task(desk.announcer.run())
    yield
    task.cancel()
    await asyncio.wait({task})


async def announced(desk: Desk) -> None:
    async with asyncio.timeout(10):
        await desk.bus.told.wait()
    desk.bus.told.clear()


def refreshed() -> dict[str, int]:
    """A refresh whose hint is of this very moment."""
    return {"not_before_ms": int(time.time() * 1000)}


@pytest.mark.usefixtures("announcing")
async def test_syncers_are_told(desk: Desk) -> None:
    """Of every fetch for a class with secretObjects, once, sealed; also if it was another class that had it fetched."""
    await desk.deliver(desk.request())
    desk.cluster.spc = replace(CLASS, syncs=True)
    for _ in range(3):
        await desk.deliver(desk.request())
    await announced(desk)
    await asyncio.sleep(0.002)
    await desk.deliver(desk.request(**refreshed()))
    await announced(desk)

    syncer = desk.syncer()
    heard = [SecretsFetched.from_bytes(payload, desk.public.keys) for _, payload, _ in desk.bus.published]
    assert [told.open(syncer) for told in heard] == [(File("password", b"tiger", 0o644),)] * 2
    assert [subject for subject, _, _ in desk.bus.published] == [f"keyferry.sync.shop.{heard[0].content_key}"] * 2
    assert [how["ttl"] for _, _, how in desk.bus.published] == [3600.0] * 2
    assert len({how["message_id"] for _, _, how in desk.bus.published}) == 2


@pytest.mark.usefixtures("announcing")
async def test_syncers_keep_nobody_waiting(desk: Desk) -> None:
    """A bus that does not take the handover fails no mount, and the next request has it tried again."""
    desk.cluster.spc = replace(CLASS, syncs=True, annotations={"keyferry.io/rotation-interval": "1h"})
    desk.bus.away = True
    first = desk.request()
    await desk.deliver(first)
    await announced(desk)
    assert desk.answer(first).files
    desk.bus.away = False
    await desk.deliver(desk.request())
    await announced(desk)

    assert [how["ttl"] for _, _, how in desk.bus.published] == [3 * 3600.0]


async def test_no_class_syncs_unasked(desk: Desk) -> None:
    """Without secretObjects nothing leaves for the syncers."""
    await desk.deliver(desk.request())

    assert desk.announcer._waiting.empty()


async def test_what_the_class_says_of_rotation(desk: Desk) -> None:
    """The reply has the class's own interval, whoever shared the content with it."""
    replies = []
    for text in ("10m", "0", "nonsense"):
        desk.cluster.spc = replace(CLASS, annotations={"keyferry.io/rotation-interval": text})
        request = desk.request()
        await desk.deliver(request)
        replies.append(desk.answer(request).rotation_ms)

    assert replies == [600_000, 0, None]
    assert len(desk.backend.requests) == 1


async def test_what_else_a_backend_tells(desk: Desk) -> None:
    """What change events call the objects, and which optional ones there are not."""
    desk.backend.outcomes.append(Answer((Secret("p", b"x", "db", "3", source="secret/data/db"),), ("extra",)))
    request = desk.request()
    await desk.deliver(request)
    content = desk.answer(request)

    assert (content.sources, content.left_out) == (("secret/data/db",), ("extra",))


STALE_OK = {"keyferry.io/stale-if-error": "1h"}


@pytest.mark.parametrize("trouble", [ProviderUnavailable("down"), RateLimited("slower", retry_after=30.0)])
async def test_last_known_good(desk: Desk, trouble: KeyferryError) -> None:
    """A class that asks for it gets what was fetched before, at once, and the reply says since when it is stale."""
    desk.cluster.spc = replace(CLASS, annotations=STALE_OK)
    await desk.deliver(desk.request())
    desk.bus.replies.clear()
    await asyncio.sleep(0.002)
    desk.backend.outcomes.append(trouble)
    request = desk.request(**refreshed())
    await desk.deliver(request)
    content = desk.answer(request)

    assert content.files == (File("password", b"tiger", 0o644),)
    assert content.stale_since_ms > content.fetched_at_ms


NOT_STALE: dict[str, tuple[dict[str, str], KeyferryError]] = {
    "not asked for": ({}, RateLimited("slower", retry_after=30.0)),
    "denied": (STALE_OK, AccessDenied("no")),
    "too old": ({"keyferry.io/stale-if-error": "1s"}, RateLimited("slower", retry_after=30.0)),
}


@pytest.mark.parametrize(("annotations", "trouble"), NOT_STALE.values(), ids=NOT_STALE)
async def test_no_last_known_good(desk: Desk, annotations: dict[str, str], trouble: KeyferryError) -> None:
    """Only where the class asks for it, only as long as it says, and never against the backend's word."""
    desk.cluster.spc = replace(CLASS, annotations=annotations)
    await desk.deliver(desk.request())
    desk.bus.replies.clear()
    await asyncio.sleep(1.1)
    desk.backend.outcomes.append(trouble)
    request = desk.request(**refreshed())
    await desk.deliver(request)

    assert type(desk.failure(request)) is type(trouble)
