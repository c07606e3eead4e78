"""``keyferry contents``: what is kept fresh, when it is due, and who holds it: the schedule beside nodes' words."""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from keyferry.cli.clock import iso, seconds_until
from keyferry.cli.output import Cell, Grid, Output, span
from keyferry.cli.reach import Reach
from keyferry.cli.schedule import Scheduled, is_built, read_contents
from keyferry.explain.words import FAILING, STALE, Told, read_words

_LATE = -10.0  # seconds; what is due for less is being worked on


@dataclass(frozen=True, slots=True)
class Row:
    """A content, in the shape of ``--json``."""

    content_key: str
    provider: str
    classes: list[str]
    sources: list[str]
    scheduled: bool
    due_at: str | None
    due_in_seconds: float | None
    interval_seconds: float
    refresh_by: str | None
    claimed: bool
    empty_since: str | None
    members: int
    volumes: int
    failing: int
    stale: int
    confirmed_at: str | None
    confirmed_seconds_ago: float | None


async def run(asked: argparse.Namespace) -> int:
    """Show them.

    Raises:
        Lacking, KeyferryError: they cannot be read.
    """
    out, reach = Output(as_json=asked.json, no_color=asked.no_color), Reach.asked(asked)
    async with reach.bus() as bus, reach.store() as store:
        words, schedule, built = await read_words(bus), await read_contents(store), await is_built(store)
    rows = [each for each in joined(schedule, words.volumes, int(time.time() * 1000)) if _wanted(each, asked)]
    if out.as_json:
        out.json({"contents": [asdict(each) for each in rows], "built": built})
        return 0
    out.grid(grid(rows, wide=asked.wide))
    if not built:
        out.line("the schedule is not whole yet: a rotator has to read VOLUMES; check that one runs", "yellow")
    return 0


def joined(schedule: Iterable[Scheduled], volumes: Iterable[Told], now_ms: int) -> list[Row]:
    """One row for each content that the schedule or a volume knows, by when it is due."""
    told: dict[str, list[Told]] = defaultdict(list)
    for each in volumes:
        told[each.volume.content_key].append(each)
    known = {each.key: each for each in schedule}
    rows = [_row(key, known.get(key), told.get(key, []), now_ms) for key in known.keys() | told.keys()]
    return sorted(rows, key=lambda row: (row.due_at is None, row.due_at or "", row.content_key))


def _row(key: str, known: Scheduled | None, told: list[Told], now_ms: int) -> Row:
    confirmed = max([known.newest_ms if known else 0, *(each.volume.fetched_at_ms for each in told)])
    classes = {f"{each.volume.pod.namespace}/{each.volume.secret_provider_class}" for each in told}
    sources = {source for each in told for source in each.volume.sources}
    states = [each.state for each in told]
    return Row(
        content_key=key,
        provider=told[0].volume.provider if told else known.provider if known else "",
        classes=sorted(classes | set(known.classes if known else ())),
        sources=sorted(sources | set(known.sources if known else ())),
        scheduled=known is not None,
        due_at=iso(known.due_ms) if known else None,
        due_in_seconds=seconds_until(known.due_ms, now_ms) if known else None,
        interval_seconds=known.interval_ms / 1000 if known else 0.0,
        refresh_by=iso(known.refresh_by_ms) if known else None,
        claimed=known.claimed if known else False,
        empty_since=iso(known.empty_since_ms) if known else None,
        members=known.members if known else 0,
        volumes=len(told),
        failing=states.count(FAILING),
        stale=states.count(STALE),
        confirmed_at=iso(confirmed),
        confirmed_seconds_ago=round((now_ms - confirmed) / 1000, 3) if confirmed else None,
    )


def _wanted(row: Row, asked: argparse.Namespace) -> bool:
    names = [name.partition("/") for name in row.classes]
    return (
        asked.provider in (None, row.provider)
        and (asked.namespace is None or any(namespace == asked.namespace for namespace, _, _ in names))
        and (asked.class_name is None or any(name == asked.class_name for _, _, name in names))
    )


def grid(rows: list[Row], *, wide: bool) -> Grid:
    """The table."""
    columns = ("CONTENT", "PROVIDER", "CLASSES", "DUE", "EVERY", "VOLUMES", "FAILING", "CONFIRMED", "LEASE")
    return Grid((*columns, *(("SOURCES",) if wide else ())), [_cells(each, wide=wide) for each in rows], "no contents")


def _cells(row: Row, *, wide: bool) -> list[Cell | str]:
    ago = row.confirmed_seconds_ago
    volumes = str(row.volumes) if row.members == row.volumes else f"{row.volumes} ({row.members} scheduled)"
    cells: list[Cell | str] = [
        row.content_key if wide else row.content_key[:12],
        row.provider,
        ", ".join(row.classes),
        _due(row),
        span(row.interval_seconds) if row.interval_seconds else "never",
        volumes,
        Cell(str(row.failing), "red" if row.failing else ""),
        f"{span(ago)} ago" if ago is not None else "",
        row.refresh_by or "",
    ]
    return [*cells, ", ".join(row.sources)] if wide else cells


def _due(row: Row) -> Cell:
    if not row.scheduled:
        return Cell("not scheduled", "red")
    if row.empty_since:
        return Cell("ends: no volume holds it", "dim")
    if row.due_in_seconds is None:
        return Cell("only when it changes")
    late = row.due_in_seconds < _LATE
    return Cell(f"in {span(row.due_in_seconds)}" if row.due_in_seconds > 0 else "now", "red" if late else "")
