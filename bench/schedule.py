"""Measures what a rotator costs, alone: ``python bench/schedule.py [--quick] [--traced]``.

A rotator that has heard of none of ten thousand volumes, in a hundred contents; then one whose Redis has lost its
schedule; then one word for each volume; then a round of hints, each answered by a word. Bus, Redis and rotator are
real, nodes only answer. CPU is of whole processes, and can be compared while others use the machine too; seconds
cannot. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import nats
import redis.asyncio as redis
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg

from keyferry.changes import BackendChanged, RefreshVolumes
from keyferry.events import VolumePublished, VolumeRefreshed
from keyferry.resources import ObjectVersion, Pod
from keyferry.streams import SCHEDULE_VOLUMES
from keyferry.subjects import change_subject, hint_subject, volume_subject
from keyferry.testing import services
from keyferry.testing.nats import nats_server
from keyferry.testing.ports import free_port
from keyferry.testing.processes import answers, server
from keyferry.testing.valkey import Valkey, valkey_server
from measure import Costs, table
from rig import where

_CONTENTS = 100
_INTERVAL, _SPREAD, _LATE = 3600.0, 20.0, 0.8
"""Seconds: nothing is due by itself while this measures; a round takes so long, and nodes so long for an answer."""
_NAMES = ("rotator", "redis", "nats")
_PREFIX = "keyferry:rotation:"
_STUB = Path(__file__).parent / "stub.py"


@dataclass(frozen=True)
class Row:
    """How long something took, and the CPU milliseconds of each process."""

    title: str
    seconds: float
    cpu: dict[str, float]

    def cells(self, volumes: int) -> list[object]:
        """For the table: microseconds for each volume."""
        return [self.title, self.seconds, *(1000 * self.cpu[name] / volumes for name in _NAMES)]


def volume(number: int, fetched_ms: int) -> VolumePublished:
    """A volume of one of the contents, a hundred on a node."""
    name = f"content-{number % _CONTENTS}"
    return VolumePublished(
        volume_id=f"csi-{number:064x}",
        node=f"node-{number // _CONTENTS}",
        pod=Pod("bench", f"pod-{number}", f"00000000-0000-0000-0000-{number:012}", "default"),
        secret_provider_class=name,
        target_path=f"/var/lib/kubelet/pods/{number}/volumes/kubernetes.io~csi/secrets/mount",
        provider="vault",
        content_key=f"{number % _CONTENTS:032x}",
        digest=b"d" * 32,
        fetched_at_ms=fetched_ms,
        versions=tuple(ObjectVersion(f"secret/data/{name}#key-{each}", "1") for each in range(5)),
        sources=(f"secret/data/{name}",),
    )


class Telling:
    """Tells of all volumes, and waits until a rotator has heard it."""

    def __init__(self, client: Client, valkey: Valkey, volumes: int) -> None:
        self._client = client
        self._store = redis.Redis.from_url(valkey.url)
        self._volumes = volumes

    async def tell(self, *, refreshed: bool) -> None:
        """A word on each volume."""
        context, now_ms = self._client.jetstream(), int(time.time() * 1000)
        limit = asyncio.Semaphore(256)

        async def publish(number: int) -> None:
            each = volume(number, now_ms)
            event = VolumeRefreshed(each, changed=False) if refreshed else each
            async with limit:
                await context.publish(volume_subject(each.node, each.volume_id), event.to_bytes())

        await asyncio.gather(*map(publish, range(self._volumes)))

    async def lose(self) -> None:
        """Let Redis lose the schedule."""
        await self._store.flushall()

    async def built(self) -> None:
        """Wait until the schedule is said to be complete.

        Raises:
            RuntimeError: it is not.
        """
        while not await self._store.exists(f"{_PREFIX}built"):  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.02)
        if (there := await self._store.hlen(f"{_PREFIX}volumes")) != self._volumes:
            raise RuntimeError(f"{there} volumes of {self._volumes} are in the schedule")

    async def refresh(self) -> None:
        """Have every volume hinted, answer each hint, and wait until that has been heard."""
        waiting = set(range(self._volumes))
        async with asyncio.TaskGroup() as answers:

            async def answer(volume_id: str, not_before_ms: int) -> None:
                await asyncio.sleep(random.uniform(0, _LATE))  # noqa: S311 - no secret
                number = int(volume_id.removeprefix("csi-"), 16)
                each = volume(number, max(not_before_ms, int(time.time() * 1000)))
                payload = VolumeRefreshed(each, changed=False).to_bytes()
                await self._client.publish(volume_subject(each.node, each.volume_id), payload)
                waiting.discard(number)

            async def hinted(message: Msg) -> None:
                for due in RefreshVolumes.from_bytes(message.data).due:
                    for volume_id in due.volume_ids:
                        answers.create_task(answer(volume_id, due.not_before_ms))

            subscription = await self._client.subscribe(hint_subject("*"), cb=hinted)
            event = BackendChanged("vault", (), 0, uuid.uuid4().hex)
            await self._client.jetstream().publish(change_subject("vault"), event.to_bytes())
            while waiting:  # noqa: ASYNC110 - seconds of a bench
                await asyncio.sleep(0.05)
            await subscription.unsubscribe()
        await self.heard()

    async def heard(self) -> None:
        """Wait until the rotators' consumer has nothing left."""
        context = self._client.jetstream()
        while True:
            about = await context.consumer_info(SCHEDULE_VOLUMES.stream, SCHEDULE_VOLUMES.durable)
            if not about.num_pending and not about.num_ack_pending:
                return
            await asyncio.sleep(0.05)


async def measured(title: str, pids: dict[str, int], *steps: Callable[[], Awaitable[None]]) -> Row:
    """What the steps took and cost."""
    costs, start = Costs.start(pids), time.perf_counter()
    for step in steps:
        await step()
    return Row(title, time.perf_counter() - start, costs.each(1))


@asynccontextmanager
async def telling(nats_url: str, valkey: Valkey, volumes: int) -> AsyncIterator[Telling]:
    """A connection to the bus, for as long as the block lasts."""
    client = await nats.connect(nats_url)
    try:
        yield Telling(client, valkey, volumes)
    finally:
        await client.close()


async def measure(folder: Path, volumes: int, *, traced: bool) -> Sequence[Row]:
    """All rows."""
    with ExitStack() as running:
        bus, valkey = (
            running.enter_context(nats_server(folder / "nats")),
            running.enter_context(valkey_server(folder / "valkey")),
        )
        await asyncio.to_thread(services.prepare, bus.url, folder / "keys")
        env = {"KEYFERRY_ROTATION_INTERVAL": f"{_INTERVAL}s", "KEYFERRY_ROTATION_CHANGE_SPREAD": f"{_SPREAD}s"}
        if traced:
            port = free_port()
            env["OTEL_EXPORTER_OTLP_ENDPOINT"] = url = f"http://127.0.0.1:{port}"
            argv: list[str | Path] = [sys.executable, _STUB, str(port)]
            ready = answers(f"{url}/counts")
            running.enter_context(server(argv, name="stub", log=folder / "stub.log", ready=ready))
        async with telling(bus.url, valkey, volumes) as nodes:
            await nodes.tell(refreshed=False)
            start = time.perf_counter()
            costs = Costs.start({"redis": valkey.process.pid, "nats": bus.process.pid})
            rotator = running.enter_context(
                services.rotator(folder, nats_url=bus.url, redis_url=valkey.url, env=env)
            )  # it returns when /readyz says that the schedule is complete
            pids = {"rotator": rotator.process.pid, "redis": valkey.process.pid, "nats": bus.process.pid}
            await nodes.built()
            spent = Costs({"rotator": pids["rotator"]}, {"rotator": 0.0}, 0.0, 0.0).each(1) | costs.each(1)
            first = Row("first start", time.perf_counter() - start, spent)
            await nodes.heard()
            lost = await measured("schedule lost", pids, nodes.lose, nodes.built)

            async def refreshed() -> None:
                await nodes.tell(refreshed=True)

            words = await measured("a word on each", pids, refreshed, nodes.heard)
            return [first, lost, words, await measured("a round of refreshes", pids, nodes.refresh)]


def main() -> int:
    """Parse the command line, measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, for a look")
    parser.add_argument("--traced", action="store_true", help="with a collector for traces")
    args = parser.parse_args()
    volumes = 1_000 if args.quick else 10_000
    with tempfile.TemporaryDirectory(prefix="kfb", dir=where()) as folder:
        rows = uvloop.run(measure(Path(folder), volumes, traced=args.traced))
    header = ("", "seconds", *(f"{name}, CPU us a volume" for name in _NAMES))
    print(table(f"Words on {volumes} volumes of {_CONTENTS} contents", header, [row.cells(volumes) for row in rows]))
    print()
    print(json.dumps({row.title: {"seconds": round(row.seconds, 2), "cpu_ms": row.cpu} for row in rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
