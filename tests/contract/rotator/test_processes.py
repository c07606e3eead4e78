"""Three rotators as they are deployed, on a real bus and a real store, while things break."""

from __future__ import annotations

import asyncio
import secrets
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path

import nats as nats_py
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from keyferry import streams
from keyferry.bus import connect
from keyferry.changes import BackendChanged, EndContent, RefreshVolumes
from keyferry.events import VolumePublished, VolumeRefreshed, VolumeUnpublished
from keyferry.store import connect_store
from keyferry.subjects import END_SUBJECT, change_subject, volume_subject
from keyferry.testing.nats import Nats, nats_server
from keyferry.testing.services import Service, rotator
from keyferry.testing.valkey import Valkey, valkey_server
from rotator.schedule import Policy, Schedule

from .conftest import replaced, volume

INTERVAL = 4.0
CLAIM = Policy().claim_ms / 1000
CONTENTS, NODES = 12, 3


class Nodes:
    """All nodes: they answer hints, and note when each content was hinted."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.held: dict[str, VolumePublished] = {}
        self.heard: dict[str, list[float]] = defaultdict(list)
        self.rounds: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.answering = True

    async def listen(self) -> None:
        """Begin."""
        await self._client.subscribe("keyferry.refresh.*", cb=self._hinted)
        await self._client.flush()

    async def publish(self, count: int = CONTENTS) -> None:
        """A volume on each node for each content."""
        for n in range(count):
            for node in range(NODES):
                now = int(time.time() * 1000)
                about = volume(f"v{n}-{node}", key=f"k{n}", node=f"n{node}", fetched=now, sources=(f"secret/data/{n}",))
                await self.say(about, about.to_bytes())

    async def say(self, about: VolumePublished, payload: bytes) -> None:
        """A word on a volume."""
        self.held[about.volume_id] = about
        await self._client.jetstream().publish(volume_subject(about.node, about.volume_id), payload)

    async def lose(self, name: str) -> None:
        """A volume is unpublished."""
        about = self.held.pop(name)
        gone = VolumeUnpublished(name, about.node)
        await self._client.jetstream().publish(volume_subject(about.node, name), gone.to_bytes())

    async def _hinted(self, message: Msg) -> None:
        for due in RefreshVolumes.from_bytes(message.data).due:
            for name in due.volume_ids:
                self.heard[due.content_key].append(time.time())
                self.rounds[due.content_key, name].append(due.not_before_ms)
                if self.answering and name in self.held:  # no node answers for a volume that it has no more
                    fetched = replaced(self.held[name], max(int(time.time() * 1000), due.not_before_ms))
                    await self.say(fetched, VolumeRefreshed(fetched, changed=False).to_bytes())

    def since(self, when: float) -> dict[str, float]:
        """When each content was first hinted after a time."""
        return {
            key: min(each for each in times if each > when)
            for key, times in self.heard.items()
            if max(times, default=0.0) > when
        }


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Nodes]:
    """Nodes that answer, as long as the block lasts."""
    client = await nats_py.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    try:
        nodes = Nodes(client)
        await nodes.listen()
        yield nodes
    finally:
        await client.close()


class Deployment:
    """Servers and three rotators."""

    def __init__(self, nats: Nats, valkey: Valkey, rotators: list[Service]) -> None:
        self.nats = nats
        self.valkey = valkey
        self.rotators = rotators

    def count(self, metric: str) -> float:
        """A counter, over all rotators that run."""
        total = 0.0
        for each in self.rotators:
            if each.process.is_running:
                text = urllib.request.urlopen(f"{each.http}/metrics", timeout=10).read().decode()  # noqa: S310 - ours
                total += sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(metric))
        return total


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """Three rotators with a short interval."""
    env = {"KEYFERRY_ROTATION_INTERVAL": f"{INTERVAL}s", "KEYFERRY_ROTATION_END_AFTER": "1s"}
    with ExitStack() as running:
        nats = running.enter_context(nats_server(tmp_path / "nats"))
        valkey = running.enter_context(valkey_server(tmp_path / "valkey"))
        asyncio.run(streams.ensure(streams.Settings(nats_url=nats.url)))
        rotators = [
            running.enter_context(rotator(tmp_path, nats_url=nats.url, redis_url=valkey.url, env=env)) for _ in range(3)
        ]
        yield Deployment(nats, valkey, rotators)


async def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - other processes tell nobody
            await asyncio.sleep(0.05)


async def test_in_the_steady_state_every_content_is_hinted_once_an_interval(deployment: Deployment) -> None:
    """By whichever rotator, and by no other in the same round."""
    async with listening(deployment.nats.url) as nodes:
        await nodes.publish()
        await until(lambda: min(len(nodes.rounds[f"k{n}", f"v{n}-0"]) for n in range(CONTENTS)) >= 4)
    twice = sum(len(asked) - len(set(asked)) for asked in nodes.rounds.values())
    assert twice < sum(map(len, nodes.rounds.values())) / 10  # where this machine stood still for a second
    for asked in nodes.rounds.values():
        pauses = [later - earlier for earlier, later in pairwise(sorted(set(asked))[1:])]
        assert all(pause >= 0.9 * INTERVAL * 1000 - 1 for pause in pauses)
    assert deployment.count("keyferry_rotation_claims_lost_total") == 0


async def test_a_rotator_that_dies_in_the_middle_delays_a_round_and_loses_none(deployment: Deployment) -> None:
    """What it had taken is hinted by the others once its claim has run out."""
    async with listening(deployment.nats.url) as nodes, connect_store(deployment.valkey.url, name="dying") as store:
        await nodes.publish()
        await until(lambda: len(nodes.heard) == CONTENTS)
        dying = Schedule(store, Policy(interval_ms=int(INTERVAL * 1000)))
        taken: list[str] = []
        while not taken:
            claims = (await dying.take(secrets.token_hex(4), int(time.time() * 1000), limit=100)).claims
            taken = [claim.key for claim in claims]
            await asyncio.sleep(0.01)
        deployment.rotators[0].process.kill()
        died = time.time()
        await until(lambda: len(nodes.since(died)) == CONTENTS)
        late = nodes.since(died)
    assert max(late.values()) < died + 1.1 * INTERVAL + CLAIM + 5
    assert deployment.count("keyferry_rotation_claims_lost_total") >= 1


async def test_a_schedule_that_was_lost_is_made_again(deployment: Deployment) -> None:
    """After Redis came back empty every content is hinted within an interval, and a change finds what it concerns."""
    async with listening(deployment.nats.url) as nodes, connect(deployment.nats.url, name="source") as bus:
        await nodes.publish()
        await until(lambda: len(nodes.heard) == CONTENTS)
        await asyncio.to_thread(deployment.valkey.process.restart)
        back = time.time()
        change = BackendChanged("vault", ("secret/data/3",), int(back * 1000), "e-1")
        await bus.publish(change_subject("vault"), change.to_bytes(), destination="keyferry.change")
        await until(lambda: len(nodes.since(back)) == CONTENTS)
        asked = nodes.rounds["k3", "v3-0"]
        await until(lambda: max(asked) >= back * 1000)
    assert deployment.count('keyferry_rotation_rebuilds_total{outcome="built"}') == 2
    assert deployment.count('keyferry_rotation_changes_total{outcome="due",provider="vault"}') == 1


async def test_a_bus_that_was_away_is_caught_up_with(deployment: Deployment) -> None:
    """Volumes and changes that were told while rotators could not hear are heard, and rounds go on."""
    async with listening(deployment.nats.url) as nodes:
        await nodes.publish()
        await until(lambda: len(nodes.heard) == CONTENTS)
        await asyncio.to_thread(deployment.nats.process.kill)
        await asyncio.sleep(1)
        await asyncio.to_thread(deployment.nats.process.start)
        back = time.time()
        await until(lambda: len(nodes.since(back)) == CONTENTS)
        await until(lambda: all(ready(each) for each in deployment.rotators))


async def test_what_is_said_while_redis_is_away_is_not_lost(deployment: Deployment) -> None:
    """Rotators say so, wait, and take it in when Redis is back; even the end of a content."""
    async with listening(deployment.nats.url) as nodes, connect(deployment.nats.url, name="fetcher") as bus:
        await nodes.publish(2)
        await until(lambda: deployment.count("keyferry_rotation_volumes") >= 2 * NODES)
        deployment.valkey.process.pause()
        await until(lambda: not any(ready(each) for each in deployment.rotators))
        late = volume("late", key="late", node="n9", fetched=int(time.time() * 1000))
        await nodes.say(late, late.to_bytes())
        for node in range(NODES):
            await nodes.lose(f"v0-{node}")
        await asyncio.sleep(2)
        deployment.valkey.process.resume()
        await until(lambda: "late" in nodes.heard)
        ended: asyncio.Queue[EndContent] = asyncio.Queue()
        ending = asyncio.create_task(
            bus.consume(streams.ENDINGS, lambda delivery: _put(ended, delivery.payload), concurrency=1)
        )
        assert (await asyncio.wait_for(ended.get(), 30)).content_key == "k0"
        ending.cancel()


async def test_an_end_is_told_once_and_outlives_rotators(deployment: Deployment) -> None:
    """It is kept in the schedule: whoever is there when it is due tells it."""
    async with listening(deployment.nats.url) as nodes:
        await nodes.publish(1)
        await until(lambda: deployment.count("keyferry_rotation_volumes") >= NODES)
        for node in range(NODES):
            await nodes.lose(f"v0-{node}")
        await until(lambda: deployment.count('keyferry_rotation_volume_events_total{outcome="left"}') == NODES)
        for each in deployment.rotators[:2]:
            each.process.kill()
        stream = nodes._client.jetstream()
        async with asyncio.timeout(30):
            while (await stream.stream_info("FETCH")).state.messages == 0:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.05)
        await asyncio.sleep(2 * INTERVAL)
        assert (await stream.stream_info("FETCH")).state.last_seq == 1
        message = await stream.get_msg("FETCH", 1)
    assert message.subject == END_SUBJECT
    assert EndContent.from_bytes(message.data or b"").content_key == "k0"


async def _put(queue: asyncio.Queue[EndContent], payload: bytes) -> None:
    queue.put_nowait(EndContent.from_bytes(payload))


def ready(service: Service) -> bool:
    """What /readyz says."""
    try:
        urllib.request.urlopen(f"{service.http}/readyz", timeout=5).close()  # noqa: S310 - ours
    except urllib.error.HTTPError as error:
        error.close()
        return False
    return True
