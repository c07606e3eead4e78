"""``keyferry backends``: each backend's volumes, failures and pauses, and whether its changes are heard of."""

from __future__ import annotations

import argparse
import asyncio
import re
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from urllib.error import URLError

from keyferry.cli.jetstream import ConsumerState, JetStream
from keyferry.cli.lacking import Lacking
from keyferry.cli.output import Cell, Grid, Output, span
from keyferry.cli.reach import Reach
from keyferry.explain.words import FAILING, STALE, Told, read_words
from keyferry.store import Store

_PAUSES = re.compile(r"keyferry:backend:(\w+):pause")
_CONNECTED = re.compile(r'^keyferry_change_source_connected\{source="([^"]+)"\} (\S+)$', re.MULTILINE)
_METRICS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Row:
    """A backend's volumes, in the shape of ``--json``. Reasons: of failed refreshes, with how many volumes have it."""

    provider: str
    contents: int
    volumes: int
    failing: int
    stale: int
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True)
class Pause:
    """A backend that is left alone because it asked for that (Retry-After).

    Attributes:
        backend: A keyed digest; only fetchers know what it stands for.
        seconds: For how much longer.
    """

    backend: str
    seconds: float


async def run(asked: argparse.Namespace) -> int:
    """Show them.

    Raises:
        Lacking, KeyferryError: they cannot be read.
    """
    out, reach = Output(as_json=asked.json, no_color=asked.no_color), Reach.asked(asked)
    async with reach.bus() as bus, reach.store() as store:
        words = await read_words(bus)
        changes = await JetStream(bus).consumer("CHANGES", "rotator-changes")
        paused = await pauses(store)
    sources = await asyncio.to_thread(_sources, asked.rotator_url) if asked.rotator_url else None
    rows = by_provider(words.volumes)
    if out.as_json:
        out.json(
            {
                "backends": [asdict(each) for each in rows],
                "pauses": [asdict(each) for each in paused],
                "change_sources": sources,
                "changes_waiting": changes.waiting if changes else None,
            }
        )
        return 0
    out.grid(grid(rows))
    out.line()
    out.grid(pause_grid(paused))
    out.line()
    _say_changes(out, sources, changes)
    return 0


def by_provider(volumes: Iterable[Told]) -> list[Row]:
    """A row for each backend that some volume is of."""
    told: dict[str, list[Told]] = defaultdict(list)
    for each in volumes:
        told[each.volume.provider].append(each)
    return [_row(provider, told[provider]) for provider in sorted(told)]


def _row(provider: str, told: list[Told]) -> Row:
    states = [each.state for each in told]
    reasons = Counter(each.failure.reason for each in told if each.failure)
    contents = len({each.volume.content_key for each in told})
    return Row(provider, contents, len(told), states.count(FAILING), states.count(STALE), dict(reasons.most_common()))


async def pauses(store: Store) -> list[Pause]:
    """Backends that get no calls just now, the longest pause first.

    Raises:
        StoreUnavailable: it cannot be told.
    """
    found, cursor = [], "0"
    while True:
        answer = await store.call("SCAN", cursor, "MATCH", "keyferry:backend:*:pause", "COUNT", 500)
        cursor = answer[0].decode()
        for key in answer[1]:
            match, left = _PAUSES.fullmatch(key.decode(errors="replace")), int(await store.call("PTTL", key))
            if match and left > 0:
                found.append(Pause(match[1], left / 1000))
        if cursor == "0":
            return sorted(set(found), key=lambda pause: (-pause.seconds, pause.backend))


def grid(rows: list[Row]) -> Grid:
    """The backends' table."""
    cells = [
        (
            *(row.provider, str(row.contents), str(row.volumes)),
            Cell(str(row.failing), "red" if row.failing else ""),
            Cell(str(row.stale), "yellow" if row.stale else ""),
            ", ".join(f"{reason} x{count}" for reason, count in row.reasons.items()),
        )
        for row in rows
    ]
    return Grid(("PROVIDER", "CONTENTS", "VOLUMES", "FAILING", "STALE", "REASONS"), cells, "no volumes of any backend")


def pause_grid(paused: list[Pause]) -> Grid:
    """The table of pauses."""
    cells = [(each.backend, Cell(span(each.seconds), "yellow")) for each in paused]
    return Grid(("PAUSED BACKEND (DIGEST)", "FOR ANOTHER"), cells, "no backend is paused")


def _say_changes(out: Output, sources: dict[str, bool] | None, changes: ConsumerState | None) -> None:
    if changes is None:
        out.line("changes: the consumer rotator-changes is missing: run `python -m keyferry.streams`", "red")
    else:
        out.line(f"changes: {changes.waiting} wait to be acted upon")
    if sources is None:
        out.line("change sources: only rotators know: --rotator-url http://HOST:8095")
        return
    cells = [(name, Cell("yes" if up else "no", "green" if up else "red")) for name, up in sorted(sources.items())]
    out.grid(Grid(("CHANGE SOURCE", "CONNECTED"), cells, "no change source is configured"))


def _sources(url: str) -> dict[str, bool]:
    if not url.startswith(("http://", "https://")):
        raise Lacking("--rotator-url is no http:// URL")
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/metrics", timeout=_METRICS_SECONDS) as answer:  # noqa: S310 - checked above
            text = answer.read().decode(errors="replace")
    except (URLError, OSError) as error:
        raise Lacking(f"the rotator at --rotator-url does not answer ({type(error).__name__})") from None
    return {name: float(value) > 0 for name, value in _CONNECTED.findall(text)}
