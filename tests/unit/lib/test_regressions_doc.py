"""docs/regressions.md names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "regressions.md"
NAMED = sorted(set(re.findall(r"`(tests/[\w/-]+\.py)::(test_\w+)`", PAGE.read_text())))


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[f"{file}::{test}" for file, test in NAMED])
def test_what_is_named_exists(file: str, test: str) -> None:
    """A test that is renamed is renamed on the page."""
    assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_every_row_names_a_test_or_says_what_is_missing() -> None:
    """A row without a test is an open point and says so."""
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| R\d+ ", line)]

    assert len(rows) >= 17
    assert [row for row in rows if "::test_" not in row and "missing" not in row] == []
