import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from keyferry.__main__ import main
from keyferry.keys import KeyFile


def test_create_shows_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three key sets, each with its id and since when it is used."""
    assert main(["keys", "create", "--dir", str(tmp_path)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["fetcher", "signing", "syncer"]
    assert all(re.fullmatch(r"\w+ +\w+-[0-9a-f]{8} +used from \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", li) for li in lines)


def test_create_twice_fails_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status is 1 and the reason is on standard error."""
    main(["keys", "create", "--dir", str(tmp_path)])
    capsys.readouterr()

    assert main(["keys", "create", "--dir", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"keyferry: {tmp_path} holds keys already: use `keyferry keys rotate`\n")


def test_rotate_shows_both_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Newest first; its time of use lies after the other's."""
    main(["keys", "create", "--dir", str(tmp_path)])
    capsys.readouterr()

    assert main(["keys", "rotate", "--dir", str(tmp_path)]) == 0
    newest, former = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fetcher")]
    assert newest.partition("from")[2] > former.partition("from")[2]


def test_rotate_now_does_not_wait(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second rotation is refused until the first is in use, except after a compromise."""
    main(["keys", "create", "--dir", str(tmp_path)])
    statuses = [main(["keys", "rotate", "--dir", str(tmp_path), *extra]) for extra in ([], [], ["--now"])]

    assert statuses == [0, 1, 0]
    assert "rotate again after that" in capsys.readouterr().err


def test_rotate_makes_a_new_mac_key_if_told(tmp_path: Path) -> None:
    """For keys that may be stolen; otherwise it stays."""
    main(["keys", "create", "--dir", str(tmp_path)])
    kept = [main(["keys", "rotate", "--dir", str(tmp_path), "--now", *extra]) for extra in ([], ["--mac"])]

    assert kept == [0, 0]
    assert len(KeyFile.fetcher(tmp_path).keys.macs.entries) == 2


@pytest.mark.parametrize("action", ["rotate", "show", "manifests"])
def test_without_keys_there_is_nothing_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str], action: str) -> None:
    """The exit status is 1, the folder is named, and no traceback is shown."""
    assert main(["keys", action, "--dir", str(tmp_path)]) == 1

    out, err = capsys.readouterr()
    assert (out, err.startswith("keyferry: "), str(tmp_path) in err) == ("", True, True)


@pytest.mark.parametrize("action", ["rotate", "show"])
def test_a_damaged_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], action: str) -> None:
    """A file of another form ends in one line, too."""
    main(["keys", "create", "--dir", str(tmp_path)])
    (tmp_path / "public.json").write_text('{"fetcher": [{}], "signing": [], "syncer": []}')
    capsys.readouterr()

    assert main(["keys", action, "--dir", str(tmp_path)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_manifests_are_for_kubectl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output is one JSON list and nothing else."""
    main(["keys", "create", "--dir", str(tmp_path)])
    capsys.readouterr()

    assert main(["keys", "manifests", "--dir", str(tmp_path), "--namespace", "sec"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["kind"], {i["metadata"]["namespace"] for i in printed["items"]}) == ("List", {"sec"})


def test_the_command_is_installed(tmp_path: Path) -> None:
    """``keyferry`` is what the documentation says, and its exit status is main's."""
    command = Path(sys.executable).parent / "keyferry"

    ran = subprocess.run([command, "keys", "show", "--dir", tmp_path], capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stderr.startswith("keyferry: ")) == (1, True)
