"""docs/backends/gcp.md says what the code does."""

import re
from pathlib import Path

from fetcher.providers.gcp.entries import SECRET_FIELDS
from fetcher.providers.gcp.parameters import PARAMETERS
from fetcher.providers.gcp.settings import GcpSettings
from keyferry.settings import known

PAGE = (Path(__file__).parents[4] / "docs/backends/gcp.md").read_text()


def documented(heading: str) -> list[str]:
    """First column of the table below a heading."""
    section = PAGE.split(f"{heading}\n", 1)[1].split("\n#", 1)[0]
    return re.findall(r"^\| `(\w+)`", section, re.MULTILINE)


def test_every_parameter_is_documented() -> None:
    """The tables of the page name what the parser understands, and nothing else."""
    assert documented("## Parameters") == list(PARAMETERS)
    assert documented("### Fields of a secret") == list(SECRET_FIELDS)


def test_every_setting_is_documented() -> None:
    """The settings' table names what the provider reads from its environment."""
    assert documented("## Settings of the fetcher") == [about.variable for _, about in known(GcpSettings)]
