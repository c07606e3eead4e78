from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from keyferry.__main__ import main
from keyferry.cli import backends, contents, deadletters, findings, jetstream, top, volumes
from keyferry.cli.arguments import parser
from keyferry.cli.command import TABLE

ROOT = Path(__file__).parents[3]
LIGHT = "import sys; sys.modules['rich'] = sys.modules['redis'] = sys.modules['aiohttp'] = None\n"
RUN = "from keyferry.__main__ import main\nsys.exit(main({}))"


def test_every_command_has_a_module() -> None:
    """What the parser takes is what the table runs, and the documentation shows each."""
    commands = next(action for action in parser()._actions if action.dest == "command").choices
    page = (ROOT / "docs" / "cli.md").read_text()
    assert commands is not None
    assert set(commands) == set(TABLE)
    assert [name for name in TABLE if f"\n## `keyferry {name}" not in page] == []


SHAPES = [
    ("volumes", volumes.Row),
    ("contents", contents.Row),
    ("backends", backends.Row),
    ("backends", backends.Pause),
    ("dead-letters", deadletters.Row),
    ("explain", findings.Finding),
    ("top", top.Failure),
    ("top", jetstream.ConsumerState),
    ("top", top.Snapshot),
]


@pytest.mark.parametrize(("command", "shape"), SHAPES, ids=[f"{name}-{shape.__name__}" for name, shape in SHAPES])
def test_every_field_is_documented(command: str, shape: Any) -> None:
    """docs/cli.md names each field of what --json prints, in the section of the command."""
    page = (ROOT / "docs" / "cli.md").read_text()
    section = page.partition(f"\n## `keyferry {command}")[2].partition("\n## ")[0]
    names = {each.name for each in fields(shape)} - {"at_ms"}
    assert sorted(name for name in names if f"`{name}`" not in section) == []


def test_every_option_is_documented() -> None:
    """docs/cli.md names each option of each command."""
    page = (ROOT / "docs" / "cli.md").read_text()
    sources = "".join((ROOT / "lib" / "src" / "keyferry" / "cli" / "arguments.py").read_text().splitlines())
    options = set(re.findall(r'"(--[a-z-]+)"', sources))
    assert [option for option in sorted(options) if f"`{option}" not in page] == []


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["explain"], ["volumes", "--sort", "colour"], ["dead-letters"]])
def test_wrong_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status is 2, and standard error shows the usage."""
    with pytest.raises(SystemExit) as ended:
        main(argv)
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.startswith("usage: ")) == (2, "", True)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["doctor"], "name a POD"),
        (["doctor", "a", "--class", "b/c"], "name a POD"),
        (["doctor", "--class", "b/c", "--fetch"], "name a POD that"),
    ],
)
def test_what_the_doctor_needs(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A pod or a class, and a pod for the dry run; nothing is connected to before."""
    assert main(argv) == 2
    assert said in capsys.readouterr().err


def test_keys_need_nothing_but_the_library(tmp_path: Path) -> None:
    """They run where neither rich nor any client is installed; other commands say what to install."""
    argv = ["keys", "create", "--dir", str(tmp_path / "keys")]
    light = subprocess.run(
        [sys.executable, "-c", LIGHT + RUN.format(argv)], capture_output=True, text=True, check=False
    )
    heavy = subprocess.run(
        [sys.executable, "-c", LIGHT + RUN.format(["volumes"])], capture_output=True, text=True, check=False
    )

    assert (light.returncode, light.stderr) == (0, "")
    assert (heavy.returncode, "pip install 'keyferry[cli]'" in heavy.stderr) == (2, True)


def test_keys_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sets, ids and times, and no key."""
    main(["keys", "create", "--dir", str(tmp_path), "--json"])

    keys = json.loads(capsys.readouterr().out)["keys"]
    assert [set(each) for each in keys] == [{"set", "id", "active_from"}] * 3
    assert [each["set"] for each in keys] == ["fetcher", "signing", "syncer"]


def test_services_do_not_carry_the_command_line() -> None:
    """No module of a service leads to it, so that no image needs rich."""
    code = "import sys, node_driver.app, fetcher.app, rotator.app, syncer.app\n"
    code += "print([name for name in sys.modules if name.startswith(('keyferry.cli', 'rich'))])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_kubectl_finds_it() -> None:
    """A plugin of kubectl is an executable of this name."""
    scripts = tomllib.loads((ROOT / "lib" / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["kubectl-keyferry"] == scripts["keyferry"]
