"""What processes cost, percentiles, and the table that people read."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


def cpu_ms(pid: int) -> float:
    """CPU time of a process so far, kernel's included and that of threads that have ended (proc(5), /proc/PID/stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_MS


def machine_cpu_ms() -> float:
    """CPU time of everything of this machine so far (proc(5), /proc/stat), that of others too."""
    user, nice, system, _idle, _wait, *rest = (int(each) for each in Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + sum(rest)) * _TICK_MS


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    return _status(pid, "VmRSS") / 1024


def threads(pid: int) -> int:
    """How many threads a process has."""
    return _status(pid, "Threads")


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@dataclass(frozen=True)
class Costs:
    """CPU milliseconds that each process has used since a moment."""

    pids: Mapping[str, int]
    before: Mapping[str, float]
    machine: float
    since: float

    @classmethod
    def start(cls, pids: Mapping[str, int]) -> Costs:
        """Begin to count; ``pids`` are the processes by name."""
        return cls(pids, {name: cpu_ms(pid) for name, pid in pids.items()}, machine_cpu_ms(), time.monotonic())

    @property
    def seconds(self) -> float:
        """How long that was ago."""
        return time.monotonic() - self.since

    @property
    def others_ms(self) -> float:
        """What the rest of the machine has used since, whoever it is."""
        return machine_cpu_ms() - self.machine - sum(self.each(1).values())

    def each(self, count: int) -> dict[str, float]:
        """Per one of ``count`` pieces of work done since."""
        return {name: (cpu_ms(pid) - self.before[name]) / max(1, count) for name, pid in self.pids.items()}


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed; not a number if there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else math.nan


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns under their names: the first to the left, the others to the right."""
    texts = [[_text(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(header))]
    lines = ["  ".join(_aligned(row, widths)) for row in texts]
    rule = "-" * len(lines[0])
    return "\n".join(("", title, rule, lines[0], rule, *lines[1:]))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *rest = zip(row, widths, strict=True)
    return [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]


def _text(cell: object) -> str:
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)
