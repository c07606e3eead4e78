"""docs/backends/azure.md says what the code does."""

import re
from pathlib import Path

from fetcher.providers.azure.entry import OBJECT_FIELDS
from fetcher.providers.azure.parameters import PARAMETERS
from fetcher.providers.azure.settings import AzureSettings
from keyferry.settings import known

PAGE = (Path(__file__).parents[4] / "docs/backends/azure.md").read_text()


def documented(heading: str) -> list[str]:
    """First column of the table below a heading."""
    section = PAGE.split(f"{heading}\n", 1)[1].split("\n#", 1)[0]
    return re.findall(r"^\| `(\w+)`", section, re.MULTILINE)


def test_every_parameter_is_documented() -> None:
    """The tables of the page name what the parser understands, and nothing else."""
    assert documented("## Parameters") == list(PARAMETERS)
    assert documented("### Fields of an object") == list(OBJECT_FIELDS)


def test_every_setting_is_documented() -> None:
    """The settings' table names what the provider reads from its environment."""
    assert documented("## Settings of the fetcher") == [about.variable for _, about in known(AzureSettings)]
