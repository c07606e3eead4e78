"""The generated pages of the reference are as the code has it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.docs.pages import DOCS, ROOT

REFERENCE = DOCS / "reference"
GENERATED = sorted(path.name for path in REFERENCE.glob("*.md") if "generate.py" in path.read_text().splitlines()[-1])
ANNOTATION = re.compile(r'"((?:keyferry\.io|(?:internal\.)?secrets-store\.csi\.k8s\.io)/[a-z-]+)"')


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pages as the generator writes them now."""
    folder = tmp_path_factory.mktemp("reference")
    subprocess.run([sys.executable, str(REFERENCE / "generate.py"), str(folder)], check=True)
    return folder


@pytest.mark.parametrize("name", GENERATED)
def test_no_page_is_stale(written: Path, name: str) -> None:
    """What stands in the repository is what the generator makes of the code: else run `make docs`."""
    assert (REFERENCE / name).read_text() == (written / name).read_text()


def test_every_generated_page_stands_there(written: Path) -> None:
    """The generator writes no page that the repository lacks, and none that it forgot is left."""
    assert sorted(path.name for path in written.iterdir()) == GENERATED


def test_every_annotation_of_ours_has_a_row() -> None:
    """Each annotation and label with a name of ours that the code has is on the page."""
    sources = [*(ROOT / "services").glob("*/src/**/*.py"), *(ROOT / "lib/src/keyferry").glob("*.py")]
    named = {found for path in sources for found in ANNOTATION.findall(path.read_text())}
    page = (REFERENCE / "annotations.md").read_text()
    assert named
    assert {each for each in named if f"| `{each}` |" not in page} == set()
