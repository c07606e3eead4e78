"""docs/running.md names every setting of every service, with its default, and no other."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import pytest

from fetcher.providers import TABLE
from fetcher.settings import Settings as FetcherSettings
from keyferry import streams
from keyferry.service import ServiceSettings
from keyferry.settings import known
from keyferry.telemetry import otlp, traces
from node_driver.settings import Settings as NodeDriverSettings
from rotator.settings import Settings as RotatorSettings
from rotator.sources import settings as sources
from syncer.settings import Settings as SyncerSettings

PAGE = (Path(__file__).parents[3] / "docs" / "running.md").read_text()
PROVIDERS = {**TABLE, "plugin": "fetcher.providers.plugin"}


def rows(heading: str) -> dict[str, str]:
    """Variable to what is written as its default, of a section's table."""
    section = PAGE.partition(f"\n### {heading}\n")[2].partition("\n### ")[0]
    cells = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    return {cell[1].strip(" `"): cell[2].strip(" `") for cell in cells}


def settings_of(module: str) -> type:
    """The class of a module that holds settings."""
    (found,) = (
        each
        for _, each in inspect.getmembers(importlib.import_module(f"{module}.settings"), inspect.isclass)
        if each.__module__ == f"{module}.settings" and known(each)
    )
    return found


SECTIONS: dict[str, tuple[type, set[str]]] = {
    "Every service": (ServiceSettings, set()),
    "Node-driver": (NodeDriverSettings, {about.variable for _, about in known(ServiceSettings)}),
    "Fetcher": (FetcherSettings, {about.variable for _, about in known(ServiceSettings)}),
    "Rotator": (RotatorSettings, {about.variable for _, about in known(ServiceSettings)}),
    "Syncer": (SyncerSettings, {about.variable for _, about in known(ServiceSettings)}),
    "Rotator: aws events": (sources.AwsEvents, set()),
    "Rotator: gcp events": (sources.GcpEvents, set()),
    "Rotator: vault events": (sources.VaultEvents, set()),
    "Rotator: vault audit log": (sources.VaultAudit, set()),
    "Rotator: webhooks": (sources.Webhooks, set()),
    "Streams": (streams.Settings, set()),
    # A module with several names has one section, under the last of them.
    **{
        f"Fetcher: {name}": (settings_of(module), set())
        for module, name in {module: name for name, module in PROVIDERS.items()}.items()
    },
}
"""Section to the class it describes, and which of its settings another section describes."""


def written(text: str, parse: Any, default: Any) -> Any:
    """The value that a default's text stands for."""
    if text == "required":
        return MISSING
    return parse(text) if text else type(default)()


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_setting_has_a_row(heading: str) -> None:
    """Every setting of the class is in the table of its section, and nothing else is."""
    settings, elsewhere = SECTIONS[heading]
    assert sorted(rows(heading)) == sorted({about.variable for _, about in known(settings)} - elsewhere)


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_default_is_true(heading: str) -> None:
    """What is written as default, read as the service reads it, is the default of the class."""
    settings, elsewhere = SECTIONS[heading]
    table = rows(heading)
    real = {about.variable: field.default for field, about in known(settings) if about.variable not in elsewhere}
    told = {
        about.variable: written(table[about.variable], about.parse, field.default)
        for field, about in known(settings)
        if about.variable in table
    }
    assert told == real


def test_every_section_is_checked() -> None:
    """No table of settings stands there that nothing is compared with."""
    headings = re.findall(r"^### (.+)$", PAGE, re.MULTILINE)
    assert sorted(headings) == sorted([*SECTIONS, "Traces"])


def test_variables_of_opentelemetry() -> None:
    """Every variable of OpenTelemetry that our code names is in the table."""
    source = inspect.getsource(otlp) + inspect.getsource(traces)
    assert set(re.findall(r"OTEL_[A-Z_]+", source)) <= set(rows("Traces"))
