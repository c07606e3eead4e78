"""Measures rotation: ``make bench-rotation``, or ``python bench/rotation.py [--quick]``.

First ten nodes, then a hundred, each with a volume of every one of a hundred contents: one real node-driver and
simulated ones on the real bus, with a real rotator, fetcher and Redis. One round of refreshes with mounts beside it,
and mounts without a rotator; then changes in the backend, until they are in files. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import nats
import redis
import uvloop
from nats.js import JetStreamContext

from cluster import Cluster
from fleet import CLASSES, CONTENTS, Fleet, fleet, unmounted
from keyferry.kube import connect
from keyferry.testing.valkey import Valkey, valkey_server
from measure import Costs, percentile, rss_mib, table
from observe import Changes, Mounting, Round, changes, next_round, spread_out
from rig import Ground, Services, ground, where

_STREAMS = ("VOLUMES", "FETCH", "CHANGES", "SYNC")
_SERVICES = ("node-driver", "fetcher", "nats", "backend+collector", "client", "redis", "simulated nodes", "rotator")
_WARM_SECONDS = 3.0


@dataclass(frozen=True)
class Step:
    """How much to measure: nodes, seconds between refreshes, seconds of mounts without a rotator, and changes."""

    nodes: int
    interval: float
    alone: float
    changes: int

    @property
    def volumes(self) -> int:
        """On all nodes."""
        return self.nodes * CONTENTS

    @property
    def spread(self) -> float:
        """Seconds; the round before the measured one ends before that begins, for jitter is a tenth."""
        return 0.8 * self.interval

    @classmethod
    def all(cls, *, quick: bool) -> Sequence[Step]:
        """The full sizes at the interval that is the default, or a tenth of them for a look."""
        if quick:
            return (cls(2, 8.0, 3.0, 3), cls(10, 12.0, 5.0, 10))
        return (cls(10, 30.0, 10.0, 10), cls(100, 120.0, 20.0, 30))


@dataclass(frozen=True)
class Load:
    """Mounts of a time, in milliseconds, and the CPU milliseconds a second of each process, and of all others."""

    seconds: float
    mounts: list[float]
    cpu: dict[str, float]
    others: float

    @classmethod
    def of(cls, costs: Costs, mounts: list[float]) -> Load:
        """Since costs were begun to be counted."""
        spent = {name: ms / costs.seconds for name, ms in costs.each(1).items()}
        return cls(costs.seconds, mounts, spent, costs.others_ms / costs.seconds)


@dataclass(frozen=True)
class Measured:
    """What a step showed; latencies in milliseconds, sizes in MiB.

    Attributes:
        step: What was measured.
        built_seconds: From a rotator's start until its schedule was complete.
        round: The backend's calls.
        settled: From a content's call to each of its volumes refreshed, on simulated nodes.
        alone, beside: Mounts without a rotator, and beside the round.
        changes: From events to files.
        rss: Of each process.
        redis: In use, and keys.
        streams: Messages, and their size.
        wrong: Volumes that do not hold what the backend has.
        failures: Why something was refused.
    """

    step: Step
    built_seconds: float
    round: Round
    settled: list[float]
    alone: Load
    beside: Load
    changes: Changes
    rss: dict[str, float]
    redis: tuple[float, int]
    streams: dict[str, tuple[int, float]]
    wrong: int
    failures: list[str]

    @property
    def mount_p99_ratio(self) -> float:
        """With rotation to without."""
        return percentile(self.beside.mounts, 99) / percentile(self.alone.mounts, 99)

    def cpu_ms(self, name: str) -> float:
        """What a process spent on each volume refreshed: all that it did not spend without a rotator."""
        spent = self.beside.cpu[name] - self.alone.cpu.get(name, 0.0)
        return spent * self.beside.seconds / len(self.settled)


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
        states = {name: (await self._bus.stream_info(name)).state for name in _STREAMS}
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


def report(found: Sequence[Measured]) -> None:
    """Print the tables and the JSON line, which is about the last step."""
    for title, rows in (
        ("Rotation: a round of refreshes", _round_rows(found)),
        ("Changes: from the event to new bytes in files, ms", _change_rows(found)),
        ("Mounts, 20 a second, without rotation and beside it, ms", _mount_rows(found)),
        ("CPU ms for each volume refreshed, beyond that of the mounts", _cpu_rows(found)),
        ("RSS, MiB", [[name, *(each.rss[name] for each in found)] for name in _SERVICES]),
        ("Stores", _store_rows(found)),
    ):
        print(table(title, ("", *(f"{each.step.volumes} volumes" for each in found)), rows))
    for each in found:
        for failure in each.failures[:5]:
            print(f"failed, of {len(each.failures)} at {each.step.volumes} volumes: {failure}")
    last = found[-1]
    result = {
        "backend_calls": len(last.round.calls),
        "contents": CONTENTS,
        "change_to_bytes_p99_ms": round(percentile(last.changes.simulated + last.changes.real, 99)),
        "mount_p99_ratio": round(last.mount_p99_ratio, 2),
        "rotator_rss_mib": round(last.rss["rotator"], 1),
        "fetcher_rss_mib": round(last.rss["fetcher"], 1),
    }
    print()
    print(json.dumps(result))


def _round_rows(found: Sequence[Measured]) -> list[list[object]]:
    return [
        ["interval, s", *(each.step.interval for each in found)],
        ["backend calls", *(len(each.round.calls) for each in found)],
        ["contents", *(len(each.round.reads) for each in found)],
        ["from first to last call, s", *(each.round.seconds for each in found)],
        ["most calls in one second", *(each.round.busiest for each in found)],
        ["volumes refreshed on simulated nodes", *(len(each.settled) for each in found)],
        ["backend call to refreshed p50, ms", *(percentile(each.settled, 50) for each in found)],
        ["backend call to refreshed p99, ms", *(percentile(each.settled, 99) for each in found)],
        ["rotator start to schedule complete, s", *(each.built_seconds for each in found)],
        ["refreshes and mounts failed", *(len(each.failures) for each in found)],
        ["volumes with wrong files at the end", *(each.wrong for each in found)],
    ]


def _change_rows(found: Sequence[Measured]) -> list[list[object]]:
    rows: list[list[object]] = [["changes", *(each.step.changes for each in found)]]
    for name, values in (
        ("simulated nodes", [each.changes.simulated for each in found]),
        ("real node", [each.changes.real for each in found]),
    ):
        rows.append([f"{name}: volumes", *map(len, values)])
        rows += [[f"{name}: p{percent}", *(percentile(each, percent) for each in values)] for percent in (50, 99, 100)]
    return [*rows, ["volumes that did not get there", *(each.changes.missing for each in found)]]


def _mount_rows(found: Sequence[Measured]) -> list[list[object]]:
    rows: list[list[object]] = []
    for name, loads in (("without", [each.alone for each in found]), ("beside", [each.beside for each in found])):
        values = [load.mounts for load in loads]
        rows.append([f"{name}: CPU of the rest of the machine, % of a core", *(load.others / 10 for load in loads)])
        rows.append([f"{name}: mounts", *map(len, values)])
        rows += [[f"{name}: p{percent}", *(percentile(each, percent) for each in values)] for percent in (50, 90, 99)]
    return [*rows, ["p99 ratio", *(each.mount_p99_ratio for each in found)]]


def _cpu_rows(found: Sequence[Measured]) -> list[list[object]]:
    return [[name, *(each.cpu_ms(name) for each in found)] for name in _SERVICES]


def _store_rows(found: Sequence[Measured]) -> list[list[object]]:
    rows: list[list[object]] = [
        ["Redis, MiB in use", *(each.redis[0] for each in found)],
        ["Redis, keys", *(each.redis[1] for each in found)],
    ]
    for name in _STREAMS:
        rows.append([f"stream {name}, messages", *(each.streams[name][0] for each in found)])
        rows.append([f"stream {name}, MiB", *(each.streams[name][1] for each in found)])
    return rows


if __name__ == "__main__":
    sys.exit(main())
