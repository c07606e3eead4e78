"""``keyferry volumes``: the mounted volumes, as the nodes last told of them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from keyferry.cli.clock import iso
from keyferry.cli.output import Cell, Grid, Output, span
from keyferry.cli.reach import Reach
from keyferry.explain.words import FAILING, OK, Told, Words, read_words

STYLES = {OK: "green", FAILING: "red", "stale": "yellow"}


@dataclass(frozen=True, slots=True)
class Row:
    """A volume, in the shape of ``--json``."""

    volume_id: str
    node: str
    namespace: str
    pod: str
    service_account: str
    secret_provider_class: str
    provider: str
    state: str
    word: str
    told_at: str | None
    fetched_at: str | None
    age_seconds: float
    stale_since: str | None
    rotation_seconds: float | None
    refresh_by: str | None
    content_key: str
    versions: dict[str, str]
    left_out: list[str]
    failure: dict[str, str] | None


def row(told: Told, now_ms: int) -> Row:
    """What is shown of a volume."""
    volume, failure = told.volume, told.failure
    return Row(
        volume_id=volume.volume_id,
        node=volume.node,
        namespace=volume.pod.namespace,
        pod=volume.pod.name,
        service_account=volume.pod.service_account,
        secret_provider_class=volume.secret_provider_class,
        provider=volume.provider,
        state=told.state,
        word=told.word,
        told_at=iso(told.told_ms),
        fetched_at=iso(volume.fetched_at_ms),
        age_seconds=round(max(0, now_ms - volume.fetched_at_ms) / 1000, 3),
        stale_since=iso(volume.stale_since_ms),
        rotation_seconds=None if volume.rotation_ms is None else volume.rotation_ms / 1000,
        refresh_by=iso(volume.refresh_by_ms),
        content_key=volume.content_key,
        versions={each.id: each.version for each in volume.versions},
        left_out=list(volume.left_out),
        failure={"code": failure.code, "reason": failure.reason, "message": failure.message} if failure else None,
    )


async def run(asked: argparse.Namespace) -> int:
    """Show them.

    Raises:
        Lacking, BusUnavailable: they cannot be read.
    """
    out = Output(as_json=asked.json, no_color=asked.no_color)
    async with Reach.asked(asked).bus() as bus:
        words = await read_words(bus, node=asked.node)
    rows = selected(words, asked, int(time.time() * 1000))
    if out.as_json:
        out.json({"volumes": [asdict(each) for each in rows], "unreadable": words.unreadable})
    else:
        out.grid(grid(rows, wide=asked.wide))
        if words.unreadable:
            out.line(f"{words.unreadable} messages of VOLUMES are no word of the node they are said to be of")
    return 0


def selected(words: Words, asked: argparse.Namespace, now_ms: int) -> list[Row]:
    """The rows that were asked for, in the order that was asked for."""
    wanted = {
        "namespace": asked.namespace,
        "pod": asked.pod,
        "secret_provider_class": asked.class_name,
        "node": asked.node,
        "provider": asked.provider,
        "state": asked.state,
    }
    rows = [row(told, now_ms) for told in words.volumes]
    rows = [each for each in rows if all(text in (None, getattr(each, name)) for name, text in wanted.items())]
    return sorted(rows, key=_ORDERS[asked.sort])


def _by(*names: str) -> Callable[[Row], tuple[Any, ...]]:
    return lambda each: tuple(getattr(each, name) for name in (*names, "namespace", "pod", "volume_id"))


_ORDERS: dict[str, Callable[[Row], tuple[Any, ...]]] = {
    "age": lambda each: (-each.age_seconds, each.namespace, each.pod, each.volume_id),
    "class": _by("secret_provider_class"),
    "namespace": _by(),
    "node": _by("node"),
    "pod": _by("pod"),
    "provider": _by("provider"),
    "state": _by("state"),
}


def grid(rows: list[Row], *, wide: bool) -> Grid:
    """The table."""
    columns = ["NAMESPACE", "POD", "CLASS", "PROVIDER", "NODE", "STATE", "CONFIRMED", "VERSIONS"]
    more = ["LEFT OUT", "REASON", "CONTENT", "VOLUME"] if wide else []
    return Grid((*columns, *more), [_cells(each, wide=wide) for each in rows], empty="no volumes")


def _cells(each: Row, *, wide: bool) -> list[Cell | str]:
    versions = ", ".join(f"{name}@{version[:12]}" for name, version in each.versions.items())
    cells: list[Cell | str] = [
        *(each.namespace, each.pod, each.secret_provider_class, each.provider, each.node),
        Cell(each.state, STYLES.get(each.state, "")),
        f"{span(each.age_seconds)} ago",
        versions if wide or len(each.versions) <= 1 else f"{len(each.versions)} objects",
    ]
    if wide:
        reason = each.failure["reason"] if each.failure else ""
        cells += [", ".join(each.left_out), reason, each.content_key, each.volume_id]
    return cells
