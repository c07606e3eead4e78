"""The documentation builds as a site: nothing missing, nothing broken, nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.docs.pages import DOCS, OUTSIDE, ROOT, links, named, pages

SECONDS = 30
LOADS = re.compile(r"<(?:script|img|iframe|link|source)\b[^>]*?\b(?:src|href)=\"?((?:https?:)?//[^\">\s]+)")
STYLES = re.compile(r"url\(\s*[\"']?((?:https?:)?//[^)\"']+)")


def build(place: Path, config: Path) -> subprocess.CompletedProcess[str]:
    """Build as ``make docs`` does."""
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config), "--site-dir", str(place)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(argv, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False, timeout=SECONDS)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a dead link, an anchor that is not there or a page that nothing leads to would have failed it."""
    place = tmp_path_factory.mktemp("site")
    built = build(place, ROOT / "mkdocs.yml")
    assert built.returncode == 0, built.stderr
    return place


def test_every_page_is_built(site: Path) -> None:
    """Each page of docs/ is one of the site, and no source of ours is served with them."""
    missing = [named(page) for page in pages() if not (site / rendered(page)).is_file()]
    assert missing == []
    assert list(site.rglob("*.py")) == []


def rendered(page: Path) -> Path:
    path = page.relative_to(DOCS)
    return path.with_name("index.html" if path.name in ("README.md", "index.md") else f"{path.stem}.html")


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """A cluster without internet shows the pages as they are; nobody is told who reads them."""
    assert list(loaded(site)) == []


def loaded(site: Path) -> Iterator[tuple[str, str]]:
    for page in site.rglob("*.html"):
        yield from ((page.name, found) for found in LOADS.findall(page.read_text()) if "rel=canonical" not in found)
    for style in site.rglob("*.css"):
        yield from ((style.name, found) for found in STYLES.findall(style.read_text()))


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("[there](nowhere.md)", "nowhere.md"),
        ("[there](index.md#nothing-of-the-kind)", "nothing-of-the-kind"),
        ("", "not included in the"),
    ],
    ids=["page", "anchor", "navigation"],
)
def test_a_broken_page_breaks_the_build(tmp_path: Path, broken: str, told: str) -> None:
    """A dead link, an anchor that is not there and a page outside the navigation are errors, by our configuration."""
    (tmp_path / "docs" / "reference").mkdir(parents=True)
    (tmp_path / "docs" / "reference" / "outside.py").write_text((DOCS / "reference" / "outside.py").read_text())
    (tmp_path / "docs" / "index.md").write_text(f"# Start\n\n{broken}\n")
    (tmp_path / "docs" / "more.md").write_text("# More\n")
    config = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[0]
    pages_of = "" if told.startswith("not") else "  - more.md\n"
    (tmp_path / "mkdocs.yml").write_text(f"{config}\nnav:\n  - index.md\n{pages_of}")

    built = build(tmp_path / "site", tmp_path / "mkdocs.yml")
    assert built.returncode != 0
    assert told in built.stderr


@pytest.mark.parametrize("page", [*pages(), *OUTSIDE], ids=named)
def test_relative_links_lead_somewhere(page: Path) -> None:
    """In the repository, each link of a page leads to a file or folder that is there."""
    assert [link for link in links(page) if not (page.parent / link).exists()] == []
