"""docs/backends/vault.md says what the code does."""

import re
from pathlib import Path

from fetcher.providers.vault.objects import OBJECT_FIELDS
from fetcher.providers.vault.parameters import PARAMETERS
from fetcher.providers.vault.settings import VaultSettings
from keyferry.settings import known

PAGE = (Path(__file__).parents[4] / "docs" / "backends" / "vault.md").read_text()


def names(heading: str) -> list[str]:
    """What the first column of a section's table lists."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def test_every_parameter_is_in_the_table() -> None:
    """And nothing else is."""
    assert sorted(names("Parameters of the class")) == sorted(PARAMETERS)


def test_every_field_is_in_the_table() -> None:
    """And nothing else is."""
    assert sorted(names("Fields of an object")) == sorted(OBJECT_FIELDS)


def test_every_setting_is_in_the_table() -> None:
    """And nothing else is."""
    assert sorted(names("Settings of the fetcher")) == sorted(about.variable for _, about in known(VaultSettings))
