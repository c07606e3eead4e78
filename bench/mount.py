"""Measures mounts as kubelet makes them: ``make bench-mount``, or ``python bench/mount.py [--quick]``.

Serial mounts, a storm of a thousand with a hundred at once, a backend that takes 50 ms, memory after ten thousand with
110 live; tracing on and off. A bare gRPC server called in the same pattern is the yardstick of the same run: the ratios
to it say more than milliseconds of a shared machine. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from cluster import SHARED, Cluster, Mount, mounts
from keyferry.kube import connect
from keyferry.proto.csi.v1 import csi_pb2
from measure import Costs, percentile, rss_mib, table, threads
from rig import NODE, Ground, Services, ground, where, wrong
from storm import Call, Outcome, as_kubelet, run, run_kept

_HEADER = ("", "p50 ms", "p99 ms", "max ms", "per s", "failed", "wrong", "left", "reads")
_CPU_HEADER = ("CPU ms per mount", "node-driver", "fetcher", "nats", "backend+collector", "client")


@dataclass(frozen=True)
class Size:
    """How much to measure."""

    serial: int
    storm: int
    soak: int
    live: int
    distinct: int

    @classmethod
    def of(cls, *, quick: bool) -> Size:
        """The full size of the issue, or a tenth of it for a look."""
        return cls(100, 300, 1000, 50, 50) if quick else cls(500, 1000, 10_000, 110, 200)


@dataclass(frozen=True)
class Row:
    """One measured row of mounts."""

    title: str
    outcome: Outcome
    cpu: dict[str, float]
    wrong: int
    left: int
    reads: int

    def cells(self) -> list[object]:
        """For the table of latencies."""
        times = self.outcome.latencies_ms
        worst = max(times, default=float("nan"))
        quality = [len(self.outcome.failures), self.wrong, self.left, self.reads]
        return [self.title, percentile(times, 50), percentile(times, 99), worst, self.outcome.per_second, *quality]

    def cpu_cells(self) -> list[object]:
        """For the table of CPU time."""
        return [self.title, *(self.cpu[name] for name in _CPU_HEADER[1:])]


class Measuring:
    """Mounts rows of volumes through running services, and takes each away again."""

    def __init__(self, base: Ground, services: Services, requests: Sequence[csi_pb2.NodePublishVolumeRequest]) -> None:
        self._base = base
        self._services = services
        self._requests = requests
        self._rows = 0

    async def row(
        self,
        title: str,
        count: int,
        *,
        at_once: int = 1,
        kept: bool = False,
        delay_ms: int = 0,
        classes: Sequence[str] = (SHARED,),
    ) -> Row:
        """Mount so many volumes, look into each, and unmount them."""
        self._rows += 1
        row = list(mounts(self._requests[:count], f"row-{self._rows}", classes=classes))
        calls = [as_kubelet(mount.publish) for mount in row]
        self._base.reset_backend(delay_ms=delay_ms)
        costs = Costs.start(self._services.pids)
        endpoint = self._services.node.endpoint
        outcome = await (run_kept(endpoint, calls) if kept else run(endpoint, calls, at_once=at_once))
        cpu = costs.each(count)
        bad = sum(wrong(mount, classes[number % len(classes)]) for number, mount in enumerate(row))
        reads = self._base.backend_counts().get("reads", 0)
        unmounted, left = await self._services.take_away(row)
        return Row(title, outcome, cpu, bad, left + len(unmounted.failures), reads)

    async def soak(self, total: int, live: int) -> list[list[object]]:
        """Mount and unmount until so many have been mounted, with the last ones live; memory on the way.

        Returns:
            Rows of mounts so far, resident MiB and threads of the node-driver.
        """
        pid = self._services.node.process.pid
        seen: list[list[object]] = []
        newest: list[Mount] = []
        for number in range(-(-total // live)):
            row = list(mounts(self._requests[:live], f"soak-{number}"))
            await self._services.take_away(newest)
            await run(self._services.node.endpoint, [as_kubelet(mount.publish) for mount in row], at_once=live)
            newest = row
            done = (number + 1) * live
            if not seen or done >= total or number % max(1, total // live // 5) == 0:
                seen.append([f"{done} mounted, {live} live", rss_mib(pid), threads(pid)])
        await self._services.take_away(newest)
        return seen


async def yardstick(base: Ground, count: int) -> dict[int, Row]:
    """The bare server, called in the same pattern: one at a time, and a hundred at once."""
    rows = {}
    with base.echo() as (endpoint, process):
        for at_once in (1, 100):
            costs = Costs.start({"node-driver": process.pid, "client": os.getpid()})
            outcome = await run(endpoint, [as_kubelet(Call("/bare/Echo", b"x" * 3000))] * count, at_once=at_once)
            cpu = {**dict.fromkeys(_CPU_HEADER[1:], 0.0), **costs.each(count)}
            rows[at_once] = Row(f"bare gRPC server, {at_once} at once", outcome, cpu, 0, 0, 0)
    return rows


async def measure(base: Ground, size: Size) -> None:
    """Run everything, print the tables and the JSON line."""
    bare = await yardstick(base, size.storm)
    async with connect(base.kube.kubeconfig) as kube:
        cluster = Cluster(kube, base.backend_url)
        await cluster.prepare()
        names = [f"own-{number}" for number in range(size.distinct)]
        for name in (*names, "slow-traced", "slow-untraced"):
            await cluster.add_class(name)
        pods = await cluster.pods(max(size.storm, size.serial, size.live), node=NODE)
        rows, memory = [], []
        for traced in (False, True):
            word = "traced" if traced else "untraced"
            with base.services(traced=traced) as services:
                node = services.node
                requests = await cluster.requests(pods, endpoint=node.endpoint, root=node.kubelet_root)
                measuring = Measuring(base, services, requests)
                await measuring.row("warm-up", 100, at_once=10)
                rows.append(await measuring.row(f"serial, {word}", size.serial))
                rows.append(await measuring.row(f"serial, kept connection, {word}", size.serial, kept=True))
                rows.append(await measuring.row(f"storm, {word}", size.storm, at_once=100))
                slow = f"slow-{word}"  # a class of its own, which no row before has fetched
                rows.append(
                    await measuring.row(
                        f"storm, 50 ms backend, {word}", size.storm, at_once=100, delay_ms=50, classes=(slow,)
                    )
                )
                rows.append(
                    await measuring.row(f"distinct contents, {word}", size.distinct, at_once=100, classes=names)
                )
                if traced:
                    memory = await measuring.soak(size.soak, size.live)
    _report(bare, rows, memory, size)


def _report(bare: dict[int, Row], rows: list[Row], memory: list[list[object]], size: Size) -> None:
    print(
        table(
            f"Mounts, three fresh connections each ({size.storm} in a storm, 100 at once)",
            _HEADER,
            [row.cells() for row in (*bare.values(), *rows)],
        )
    )
    print(table("CPU", _CPU_HEADER, [row.cpu_cells() for row in (*bare.values(), *rows)]))
    print(table("Memory of the node-driver, traced", ("", "RSS MiB", "threads"), memory))
    by_title = {row.title: row for row in rows}
    serial, storm = by_title["serial, traced"], by_title["storm, traced"]
    ratios = [
        ["serial p50", percentile(serial.outcome.latencies_ms, 50) / percentile(bare[1].outcome.latencies_ms, 50)],
        ["storm mounts per s", storm.outcome.per_second / bare[100].outcome.per_second],
        ["storm CPU of the node-driver", storm.cpu["node-driver"] / bare[100].cpu["node-driver"]],
    ]
    print(table("Ratios to the bare gRPC server of this run", ("traced", "ratio"), ratios))
    result = {
        "serial": {
            "p50_ms": round(percentile(serial.outcome.latencies_ms, 50), 2),
            "p99_ms": round(percentile(serial.outcome.latencies_ms, 99), 2),
        },
        "storm": {
            "mounts_per_s": round(storm.outcome.per_second, 1),
            "p99_ms": round(percentile(storm.outcome.latencies_ms, 99), 1),
            "failed": len(storm.outcome.failures) + storm.wrong,
            "left_mounted": storm.left,
        },
        "node_cpu_ms_per_mount": round(storm.cpu["node-driver"], 2),
        "node_rss_mib": memory[-1][1],
        "backend_calls": by_title["storm, 50 ms backend, traced"].reads,
        "ratio_to_bare_grpc": {str(name): round(float(str(ratio)), 2) for name, ratio in ratios},
    }
    print()
    print(json.dumps(result))


def main() -> int:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about a tenth of the work, for a look")
    size = Size.of(quick=parser.parse_args().quick)
    with tempfile.TemporaryDirectory(prefix="kfb", dir=where()) as folder, ground(Path(folder)) as base:
        uvloop.run(measure(base, size))
    return 0


if __name__ == "__main__":
    sys.exit(main())
