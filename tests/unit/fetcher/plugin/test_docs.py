"""docs/backends/plugin.md says what the code does."""

import re
from pathlib import Path
from typing import Any

import yaml

from fetcher.providers.plugin import PluginSettings
from keyferry.proto.provider.v1alpha1 import service_pb2 as pb
from keyferry.settings import known

PAGE = (Path(__file__).parents[4] / "docs" / "backends" / "plugin.md").read_text()


def rows(heading: str) -> dict[str, list[str]]:
    """The first column of a section's table, without its marks, to the other columns."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return {first.strip(" `"): [cell.strip() for cell in rest] for first, *rest in cells}


def test_every_setting_is_in_the_table() -> None:
    """And nothing else is."""
    assert sorted(rows("Settings of the fetcher")) == sorted(about.variable for _, about in known(PluginSettings))


def test_defaults_are_the_codes() -> None:
    """As an operator writes them."""
    defaults = {variable: cells[0].strip("`") for variable, cells in rows("Settings of the fetcher").items()}
    read = {about.variable: (f.default, about.parse) for f, about in known(PluginSettings)}

    assert defaults["KEYFERRY_PLUGIN_DIRS"] == ""
    assert read["KEYFERRY_PLUGIN_DIRS"][0] == ()
    default, parse = read["KEYFERRY_PLUGIN_MAX_MESSAGE"]
    assert parse(defaults["KEYFERRY_PLUGIN_MAX_MESSAGE"]) == default


def test_every_field_of_the_question_is_in_the_table() -> None:
    """And nothing else is."""
    assert list(rows("What the plugin is told")) == [field.name for field in pb.MountRequest.DESCRIPTOR.fields]


def test_the_example_is_whole() -> None:
    """Both containers share folder and user, and the fetcher looks where the plugin's socket is."""
    [text] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    pod: Any = yaml.safe_load(text)["spec"]["template"]["spec"]
    fetcher, plugin = pod["containers"]
    [folder] = fetcher["env"]

    assert folder == {"name": "KEYFERRY_PLUGIN_DIRS", "value": fetcher["volumeMounts"][0]["mountPath"]}
    assert plugin["args"][0] == f"-socketPath={folder['value']}/conjur.sock"
    assert plugin["volumeMounts"] == fetcher["volumeMounts"]
    assert plugin["securityContext"] == fetcher["securityContext"]
    assert [volume["name"] for volume in pod["volumes"]] == [plugin["volumeMounts"][0]["name"]]
