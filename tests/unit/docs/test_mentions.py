"""No page mentions a setting, metric, command, module, target or value of the chart that does not exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from keyferry.cli.arguments import parser
from keyferry.testing import queries
from tests.unit.docs.pages import DOCS, OUTSIDE, ROOT, blocks, named, pages

PAGES = [*pages(), *OUTSIDE]
OF_TOOLS = {"KEYFERRY_KUBE_TOOLS"}
"""What the Makefile reads and no service does."""

_PLACEHOLDER = re.compile(r"\b(NAMESPACE/(?:NAME|POD)|NAMESPACE|NAME|POD|NODE|ROTATOR|CLASS|POD_NAME|N)\b")


def shell(page: Path) -> Iterator[str]:
    """The lines of commands of a page, each with what continues it, and the commands in its prose."""
    for block in blocks(page):
        if block.language in ("sh", "bash", "console"):
            yield from (line.strip() for line in block.text.replace("\\\n", " ").splitlines())
    yield from re.findall(r"`([^`\n]+)`", page.read_text())


@cache
def settings() -> frozenset[str]:
    return frozenset(re.findall(r"^\| `([A-Z][A-Z0-9_]+)`", (DOCS / "reference/settings.md").read_text(), re.MULTILINE))


@cache
def metrics() -> frozenset[str]:
    declared = re.findall(r"^\| `(\w+)` \| (\w+)", (DOCS / "reference/metrics.md").read_text(), re.MULTILINE)
    ends = {"histogram": ("", "_bucket", "_sum", "_count")}
    return frozenset(name + end for name, kind in declared for end in ends.get(kind, ("",)))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_settings_exist(page: Path) -> None:
    """Each variable of ours is one that a service reads."""
    mentioned = set(re.findall(r"\bKEYFERRY_[A-Z][A-Z0-9_]*[A-Z0-9]\b", page.read_text()))
    assert mentioned - settings() - OF_TOOLS == set()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_metrics_exist(page: Path) -> None:
    """Each metric is one that a service exports, or one that our rules record."""
    recorded = {rule["record"] for rule in queries.rules() if "record" in rule}
    mentioned = set(
        re.findall(r"(?<![\w/.-])((?:keyferry|rotation_reconcile|node_(?:un)?publish)_\w+)", page.read_text())
    )
    assert mentioned - metrics() - recorded - {"rotation_reconcile_", "keyferry_"} == set()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_are_understood(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command line of ours is one that the command line takes, but for what prose leaves out of it."""
    wrong = []
    for line in shell(page):
        words = _words(line)
        if words[:1] == ["kubectl"] and words[1:2] == ["keyferry"]:
            words = words[1:]
        if words[:1] in (["keyferry"], [".venv/bin/keyferry"]) and len(words) > 1 and "…" not in line:
            try:
                parser().parse_args(words[1:])
            except SystemExit:
                wrong.append((line, capsys.readouterr().err.splitlines()[-1]))
    assert [each for each in wrong if "arguments are required" not in each[1]] == []


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(_PLACEHOLDER.sub("1", line), comments=True)
    except ValueError:
        return []  # prose, with an apostrophe
    ends = [words.index(each) for each in ("|", "&&", "&", ">", ";") if each in words]
    return words[: min(ends, default=len(words))]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_targets_and_modules_exist(page: Path) -> None:
    """Each ``make x`` is a target of the Makefile, each ``python -m x`` a module."""
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {found[1] for line in shell(page) if (found := re.match(r"(?:`)?make ([a-z][a-z0-9-]*)", line))}
    modules = {name for line in shell(page) for name in re.findall(r"python -m ([a-z_]+(?:\.[a-z_]+)*)", line)}
    missing = {name for name in modules if importlib.util.find_spec(name) is None}
    assert (asked - targets, missing) == (set(), set())


def _paths(values: Any, above: str = "") -> Iterator[str]:
    for key, value in values.items() if isinstance(values, dict) else ():
        yield above + key
        yield from _paths(value, f"{above}{key}.")


@pytest.mark.parametrize("page", pages(), ids=named)
def test_values_of_the_chart_exist(page: Path) -> None:
    """Each ``--set`` is of a value that the chart has."""
    known = set(_paths(yaml.safe_load((ROOT / "deploy/helm/keyferry/values.yaml").read_text())))
    asked = {name for line in shell(page) for name in re.findall(r"--set (?:`)?([\w.]+)=", line)}
    free = {name for name in asked if any(name.startswith(f"linux.{each}.") for each in ("nodeSelector",))}
    assert asked - known - free == set()
