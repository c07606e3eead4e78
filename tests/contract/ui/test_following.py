"""What is known of volumes and of the schedule, read with the rights that rotators have."""

from __future__ import annotations

import asyncio
import shlex
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import nats as nats_py
import pytest
from nats.aio.client import Client

from keyferry import streams
from keyferry.bus import connect
from keyferry.events import VolumeUnpublished
from keyferry.store import Store, connect_store
from keyferry.store_users import STORE_USERS, acl_file
from keyferry.subjects import volume_subject
from keyferry.testing.live_page import name_of, volume
from keyferry.testing.nats import nats_server
from keyferry.testing.valkey import Valkey
from rotator.schedule import PREFIX, Policy, Schedule
from rotator.ui.following import Following
from rotator.ui.scheduled import read_schedule
from rotator.words import Word


@dataclass
class Scene:
    """A stream that nobody else writes to, and who follows it."""

    following: Following
    nodes: Client

    async def publish(self, subject: str, payload: bytes) -> None:
        """Something is in the stream."""
        await self.nodes.jetstream().publish(subject, payload)


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[Store]:
    """As a rotator connects: with its user's rights, and no others."""
    rights = shlex.split(
        next(line for line in acl_file(dict.fromkeys(STORE_USERS, "pw")).splitlines() if " rotator " in line)
    )
    async with connect_store(valkey.url, name="admin") as admin:
        await admin.call("ACL", "SETUSER", *rights[1:])
    async with connect_store(f"redis://rotator:pw@127.0.0.1:{valkey.port}/0", name="page") as running:
        yield running


@pytest.fixture
async def scene(tmp_path_factory: pytest.TempPathFactory, store: Store) -> AsyncIterator[Scene]:
    """A stream without volumes."""
    with nats_server(tmp_path_factory.mktemp("nats")) as nats:
        await streams.ensure(streams.Settings(nats_url=nats.url))
        nodes = await nats_py.connect(nats.url)
        async with connect(nats.url, name="page") as bus:
            yield Scene(Following(bus, store, prefix=f"{PREFIX}{uuid.uuid4().hex}:"), nodes)
        await nodes.close()


async def test_each_step_reads_what_is_new(scene: Scene) -> None:
    """Volumes that came, changed and left, and what no node may have said; without news nothing changes."""
    web, job = volume("web"), volume("job")
    for each in (web, job):
        await scene.publish(volume_subject(each.node, each.volume_id), each.to_bytes())
    await scene.following.step()
    assert set(scene.following.volumes) == {name_of(web), name_of(job)}
    number = scene.following.number
    await scene.following.step()
    assert scene.following.number == number

    await scene.publish(volume_subject("node-a", job.volume_id), VolumeUnpublished(job.volume_id, "node-a").to_bytes())
    await scene.publish(volume_subject("node-b", job.volume_id), job.to_bytes())
    await scene.publish(volume_subject("node-a", "csi-x"), b"\xff\xff")
    await scene.following.step()
    assert set(scene.following.volumes) == {name_of(web)}
    assert (scene.following.number > number, scene.following.unreadable) == (True, 2)


async def test_a_stream_that_was_made_anew_is_read_anew(scene: Scene) -> None:
    """Its numbers begin again, and what the old one held is gone."""
    for name in ("a", "b", "c"):
        each = volume(name)
        await scene.publish(volume_subject(each.node, each.volume_id), each.to_bytes())
    await scene.following.step()
    stream = scene.nodes.jetstream()
    about = await stream.stream_info("VOLUMES")
    await stream.delete_stream("VOLUMES")
    await stream.add_stream(about.config)
    new = volume("new")
    await scene.publish(volume_subject(new.node, new.volume_id), new.to_bytes())

    await scene.following.step()
    assert set(scene.following.volumes) == {name_of(new)}


async def test_nothing_is_read_while_nobody_looks(scene: Scene) -> None:
    """From the first look on it is followed; before, nothing is asked for."""
    web = volume("web")
    await scene.publish(volume_subject(web.node, web.volume_id), web.to_bytes())
    running = asyncio.create_task(scene.following.run())
    await asyncio.sleep(0.1)
    assert (scene.following.number, scene.following.volumes) == (0, {})

    await scene.following.watched()
    assert set(scene.following.volumes) == {name_of(web)}
    running.cancel()


async def test_the_schedule_is_read_as_rotators_wrote_it(store: Store) -> None:
    """More than a page of it: when contents are due, how often, what was asked for, and who holds them."""
    prefix, now = f"{PREFIX}{uuid.uuid4().hex}:", int(time.time() * 1000)
    schedule = Schedule(store, Policy(interval_ms=60_000), prefix)
    for number in range(450):
        each = volume(f"v{number}", content_key=f"k{number // 2}", fetched_at_ms=now, refresh_by_ms=now + 1_000)
        await schedule.tell(Word(each, now * 1000), now)
    taken = await schedule.take("token", now + 1_000, limit=1)

    found = await read_schedule(store, prefix)

    assert len(found) == 225
    (claim,) = taken.claims
    assert found[claim.key].is_claimed
    assert found[claim.key].asked_ms == now + 1_000
    others = [each for key, each in found.items() if key != claim.key]
    assert {(each.due_ms, each.interval_ms, each.asked_ms, each.members, each.is_claimed) for each in others} == {
        (now + 1_000, 60_000, 0, 2, False)
    }
