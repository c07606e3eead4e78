"""Measures what a fetch costs at each backend: ``make bench-fetch``, or ``python bench/fetch.py [--quick]``.

One process asks, a provider after the other, through its real SDK; another answers without latency, so the CPU time of
the first is what a fetch costs a fetcher. Classes of one object and of ten; tokens and connections are warm, as they
are but for a workload's first fetch. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from backends import COUNTS

from environments import environment
from fetcher.provider import Provider, ProviderRequest
from fetcher.providers import open_providers
from keyferry.resources import Pod
from measure import table

_AT_ONCE, _WARM = 32, 100
_HEADER = ("", "objects", "fetches/s", "per core and s", "CPU ms", "times a bare call")


@dataclass(frozen=True)
class Row:
    """What fetches of one backend cost."""

    backend: str
    objects: int
    per_second: float
    cpu_ms: float

    @property
    def per_core(self) -> float:
        """Fetches per second of a core that does nothing else."""
        return 1000 / self.cpu_ms

    def json(self) -> Mapping[str, float]:
        """For the last line."""
        return {"fetches_per_s_per_core": round(self.per_core), "cpu_ms_per_fetch": round(self.cpu_ms, 3)}


async def measured(backend: str, objects: int, fetches: int, fetch: Callable[[], Awaitable[object]]) -> Row:
    """Fetch so many times, some at once."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one() -> None:
        async with limit:
            await fetch()

    await asyncio.gather(*(one() for _ in range(_WARM)))
    cpu, begun = time.process_time(), time.perf_counter()
    await asyncio.gather(*(one() for _ in range(fetches)))
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return Row(backend, objects, fetches / seconds, cpu * 1000 / fetches)


async def backend_rows(name: str, asked: Mapping[str, Any], fetches: int) -> list[Row]:
    """A backend's two rows."""
    rows = []
    async with open_providers([name], asked["environ"]) as providers:
        for objects, parameters in zip(COUNTS, asked["parameters"], strict=True):
            row = await measured(name, objects, fetches // objects, _fetching(providers[name], parameters, asked))
            rows.append(row)
    return rows


def _fetching(
    provider: Provider, parameters: Mapping[str, str], asked: Mapping[str, Any]
) -> Callable[[], Awaitable[object]]:
    async def fetch() -> None:
        request = ProviderRequest(
            parameters=parameters,
            pod=Pod("shop", "web-1", "1", "web"),
            tokens=asked["tokens"],
            service_account_annotations=asked.get("annotations", {}),
            deadline=time.time() + 60,
        )
        await provider.fetch(request)

    return fetch


async def yardstick(url: str, fetches: int) -> Row:
    """What one call costs without any SDK."""
    async with aiohttp.ClientSession() as session:

        async def fetch() -> None:
            async with session.get(url) as answer:
                await answer.read()

        return await measured("bare HTTP call", 1, fetches, fetch)


async def measure(questions: Mapping[str, Any], fetches: int) -> None:
    """Run everything, print the table and the JSON line."""
    base = await yardstick(questions["vault"]["yardstick"], fetches)
    rows = [row for name, asked in questions.items() for row in await backend_rows(name, asked, fetches)]
    cells = [
        [row.backend, row.objects, row.per_second, row.per_core, row.cpu_ms, row.cpu_ms / base.cpu_ms]
        for row in [base, *rows]
    ]
    print(table(f"Fetches without latency, {_AT_ONCE} at once", _HEADER, cells))
    print()
    found: dict[str, dict[str, object]] = {}
    for row in rows:
        found.setdefault(row.backend, {}).update(
            row.json() if row.objects == 1 else {f"{row.objects} objects": row.json()}
        )
    print(json.dumps(found))


def main() -> int:
    """Parse the command line, start the backends and measure from the environment that the fetcher's image has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of the work, for a look")
    parser.add_argument("--asking", action="store_true", help=argparse.SUPPRESS)  # the questions are on standard input
    told = parser.parse_args()
    if told.asking:
        uvloop.run(measure(json.load(sys.stdin), 400 if told.quick else 2000))
        return 0
    here = Path(__file__)
    argv = [sys.executable, str(here.with_name("backends.py"))]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as backends:  # noqa: S603 - our own
        try:
            assert backends.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
            questions = backends.stdout.readline()
            argv = [environment("fetcher"), str(here), "--asking", *(["--quick"] if told.quick else [])]
            return subprocess.run(argv, input=questions, text=True, check=False).returncode  # noqa: S603 - our own
        finally:
            backends.terminate()


if __name__ == "__main__":
    sys.exit(main())
