"""``keyferry top``: volumes by state, lag, and what fails, all at a glance and again each second."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from keyferry.bus import Bus
from keyferry.cli import backends
from keyferry.cli.backends import Pause
from keyferry.cli.clock import iso
from keyferry.cli.jetstream import ConsumerState, JetStream
from keyferry.cli.lacking import Lacking
from keyferry.cli.output import Cell, Grid, Output, clean, rendered, span
from keyferry.cli.reach import Reach
from keyferry.cli.schedule import overdue
from keyferry.errors import KeyferryError
from keyferry.explain.words import FAILING, OK, STALE, Told, Words, read_words
from keyferry.store import Store

_RECENT = 10
_LATE = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class Failure:
    """A volume whose last refresh failed, in the shape of ``--json``."""

    told_at: str | None
    seconds_ago: float
    namespace: str
    pod: str
    node: str
    secret_provider_class: str
    provider: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What there is to see at one moment. What needs Redis is None without it."""

    at_ms: int
    volumes: dict[str, int]
    nodes: int
    contents: int
    due: int | None
    due_lag_seconds: float | None
    backends: list[backends.Row]
    pauses: list[Pause] | None
    consumers: list[ConsumerState]
    dead_letters: int
    failures: list[Failure]

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        told = asdict(self)
        return {"at": iso(told.pop("at_ms")), **told}


async def run(asked: argparse.Namespace) -> int:
    """Show it, until interrupted where a person looks.

    Raises:
        Lacking, KeyferryError: it cannot be read.
    """
    out, reach = Output(as_json=asked.json, no_color=asked.no_color), Reach.asked(asked)
    async with reach.bus() as bus:
        if not reach.redis_url:
            return await _shown(out, bus, None, asked)
        async with reach.store() as store:
            return await _shown(out, bus, store, asked)


async def _shown(out: Output, bus: Bus, store: Store | None, asked: argparse.Namespace) -> int:
    if asked.interval <= 0:
        raise Lacking("--interval must be more than 0 seconds")
    snapshot = await look(bus, store)
    if out.as_json:
        out.json(snapshot.as_json())
    elif asked.once or not out.is_terminal:
        for grid in grids(snapshot):
            out.grid(grid)
            out.line()
    else:
        await _live(out, bus, store, asked.interval, snapshot)
    return 0


async def _live(out: Output, bus: Bus, store: Store | None, interval: float, first: Snapshot) -> None:
    with Live(_screen(first), console=out.console, screen=True, auto_refresh=False) as live:
        while True:
            began = time.monotonic()
            try:
                screen = _screen(await look(bus, store))
            except KeyferryError as error:  # what is away may come back
                screen = Text(clean(error.message), style="red")
            live.update(screen, refresh=True)
            took = time.monotonic() - began
            await asyncio.sleep(max(interval - took, took))  # a large cluster is not read without a pause


async def look(bus: Bus, store: Store | None) -> Snapshot:
    """Everything, as of now.

    Raises:
        KeyferryError: it cannot be read.
    """
    now_ms, stream = int(time.time() * 1000), JetStream(bus)
    words, dead = await read_words(bus), await stream.stream("DEAD")
    due, lag = await overdue(store, now_ms) if store is not None else (None, None)
    return snapshot(
        words,
        now_ms=now_ms,
        due=due,
        lag=lag,
        pauses=await backends.pauses(store) if store is not None else None,
        consumers=await stream.consumers(),
        dead_letters=dead.messages if dead else 0,
    )


def snapshot(
    words: Words,
    *,
    now_ms: int,
    due: int | None,
    lag: float | None,
    pauses: list[Pause] | None,
    consumers: list[ConsumerState],
    dead_letters: int,
) -> Snapshot:
    """What is shown of what was read."""
    states = Counter(each.state for each in words.volumes)
    failing = sorted((each for each in words.volumes if each.failure), key=lambda each: -each.told_ms)
    return Snapshot(
        at_ms=now_ms,
        volumes={state: states[state] for state in (OK, FAILING, STALE)},
        nodes=len({each.volume.node for each in words.volumes}),
        contents=len({each.volume.content_key for each in words.volumes}),
        due=due,
        due_lag_seconds=lag,
        backends=backends.by_provider(words.volumes),
        pauses=pauses,
        consumers=consumers,
        dead_letters=dead_letters,
        failures=[each for told in failing[:_RECENT] if (each := _failure(told, now_ms))],
    )


def _failure(told: Told, now_ms: int) -> Failure | None:
    if told.failure is None:
        return None
    volume = told.volume
    return Failure(
        told_at=iso(told.told_ms),
        seconds_ago=round((now_ms - told.told_ms) / 1000, 3),
        namespace=volume.pod.namespace,
        pod=volume.pod.name,
        node=volume.node,
        secret_provider_class=volume.secret_provider_class,
        provider=volume.provider,
        reason=told.failure.reason,
        message=told.failure.message,
    )


def grids(seen: Snapshot) -> list[Grid]:
    """The tables."""
    lag = "?" if seen.due_lag_seconds is None else span(seen.due_lag_seconds)
    late = (seen.due_lag_seconds or 0) > _LATE
    totals: list[Cell | str] = [
        *(str(sum(seen.volumes.values())), str(seen.volumes[OK])),
        Cell(str(seen.volumes[FAILING]), "red" if seen.volumes[FAILING] else ""),
        Cell(str(seen.volumes[STALE]), "yellow" if seen.volumes[STALE] else ""),
        *(str(seen.nodes), str(seen.contents), "?" if seen.due is None else str(seen.due)),
        Cell(lag, "red" if late else ""),
        Cell(str(seen.dead_letters), "red" if seen.dead_letters else ""),
    ]
    columns = ("VOLUMES", "OK", "FAILING", "STALE", "NODES", "CONTENTS", "DUE", "LAG", "DEAD LETTERS")
    return [
        Grid(columns, [totals]),
        backends.grid(seen.backends),
        *([backends.pause_grid(seen.pauses)] if seen.pauses else []),
        _consumer_grid(seen.consumers),
        _failure_grid(seen.failures),
    ]


def _consumer_grid(consumers: list[ConsumerState]) -> Grid:
    cells = [
        (
            each.name,
            Cell(str(each.waiting), "yellow" if each.waiting else ""),
            *(str(each.in_work), str(each.again)),
            Cell(str(each.askers), "" if each.askers else "red"),
        )
        for each in consumers
    ]
    return Grid(
        ("CONSUMER", "WAITING", "IN WORK", "AGAIN", "ASKERS"), cells, "no consumers: run `python -m keyferry.streams`"
    )


def _failure_grid(failures: list[Failure]) -> Grid:
    cells = [
        (
            *(f"{span(each.seconds_ago)} ago", f"{each.namespace}/{each.pod}", each.secret_provider_class),
            *(Cell(each.reason, "red"), each.message),
        )
        for each in failures
    ]
    return Grid(("FAILED", "POD", "CLASS", "REASON", "MESSAGE"), cells, "no refresh has failed")


def _screen(seen: Snapshot) -> RenderableType:
    return Group(*(rendered(grid) for grid in grids(seen)))
