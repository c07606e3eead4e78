"""Measures rotation: ``make bench-rotation``, or ``python bench/rotation.py [--quick]``.

First ten nodes, then a hundred, each with a volume of every one of a hundred contents: one real node-driver and
simulated ones on the real bus, with a real rotator, fetcher and Redis. One round of refreshes with mounts beside it,
and mounts without a rotator; then changes in the backend, until they are in files. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import nats
import redis
import uvloop
from nats.js import JetStreamContext

from cluster import Cluster
from figures import STREAMS, Load, Measured, Step, report
from fleet import CLASSES, Fleet, fleet, unmounted
from keyferry.kube import connect
from keyferry.testing.valkey import Valkey, valkey_server
from measure import Costs, rss_mib
from observe import Mounting, Round, changes, next_round, spread_out
from rig import Ground, Services, ground, where

_WARM_SECONDS = 3.0


class Rotating:
    """Everything that a step is measured on."""

    def __init__(self, base: Ground, services: Services, valkey: Valkey, nodes: Fleet, bus: JetStreamContext) -> None:
        self._base = base
        self._services = services
        self._valkey = valkey
        self._fleet = nodes
        self._bus = bus
        self._pids = services.pids | {"redis": valkey.process.pid, "simulated nodes": nodes.pid}

    async def measure(self, step: Step) -> Measured:
        """Let the fleet grow, and measure it without a rotator and with one."""
        volumes, failures = await self._fleet.grow(step.nodes)
        if volumes != step.volumes:
            raise RuntimeError(f"{volumes} volumes of {step.volumes} are there: {failures[:3]}")
        mounting = Mounting(self._services.node.endpoint, self._fleet.requests)
        await mounting.for_seconds(_WARM_SECONDS)
        alone = await self._alone(step, mounting)
        with ExitStack() as running:
            start = time.time()
            rotator = running.enter_context(
                self._base.rotator(self._valkey.url, interval=step.interval, spread=step.spread, traced=True)
            )
            built = time.time() - start
            pids = self._pids | {"rotator": rotator.process.pid}
            await spread_out(self._bus, step.spread)
            around, beside, settled = await self._round(step, mounting, pids)
            changed = await changes(self._base, self._fleet, self._bus, CLASSES[: step.changes], nodes=step.nodes)
            rss = {name: rss_mib(pid) for name, pid in pids.items()}
            sizes = self._redis_size(), await self._stream_sizes()
        _, failed = await self._fleet.notes()
        return Measured(
            step=step,
            built_seconds=built,
            round=around,
            settled=settled,
            alone=alone,
            beside=beside,
            changes=changed,
            rss=rss,
            redis=sizes[0],
            streams=sizes[1],
            wrong=await self._fleet.wrong(),
            failures=[*failures, *failed, *mounting.failures],
        )

    async def _alone(self, step: Step, mounting: Mounting) -> Load:
        costs, since = Costs.start(self._pids), time.time()
        await mounting.for_seconds(step.alone)
        return Load.of(costs, mounting.between(since, time.time()))

    async def _round(self, step: Step, mounting: Mounting, pids: dict[str, int]) -> tuple[Round, Load, list[float]]:
        """A round of refreshes with mounts beside it, and how long after a content's call each volume was done."""
        stop = asyncio.Event()
        await self._fleet.notes()
        self._base.reset_backend()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(mounting.until(stop))
            costs = Costs.start(pids)
            around = await next_round(self._base, interval=step.interval)
            calls = around.calls
            beside = Load.of(costs, mounting.between(calls[0], calls[-1]))
            stop.set()
        refreshed, _ = await self._fleet.notes()
        took = [(at - around.reads[name][0]) * 1000 for name, at, _ in refreshed]
        return around, beside, [each for each in took if 0 <= each < step.interval / 2 * 1000]

    def _redis_size(self) -> tuple[float, int]:
        with redis.Redis.from_url(self._valkey.url) as client:
            return client.info("memory")["used_memory"] / 1024**2, client.dbsize()

    async def _stream_sizes(self) -> dict[str, tuple[int, float]]:
        states = {name: (await self._bus.stream_info(name)).state for name in STREAMS}
        return {name: (state.messages, state.bytes / 1024**2) for name, state in states.items()}


async def measure(base: Ground, valkey: Valkey, steps: Sequence[Step]) -> list[Measured]:
    """Run all steps on one cluster that grows."""
    async with connect(base.kube.kubeconfig) as kube:
        cluster = Cluster(kube, base.backend_url)
        await cluster.prepare()
        for name in CLASSES:
            await cluster.add_class(name)
        client = await nats.connect(base.nats_url)
        with base.services(traced=True, redis_url=valkey.url) as services:
            async with fleet(base, services, cluster) as nodes:
                rotating = Rotating(base, services, valkey, nodes, client.jetstream())
                found = [await rotating.measure(step) for step in steps]
        await client.close()
        return found


def main() -> int:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, for a look")
    steps = Step.all(quick=parser.parse_args().quick)
    with (
        tempfile.TemporaryDirectory(prefix="kfb", dir=where()) as folder,
        unmounted(Path(folder)),
        ground(Path(folder), run=("node-driver", "fetcher", "rotator")) as base,
        valkey_server(Path(folder) / "valkey") as valkey,
    ):
        report(uvloop.run(measure(base, valkey, steps)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
