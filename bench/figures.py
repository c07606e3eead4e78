"""What `rotation.py` has measured, and the tables and the JSON line that say it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from fleet import CONTENTS
from measure import Costs, percentile, table
from observe import Changes, Round

STREAMS = ("VOLUMES", "FETCH", "CHANGES", "SYNC")
SERVICES = ("node-driver", "fetcher", "nats", "backend+collector", "client", "redis", "simulated nodes", "rotator")


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


def report(found: Sequence[Measured]) -> None:
    """Print the tables and the JSON line, which is about the last step."""
    for title, rows in (
        ("Rotation: a round of refreshes", _round_rows(found)),
        ("Changes: from the event to new bytes in files, ms", _change_rows(found)),
        ("Mounts, 20 a second, without rotation and beside it, ms", _mount_rows(found)),
        ("CPU ms for each volume refreshed, beyond that of the mounts", _cpu_rows(found)),
        ("RSS, MiB", [[name, *(each.rss[name] for each in found)] for name in SERVICES]),
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
    return [[name, *(each.cpu_ms(name) for each in found)] for name in SERVICES]


def _store_rows(found: Sequence[Measured]) -> list[list[object]]:
    rows: list[list[object]] = [
        ["Redis, MiB in use", *(each.redis[0] for each in found)],
        ["Redis, keys", *(each.redis[1] for each in found)],
    ]
    for name in STREAMS:
        rows.append([f"stream {name}, messages", *(each.streams[name][0] for each in found)])
        rows.append([f"stream {name}, MiB", *(each.streams[name][1] for each in found)])
    return rows
