"""What commands print: tables and findings for people, JSON for programs; nothing foreign reaches a terminal raw."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))
_TWICE = 2  # of a unit, before it is the one to count in


@dataclass(frozen=True, slots=True)
class Cell:
    """A text of a table and how it looks on a terminal."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: what is told of nothing, its columns, its rows."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell | str]]
    empty: str = "none"
    title: str = ""


class Output:
    """Standard output, as one command was asked to use it."""

    def __init__(self, *, as_json: bool = False, no_color: bool = False) -> None:
        self.as_json = as_json
        self.console = Console(file=sys.stdout, no_color=no_color or None, highlight=False, markup=False, emoji=False)

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks at it."""
        return self.console.is_terminal and not self.as_json

    def json(self, told: Any) -> None:
        """One JSON document."""
        sys.stdout.write(json.dumps(told, indent=1) + "\n")

    def line(self, text: str = "", style: str = "") -> None:
        """One line."""
        if self.is_terminal:
            self.console.print(Text(clean(text), style=style))
        else:
            sys.stdout.write(f"{clean(text)}\n")

    def grid(self, grid: Grid) -> None:
        """A table; in columns of blanks where no person looks, uncut."""
        if self.is_terminal:
            self.console.print(rendered(grid))
            return
        if grid.title:
            self.line(grid.title)
        for line in plain(grid):
            sys.stdout.write(f"{line}\n")


def rendered(grid: Grid) -> RenderableType:
    """A table for a terminal."""
    title = Text(grid.title, style="bold") if grid.title else None
    if not grid.rows:
        return Text(f"{grid.title}: {grid.empty}" if grid.title else grid.empty, style="dim")
    table = Table(
        *grid.columns, box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", header_style="bold"
    )
    for row in grid.rows:
        cells = [each if isinstance(each, Cell) else Cell(each) for each in row]
        table.add_row(*(Text(clean(cell.text), style=cell.style, overflow="fold") for cell in cells))
    return table


def plain(grid: Grid) -> list[str]:
    """A table's lines for pipes, as kubectl writes them."""
    if not grid.rows:
        return [grid.empty]
    rows = [[clean(each.text if isinstance(each, Cell) else each) or "-" for each in row] for row in grid.rows]
    rows.insert(0, list(grid.columns))
    widths = [max(len(row[i]) for row in rows) for i in range(len(grid.columns))]
    return ["   ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def clean(text: str) -> str:
    """A text without what could move a terminal's cursor or turn its writing around: names and messages are foreign."""
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else f"\\x{ord(c):02x}" for c in text)


def span(seconds: float) -> str:
    """A time span as kubectl writes ages: ``45s``, ``3m``, ``5h``, ``2d``; a minus for what is over."""
    sign, left = ("-" if seconds < 0 else ""), abs(seconds)
    for size, unit in _UNITS:
        if left >= _TWICE * size:
            return f"{sign}{int(left // size)}{unit}"
    return f"{sign}{int(left)}s"


def size(count: int) -> str:
    """Bytes for people."""
    if count < 10_000:  # noqa: PLR2004 - four digits are read at a glance
        return f"{count} B"
    return f"{count / 1024:.0f} KiB" if count < 10 * 1024**2 else f"{count / 1024**2:.0f} MiB"
