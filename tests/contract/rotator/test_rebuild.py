from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from keyferry import streams
from keyferry.bus import Bus, connect
from keyferry.errors import StoreUnavailable
from keyferry.events import VolumePublished, VolumeUnpublished
from keyferry.store import connect_store
from keyferry.store_users import STORE_USERS, acl_file
from keyferry.subjects import volume_subject
from keyferry.testing.nats import Nats, nats_server
from keyferry.testing.valkey import Valkey, valkey_server
from rotator.rebuild import SILENT_SECONDS, Rebuild
from rotator.schedule import Schedule

from .conftest import POLICY, START, Desk, a_desk, volume


@pytest.fixture
def own_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    """A server with our streams and nothing in them."""
    with nats_server(tmp_path_factory.mktemp("nats")) as running:
        asyncio.run(streams.ensure(streams.Settings(nats_url=running.url)))
        yield running


@pytest.fixture
async def bus(own_nats: Nats) -> AsyncIterator[Bus]:
    """A rotator's connection."""
    async with connect(own_nats.url, name="rotator") as running:
        yield running


@pytest.fixture
async def lost(valkey: Valkey) -> AsyncIterator[Desk]:
    """A desk whose schedule has to be made."""
    async with a_desk(valkey, built=False) as running:
        yield running


async def tell(bus: Bus, *events: VolumePublished | VolumeUnpublished) -> None:
    """Nodes tell the bus."""
    for event in events:
        subject = volume_subject(event.node, event.volume_id)
        await bus.publish(subject, event.to_bytes(), destination="keyferry.volume")


async def counts(desk: Desk) -> tuple[int, int]:
    """Contents and volumes of the schedule."""
    taken = await desk.look()
    return taken.contents, taken.volumes


async def test_it_is_made_from_what_nodes_told(bus: Bus, lost: Desk) -> None:
    """Every volume that is there, none that has gone, and nothing for bytes that are no event."""
    await tell(bus, *(volume(f"v{n}", key=f"k{n % 7}") for n in range(100)), VolumeUnpublished("v3", "n1"))
    await bus.publish("keyferry.volume.n1.odd", b"\xff", destination="keyferry.volume")
    assert await Rebuild(lost.schedule, bus).ensure("me")
    assert await counts(lost) == (7, 99)
    assert await lost.schedule.built() == await bus.identity("VOLUMES")


async def test_what_is_whole_is_left_alone(bus: Bus, lost: Desk) -> None:
    """It is made once, not at every look."""
    rebuild = Rebuild(lost.schedule, bus)
    await rebuild.ensure("me")
    await tell(bus, volume("later"))
    assert await rebuild.ensure("me")
    assert await counts(lost) == (0, 0)


async def test_one_rotator_makes_it(bus: Bus, lost: Desk) -> None:
    """While one does, the others wait; when that one has died, its lock runs out."""
    assert await lost.schedule.lock("other", hold_ms=300)
    rebuild = Rebuild(lost.schedule, bus)
    assert not await rebuild.ensure("me")
    async with asyncio.timeout(20):
        while not await rebuild.ensure("me"):  # noqa: ASYNC110 - a lock tells nobody
            await asyncio.sleep(0.05)


async def between_steps(desk: Desk, rebuild: Rebuild, step: int, what: Callable[[], Awaitable[object]]) -> None:
    """Something happens to Redis while the schedule is made, before a step: whoever makes it notices."""
    fill = desk.schedule.fill

    async def interrupted(token: str, step_now: int, *told: Any, **how: Any) -> bool:
        if step_now == step:
            await what()
        return await fill(token, step_now, *told, **how)

    desk.schedule.fill = cast("Any", interrupted)  # type: ignore[method-assign] # the moment between two steps
    with pytest.raises(StoreUnavailable, match="lost while it was being made"):
        await rebuild.ensure("me")
    desk.schedule.fill = fill  # type: ignore[method-assign]


async def test_a_flush_while_it_is_made_is_noticed(bus: Bus, lost: Desk) -> None:
    """What was told before it is gone: the schedule is not taken for whole, and the next look makes it."""
    await tell(bus, *(volume(f"v{n}") for n in range(250)))
    rebuild = Rebuild(lost.schedule, bus)
    keys = (f"{lost.prefix}lock", f"{lost.prefix}volumes")
    await between_steps(lost, rebuild, 2, lambda: lost.store.call("DEL", *keys))
    assert not await lost.schedule.unlock("me", step=2, built="stream")
    assert await lost.schedule.built() == ""
    assert await rebuild.ensure("me")
    assert (await counts(lost))[1] == 250


async def test_an_older_state_while_it_is_made_is_noticed(bus: Bus, lost: Desk) -> None:
    """As a replica has it that takes over, or a log that was cut: the lock is still there, its last step is not."""
    await tell(bus, *(volume(f"v{n}") for n in range(250)))
    rebuild = Rebuild(lost.schedule, bus)

    async def older() -> None:
        lock = f"{lost.prefix}lock"
        assert await lost.store.call("GET", lock) == b"me 2"
        await lost.store.call("SET", lock, "me 1", "PX", 15_000)
        for key in ("volumes", "members:k"):
            await lost.store.call("HDEL", f"{lost.prefix}{key}", *(f"n1 v{n}" for n in range(100, 200)))

    await between_steps(lost, rebuild, 2, older)
    assert await lost.schedule.built() == ""
    assert await rebuild.ensure("me")
    assert (await counts(lost))[1] == 250


async def test_an_older_state_after_the_last_step_is_noticed(bus: Bus, lost: Desk) -> None:
    """The schedule is noted as made only where all steps are there."""
    await tell(bus, volume("a"))
    unlock = lost.schedule.unlock

    async def interrupted(token: str, **how: Any) -> bool:
        await lost.store.call("SET", f"{lost.prefix}lock", "me 0", "PX", 15_000)
        return await unlock(token, **how)

    lost.schedule.unlock = cast("Any", interrupted)  # type: ignore[method-assign] # the moment before the end
    assert not await Rebuild(lost.schedule, bus).ensure("me")
    lost.schedule.unlock = unlock  # type: ignore[method-assign]
    assert await lost.schedule.built() == ""
    assert await Rebuild(lost.schedule, bus).ensure("me")


async def test_it_is_made_with_a_rotators_rights(bus: Bus, tmp_path: Path) -> None:
    """No step of it needs a command or a key that the rotators' user does not have."""
    (tmp_path / "users.acl").write_text(acl_file(dict.fromkeys(STORE_USERS, "password")))
    await tell(bus, *(volume(f"v{n}") for n in range(250)))
    with valkey_server(tmp_path / "valkey", users=tmp_path / "users.acl") as own:
        async with connect_store(f"redis://rotator:password@127.0.0.1:{own.port}/0", name="rotator") as store:
            schedule = Schedule(store, POLICY)
            assert await Rebuild(schedule, bus).ensure("me")
            assert (await schedule.take("t", START, limit=1)).volumes == 250


async def test_another_stream_makes_it_anew(bus: Bus, lost: Desk) -> None:
    """A store that was filled from another bus, or from one that has been lost, lacks this one's volumes."""
    await lost.store.call("SET", f"{lost.prefix}built", "another")
    await tell(bus, volume("a"))
    assert await Rebuild(lost.schedule, bus).ensure("me")
    assert await counts(lost) == (1, 1)


async def test_words_that_come_meanwhile_are_not_undone(bus: Bus, lost: Desk) -> None:
    """A volume that was heard to leave while the stream was read stays away."""
    await tell(bus, volume("a"))
    lost.now = int(time.time() * 1000)
    await lost.gone("a", at_us=lost.now * 1000 + 1_000_000)
    await Rebuild(lost.schedule, bus).ensure("me")
    assert await counts(lost) == (0, 0)


async def test_a_store_that_goes_away_stops_it(bus: Bus, tmp_path_factory: pytest.TempPathFactory) -> None:
    """It is not taken for made, and the next look makes it."""
    with valkey_server(tmp_path_factory.mktemp("valkey")) as own:
        async with a_desk(own, built=False) as desk:
            rebuild = Rebuild(desk.schedule, bus)
            await tell(bus, volume("a"))
            own.process.kill()
            with pytest.raises(StoreUnavailable):
                await rebuild.ensure("me")
            own.process.start()
            async with asyncio.timeout(20):
                while not desk.store.is_connected:  # noqa: ASYNC110 - the store tells nobody
                    await asyncio.sleep(0.05)
            assert await rebuild.ensure("me")
            assert await counts(desk) == (1, 1)


async def test_a_sweep_drops_what_the_stream_has_forgotten(bus: Bus, lost: Desk) -> None:
    """Silent for half a day and gone from the stream; what the stream still has, or was just heard of, stays."""
    rebuild = Rebuild(lost.schedule, bus)
    await tell(bus, volume("kept", key="k1"))
    long_ago = int((time.time() - SILENT_SECONDS - 60) * 1e6)
    await lost.tell(volume("kept", key="k1"), at_us=long_ago)
    await lost.tell(volume("lost", key="k2"), at_us=long_ago)
    await lost.tell(volume("new", key="k3"), at_us=int(time.time() * 1e6))
    assert await rebuild.sweep() == 1
    assert await rebuild.sweep() == 0
    held = await lost.store.call("HKEYS", f"{lost.prefix}volumes")
    assert sorted(held) == [b"n1 kept", b"n1 new"]
