from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from keyferry.errors import AccessDenied, BusUnavailable
from keyferry.events import RefreshFailed, VolumePublished, VolumeRefreshed, VolumeUnpublished, volume_event
from keyferry.resources import ObjectVersion, Pod
from node_driver.announce import PUBLISHED_TTL, UNPUBLISHED_TTL, Announcer
from node_driver.records import Record

RECORD = Record(
    volume_id="csi-1",
    target_path="/pods/u/mount",
    pod=Pod("shop", "web-0", "u-1", "web"),
    secret_provider_class="db",
    provider="vault",
    content_key="k1",
    digest=b"\x00\xff",
    fetched_at_ms=1_000,
    versions=(ObjectVersion("db", "3"),),
    sources=("secret/data/db",),
    left_out=("extra",),
    rotation_ms=30_000,
    refresh_by_ms=5_000,
    stale_since_ms=2_000,
)
VOLUME = VolumePublished(
    volume_id="csi-1",
    node="node.a",
    pod=RECORD.pod,
    secret_provider_class="db",
    target_path="/pods/u/mount",
    provider="vault",
    content_key="k1",
    digest=b"\x00\xff",
    fetched_at_ms=1_000,
    versions=RECORD.versions,
    sources=("secret/data/db",),
    left_out=("extra",),
    rotation_ms=30_000,
    refresh_by_ms=5_000,
    stale_since_ms=2_000,
)


@dataclass
class Bus:
    """Keeps what is published while it is up."""

    up: bool = True
    refusals: int = 0
    kept: list[tuple[str, Any, float]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish(self, subject: str, payload: bytes, *, destination: str, ttl: float) -> None:
        """See `keyferry.bus.Bus`."""
        assert destination == "keyferry.volume"
        await self.gate.wait()
        if not self.up:
            self.refusals += 1
            raise BusUnavailable("away")
        self.kept.append((subject, volume_event(payload), ttl))


@pytest.fixture
def bus() -> Bus:
    bus = Bus()
    bus.gate.set()
    return bus


@asynccontextmanager
async def running(bus: Bus, **how: Any) -> AsyncIterator[Announcer]:
    """An announcer at work."""
    announcer = Announcer(cast("Any", bus), "node.a")
    task = asyncio.create_task(announcer.run(**how))
    try:
        yield announcer
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not claim():  # noqa: ASYNC110 - the fake has no bell
            await asyncio.sleep(0.001)


async def test_published(bus: Bus) -> None:
    """A published volume is told with all that is known of it, on its own subject, for a day."""
    async with running(bus) as announcer:
        announcer.published(RECORD)
        await until(lambda: len(bus.kept) == 1)

    ((subject, told, ttl),) = bus.kept
    assert (subject, ttl) == ("keyferry.volume.node_a.csi-1", PUBLISHED_TTL)
    assert told == VOLUME


@pytest.mark.parametrize("changed", [False, True])
async def test_refreshed(bus: Bus, changed: bool) -> None:
    """A refreshed volume is told as it now is, and whether it changed, for as long as a published one."""
    async with running(bus) as announcer:
        announcer.refreshed(RECORD, changed=changed)
        await until(lambda: len(bus.kept) == 1)

    assert bus.kept == [("keyferry.volume.node_a.csi-1", VolumeRefreshed(VOLUME, changed), PUBLISHED_TTL)]


async def test_failed(bus: Bus) -> None:
    """A refresh in vain is told with what was wanted, why it failed, and the volume as it still is."""
    async with running(bus) as announcer:
        announcer.failed(RECORD, 7_000, AccessDenied("no policy: add one"))
        await until(lambda: len(bus.kept) == 1)

    failed = RefreshFailed(VOLUME, 7_000, "PERMISSION_DENIED", "AccessDenied", "no policy: add one")
    assert bus.kept == [("keyferry.volume.node_a.csi-1", failed, PUBLISHED_TTL)]


async def test_confirmed(bus: Bus) -> None:
    """A word that was lost is said again: what came of the last refresh, or that the published content is current."""
    async with running(bus) as announcer:
        announcer.published(RECORD)
        announcer.confirmed(RECORD)
        await until(lambda: len(bus.kept) == 1)
        announcer.refreshed(RECORD, changed=True)
        await until(lambda: len(bus.kept) == 2)
        announcer.confirmed(RECORD)
        await until(lambda: len(bus.kept) == 3)
        announcer.failed(RECORD, 7_000, AccessDenied("no policy"))
        announcer.confirmed(RECORD)
        await until(lambda: len(bus.kept) == 4)

    told = [word for _, word, _ in bus.kept]
    assert told[:3] == [VolumeRefreshed(VOLUME, changed=False), *[VolumeRefreshed(VOLUME, changed=True)] * 2]
    assert isinstance(told[3], RefreshFailed)


async def test_repeats_say_the_last_state(bus: Bus) -> None:
    """What is said again after hours is how the last refresh went."""
    async with running(bus, repeat_seconds=0.01) as announcer:
        announcer.published(RECORD)
        announcer.failed(RECORD, 7_000, AccessDenied("no policy"))
        await until(lambda: len(bus.kept) >= 3)

    assert {type(word) for _, word, _ in bus.kept} == {RefreshFailed}


async def test_unpublished(bus: Bus) -> None:
    """A volume that is gone is told for an hour, once, and then forgotten."""
    async with running(bus, repeat_seconds=0.02) as announcer:
        announcer.published(RECORD)
        announcer.unpublished("csi-1")
        announcer.published(replace(RECORD, volume_id="csi-2"))
        await until(lambda: [told.volume_id for _, told, _ in bus.kept].count("csi-2") > 3)

    gone = [(told, ttl) for _, told, ttl in bus.kept if told.volume_id == "csi-1"]
    assert gone == [(VolumeUnpublished("csi-1", "node.a"), UNPUBLISHED_TTL)]


async def test_newest_word(bus: Bus) -> None:
    """While the bus is away only the newest word on each volume waits, and it is told when the bus is back."""
    bus.up = False
    async with running(bus) as announcer:
        announcer.published(RECORD)
        announcer.published(replace(RECORD, digest=b"new"))
        announcer.published(replace(RECORD, volume_id="csi-2"))
        announcer.unpublished("csi-2")
        await until(lambda: bus.refusals >= 2)
        bus.up = True
        await until(lambda: len(bus.kept) == 2)

    told = {word.volume_id: word for _, word, _ in bus.kept}
    assert isinstance(told["csi-2"], VolumeUnpublished)
    assert isinstance(told["csi-1"], VolumePublished)
    assert told["csi-1"].digest == b"new"


async def test_word_that_changes_while_it_is_told(bus: Bus) -> None:
    """A volume that is published anew while its end is being told is not forgotten."""
    bus.gate.clear()
    async with running(bus) as announcer:
        announcer.unpublished("csi-1")
        await asyncio.sleep(0.01)
        announcer.published(RECORD)
        bus.gate.set()
        await until(lambda: len(bus.kept) == 2)

    assert [type(told) for _, told, _ in bus.kept] == [VolumeUnpublished, VolumePublished]


async def test_end_that_is_told_while_all_is_repeated(bus: Bus) -> None:
    """The repeat of everything, coming while the end of a volume is on its way, does not stop the announcer."""
    bus.gate.clear()
    async with running(bus, repeat_seconds=0.01, jitter=lambda: 0.5) as announcer:
        announcer.unpublished("csi-1")
        await asyncio.sleep(0.05)
        bus.gate.set()
        announcer.published(replace(RECORD, volume_id="csi-2"))
        await until(lambda: "csi-2" in [told.volume_id for _, told, _ in bus.kept])


async def test_repeats(bus: Bus) -> None:
    """What is published is told again and again, so that the bus may forget a node that is silent."""
    async with running(bus, repeat_seconds=0.01) as announcer:
        for number in range(100):
            announcer.published(replace(RECORD, volume_id=f"csi-{number}"))
        await until(lambda: len(bus.kept) >= 300)

    assert {told.volume_id for _, told, _ in bus.kept} == {f"csi-{number}" for number in range(100)}
