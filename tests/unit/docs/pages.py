"""The pages of the documentation, as tests read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
OUTSIDE = tuple(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"))

_BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)[^)]*\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str


@cache
def pages() -> tuple[Path, ...]:
    """Every page of the site."""
    return tuple(sorted(DOCS.rglob("*.md")))


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for _, language, text in _BLOCK.findall(page.read_text()):
        yield Block(language, text)


def links(page: Path) -> Iterator[str]:
    """Where a page leads within the repository: paths, as they stand there, without what follows a ``#``."""
    prose = re.sub(r"`[^`\n]*`", "``", _BLOCK.sub("", page.read_text()))
    for target in _LINK.findall(prose):
        if not re.match(r"[a-z]+:|#", target):
            yield target.partition("#")[0]


def named(path: Path) -> str:
    """A page's path in the repository."""
    return str(path.relative_to(ROOT))
