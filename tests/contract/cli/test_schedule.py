"""What a real rotator's schedule has written can be read."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from keyferry.cli import backends, schedule
from keyferry.events import RefreshFailed, VolumeEvent, VolumePublished
from keyferry.resources import Pod
from keyferry.store import Store, connect_store
from keyferry.testing.valkey import Valkey, valkey_server
from rotator.schedule import PREFIX, Policy, Schedule
from rotator.words import Word

NOW = int(time.time() * 1000)


def volume(name: str, *, key: str = "k", fetched: int = NOW, **about: Any) -> VolumePublished:
    return VolumePublished(
        volume_id=name,
        node="n1",
        pod=Pod("shop", f"pod-{name}", f"uid-{name}", "web"),
        secret_provider_class="db",
        target_path="/t",
        provider="vault",
        content_key=key,
        digest=b"d",
        fetched_at_ms=fetched,
        versions=(),
        **about,
    )


@pytest.fixture
async def store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Store]:
    """A Valkey of the test's own, for a schedule has one place in it."""
    with valkey_server(tmp_path_factory.mktemp("valkey")) as running:
        async with connect_store(running.url, name="test") as store:
            yield store


async def tell(store: Store, *events: VolumeEvent) -> Schedule:
    """A rotator hears these words."""
    rotation = Schedule(store, Policy())
    for number, event in enumerate(events):
        await rotation.tell(Word(event, NOW * 1000 + number), NOW)
    return rotation


async def test_the_prefix_is_the_rotators() -> None:
    """The command line looks where the rotators write."""
    assert schedule.PREFIX == PREFIX


async def test_contents_are_read_as_written(store: Store) -> None:
    """Every field of a content, its members counted."""
    leased = volume("v1", sources=("secret/data/db",), refresh_by_ms=NOW + 500_000)
    await tell(store, leased, volume("v2", sources=("secret/data/db",), refresh_by_ms=NOW + 500_000))

    (found,) = await schedule.read_contents(store)
    assert (found.key, found.provider, found.interval_ms, found.members) == ("k", "vault", 120_000, 2)
    assert (found.newest_ms, found.refresh_by_ms) == (NOW, NOW + 500_000)
    assert NOW + 60_000 <= found.due_ms <= NOW + 120_000
    assert (found.sources, found.classes, found.claimed) == (("secret/data/db",), ("shop/db",), False)


async def test_one_content_has_its_members(store: Store) -> None:
    """With when each was last told of, to the millisecond."""
    await tell(store, volume("v1"))

    assert await schedule.content_of(store, "n1", "v1") == "k"
    found = await schedule.read_content(store, "k")
    assert found is not None
    assert found.volumes == (schedule.Member("v1", "n1", NOW, NOW, 0, 0, ""),)


async def test_what_nobody_knows(store: Store) -> None:
    """An empty schedule, a volume and a content that it does not have."""
    assert await schedule.read_contents(store) == []
    assert await schedule.content_of(store, "n1", "v1") == ""
    assert await schedule.read_content(store, "k") is None
    assert await schedule.overdue(store, NOW) == (0, 0.0)
    assert await schedule.is_built(store) is False


async def test_a_content_that_never_is_due(store: Store) -> None:
    """A class that rotates only when something changes has no due time; a schedule with one only has no lag."""
    await tell(store, volume("v1", rotation_ms=0))

    (found,) = await schedule.read_contents(store)
    assert (found.due_ms, found.interval_ms) == (0, 0)
    assert await schedule.overdue(store, NOW + 10**9) == (0, 0.0)


async def test_hints_in_vain_are_seen(store: Store) -> None:
    """How often a member was hinted, that a rotator works on it, and that its refresh failed for good."""
    rotation = await tell(store, volume("v1"))
    later = NOW + 200_000
    await rotation.take("token", later, limit=10)

    claimed = await schedule.read_content(store, "k")
    assert claimed is not None
    assert (claimed.claimed, claimed.asked_ms > NOW) == (True, True)
    assert [(m.hinted_ms, m.misses) for m in claimed.volumes] == [(later, 1)]

    hopeless = RefreshFailed(volume("v1"), claimed.asked_ms, "PERMISSION_DENIED", "AccessDenied", "no")
    await rotation.tell(Word(hopeless, later * 1000), later)
    failed = await schedule.read_content(store, "k")
    assert failed is not None
    assert [m.state for m in failed.volumes] == ["p"]


async def test_what_is_late_is_counted(store: Store) -> None:
    """How many contents are due, and for how long the first of them has been."""
    await tell(store, *(volume(f"v{n}", key=f"k{n}") for n in range(3)))
    first = min(each.due_ms for each in await schedule.read_contents(store))

    assert await schedule.overdue(store, NOW + 500_000) == (3, (NOW + 500_000 - first) / 1000)


async def test_more_contents_than_a_page(store: Store) -> None:
    """All come, each once."""
    await tell(store, *(volume(f"v{n}", key=f"k{n}") for n in range(700)))

    assert {each.key for each in await schedule.read_contents(store)} == {f"k{n}" for n in range(700)}


async def test_pauses_of_backends(valkey: Valkey) -> None:
    """Those that run are listed with what is left of them; buckets are no pauses."""
    backend = secrets.token_hex(16)
    async with connect_store(valkey.url, name="test") as store:
        await store.call("SET", f"keyferry:backend:{backend}:pause", "1", "PX", 90_000)
        await store.call("SET", f"keyferry:backend:{backend}:bucket", "1", "PX", 90_000)
        found = {pause.backend: pause.seconds for pause in await backends.pauses(store)}

    assert 60 < found[backend] <= 90
