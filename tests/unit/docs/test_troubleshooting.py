"""Every text that docs/troubleshooting.md quotes is one that the code can say."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.unit.docs.pages import DOCS, ROOT

PAGE = (DOCS / "troubleshooting.md").read_text()
KUBELETS = "### kubelet's own texts"
SAYING = ("| it says |", "| `/readyz` says |")


def quoted() -> list[str]:
    """The texts in first cells of the tables of what is said, but for kubelet's."""
    found: list[str] = []
    for table in re.findall(
        r"((?:^\|.*\n)+)", PAGE.replace(PAGE.partition(KUBELETS)[2].partition("\n### ")[0], ""), re.MULTILINE
    ):
        head, _, *rows = table.splitlines()
        if head.startswith(SAYING):
            found += [text for row in rows for text in re.findall(r"`([^`]+)`", row.split(" | ")[0])]
    return found + re.findall(r"log (?:says )?`([^`]+)`", PAGE)


def template(node: ast.AST) -> str | None:
    """A text of the code, with NUL for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.replace("%s", "\0")
    if isinstance(node, ast.JoinedStr):
        return "".join((template(each) or "") if isinstance(each, ast.Constant) else "\0" for each in node.values)
    return None


@cache
def said() -> tuple[str, ...]:
    """All texts of services and library, but for those of tests, of the command line and of the live page."""
    sources: list[Path] = [*(ROOT / "services").glob("*/src/**/*.py"), *(ROOT / "lib/src/keyferry").rglob("*.py")]
    trees = [ast.parse(path.read_text()) for path in sources if not {"testing", "proto", "cli", "ui"} & set(path.parts)]
    return tuple(text for tree in trees for node in ast.walk(tree) if (text := template(node)))


def is_said(text: str) -> bool:
    """Whether one text of the code has all that stands between the dots, in order."""
    pattern = re.compile(r"[\s\S]*".join(re.escape(part) for part in text.split("…")))
    return any(pattern.search(each) for each in said())


@pytest.mark.parametrize("text", quoted())
def test_a_quoted_text_is_in_the_code(text: str) -> None:
    """Who searches the page for what they read finds it."""
    assert is_said(text)


@pytest.mark.parametrize(
    "text", ["no fetcher answered at all", "no stream … the request", "file … not found in the pod: …!"]
)
def test_a_text_that_nobody_says_is_noticed(text: str) -> None:
    """The test before this one would notice."""
    assert not is_said(text)
