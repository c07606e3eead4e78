"""What `explain` and `doctor` find: a mark, a text, and what would mend it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from keyferry.cli.output import Output

OK, WRONG, WARNING, UNKNOWN = "ok", "wrong", "warning", "unknown"

_MARKS = {OK: ("✔", "green"), WRONG: ("✘", "bold red"), WARNING: ("!", "yellow"), UNKNOWN: ("?", "dim")}
_PLAIN = {OK: "ok", WRONG: "WRONG", WARNING: "warning", UNKNOWN: "unknown"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, in the shape of ``--json``.

    Attributes:
        check: What was looked at; a stable name.
        state: ok, wrong, warning (it may be meant so), or unknown (it could not be looked at).
        text: What was found.
        fix: What to do; empty where nothing is to be done.
    """

    check: str
    state: str
    text: str
    fix: str = ""


def ok(check: str, text: str) -> Finding:
    """As it should be."""
    return Finding(check, OK, text)


def wrong(check: str, text: str, fix: str) -> Finding:
    """To be mended."""
    return Finding(check, WRONG, text, fix)


def warning(check: str, text: str, fix: str = "") -> Finding:
    """Maybe meant so."""
    return Finding(check, WARNING, text, fix)


def unknown(check: str, text: str, fix: str = "") -> Finding:
    """Not seen."""
    return Finding(check, UNKNOWN, text, fix)


def status(findings: Iterable[Finding]) -> int:
    """The exit status that they make: 1 if something is wrong."""
    return int(any(each.state == WRONG for each in findings))


def as_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """For ``--json``."""
    return [asdict(each) for each in findings]


def show(out: Output, findings: Iterable[Finding]) -> None:
    """For people: marks on a terminal, words in a pipe."""
    for each in findings:
        mark, style = _MARKS[each.state]
        if out.is_terminal:
            out.line(f"{mark} {each.check}: {each.text}", style)
        else:
            out.line(f"{_PLAIN[each.state]:8} {each.check}: {each.text}")
        if each.fix:
            out.line(f"  → {each.fix}" if out.is_terminal else f"{'':8} fix: {each.fix}")
