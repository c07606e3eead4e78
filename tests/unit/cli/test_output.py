from __future__ import annotations

import io

import pytest
from rich.console import Console

from keyferry.cli.output import Cell, Grid, Output, clean, plain, rendered, size, span

GRID = Grid(("NAME", "STATE"), [("db", Cell("failing", "red")), ("a-longer-name", Cell(""))])


def drawn(grid: Grid, *, no_color: bool | None = None) -> str:
    file = io.StringIO()
    Console(file=file, force_terminal=True, width=60, no_color=no_color, color_system="standard").print(rendered(grid))
    return file.getvalue()


def test_a_pipe_gets_columns_of_blanks() -> None:
    """Columns are as wide as their widest cell, lines end without blanks, and what is empty shows as a dash."""
    assert plain(GRID) == ["NAME            STATE", "db              failing", "a-longer-name   -"]


def test_nothing_to_show_is_said() -> None:
    """A table without rows is its own sentence."""
    assert plain(Grid(("NAME",), [], "no volumes")) == ["no volumes"]
    assert "no volumes" in drawn(Grid(("NAME",), [], "no volumes"))


def test_a_terminal_gets_colours() -> None:
    """A state has its colour on a terminal, and none with --no-color."""
    assert "\x1b[31mfailing" in drawn(GRID)
    assert "\x1b[31m" not in drawn(GRID, no_color=True)
    assert "failing" in drawn(GRID, no_color=True)


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("\x1b[2J gone", "\\x1b[2J gone"),
        ("a\nb", "a\\x0ab"),
        ("\u202etxt.exe", "\\x202etxt.exe"),
        ("größe 日本 ok", "größe 日本 ok"),
        ("[red]markup[/red]", "[red]markup[/red]"),
    ],
)
def test_foreign_text_cannot_move_the_cursor(foreign: str, shown: str) -> None:
    """Control and direction characters are written out; letters of any script, and markup, stay as they are."""
    assert clean(foreign) == shown
    assert plain(Grid(("A",), [(foreign,)]))[1] == shown
    assert shown in drawn(Grid(("A",), [(foreign,)]))


def test_without_a_terminal_there_are_no_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines and tables written to a pipe hold no escape sequence, whatever their style."""
    out = Output()
    out.line("wrong", "bold red")
    out.grid(GRID)

    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (200000, "2d"), (-30, "-30s")]
)
def test_spans_read_as_in_kubectl(seconds: float, text: str) -> None:
    """A span is counted in the largest unit of which there are two."""
    assert span(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (9999, "9999 B"), (10240, "10 KiB"), (20 << 20, "20 MiB")])
def test_sizes(count: int, text: str) -> None:
    """Bytes up to four digits, then KiB and MiB."""
    assert size(count) == text
