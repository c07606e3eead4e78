import base64
import json
import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyferry import keymaking, keys
from keyferry.keys import KeyFile, KeyFileError
from keyferry.sealing import Binding

BINDING = Binding("ask", "r-1", "node-1", "csi-1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with keys that are in use since second 0."""
    keymaking.create(tmp_path / "keys", now=0.0)
    return tmp_path / "keys"


def test_a_private_file_that_everybody_can_read_is_refused(folder: Path) -> None:
    """The text says what to do; a group may read it, as kubelet's fsGroup makes it."""
    (folder / keys.FETCHER).chmod(0o440)
    KeyFile.fetcher(folder)
    (folder / keys.FETCHER).chmod(0o644)

    with pytest.raises(KeyFileError, match=r"fetcher\.json is readable by everybody: chmod 0600"):
        KeyFile.fetcher(folder)


def test_a_missing_file_names_the_command_that_makes_it(tmp_path: Path) -> None:
    """Whoever starts a service without keys learns how to make them."""
    with pytest.raises(KeyFileError, match=r"public\.json: No such file.*`keyferry keys create`"):
        KeyFile.public(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '"text"',
        "{}",
        '{"fetcher": [], "signing": [], "syncer": []}',
        '{"fetcher": [{}], "signing": [{}], "syncer": [{}]}',
        '{"fetcher": ["a"], "signing": [], "syncer": []}',
        '{"fetcher": [{"id": "a", "active_from": "soon", "public": "AAAA"}], "signing": [], "syncer": []}',
        '{"fetcher": [{"id": "a", "active_from": 0, "public": "AAAA"}], "signing": [], "syncer": []}',
        '{"fetcher": [{"id": "a", "active_from": 0, "public": 7}], "signing": [], "syncer": []}',
    ],
)
def test_what_is_no_key_file_is_refused(tmp_path: Path, content: str) -> None:
    """Malformed files are KeyFileError, whatever is wrong with them."""
    (tmp_path / keys.PUBLIC).write_text(content)

    with pytest.raises(KeyFileError, match=r"public\.json is no key file"):
        KeyFile.public(tmp_path)


@given(st.binary(max_size=100))
def test_garbage_in_a_key_is_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    """No bytes in the place of a seed make the reader raise anything but KeyFileError."""
    folder = tmp_path_factory.mktemp("keys")
    keymaking.create(folder)
    changed = json.loads((folder / keys.FETCHER).read_text())
    changed["fetcher"][0]["seed"] = base64.b64encode(raw[:95]).decode()
    (folder / keys.FETCHER).write_text(json.dumps(changed))

    with pytest.raises(KeyFileError, match=r"fetcher\.json is no key file \(UntrustedMessage\)"):
        KeyFile.fetcher(folder)


def test_a_changed_file_is_read_again(folder: Path) -> None:
    """Rotation needs no restart."""
    file = KeyFile.public(folder)
    before = file.keys
    keymaking.rotate(folder)

    assert len(before.fetcher.entries) == 1
    assert len(file.keys.fetcher.entries) == 2


def test_an_unchanged_file_is_read_once(folder: Path) -> None:
    """Keys are asked for at every mount: parsing them each time would cost more than sealing."""
    file = KeyFile.public(folder)

    assert file.keys is file.keys


def test_a_swapped_link_is_noticed(folder: Path, tmp_path: Path) -> None:
    """Kubelet changes a mounted ConfigMap by pointing a link to another folder, where times may be equal."""
    keymaking.create(tmp_path / "next", now=0.0)
    for either in (folder, tmp_path / "next"):
        os.utime(either / keys.PUBLIC, ns=(0, 0))
    link = tmp_path / "mounted"
    link.symlink_to(folder)
    file = KeyFile.public(link)
    before = file.keys
    link.unlink()
    link.symlink_to(tmp_path / "next")

    assert file.keys.fetcher.entries[0][0] != before.fetcher.entries[0][0]


def test_a_broken_change_leaves_the_keys_as_they_were(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A typo must not stop running mounts: it is logged once, and the next good content is taken."""
    file = KeyFile.public(folder)
    before, good = file.keys, (folder / keys.PUBLIC).read_text()
    (folder / keys.PUBLIC).write_text("{")

    with caplog.at_level(logging.ERROR):
        assert [file.keys, file.keys] == [before, before]
    (folder / keys.PUBLIC).write_text(good)

    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "changed keys are not taken, the former ones stay in use"
    ]
    assert file.keys is not before


def test_a_file_that_goes_away_leaves_the_keys_as_they_were(folder: Path) -> None:
    """An unmounted Secret must not stop running mounts, either."""
    file = KeyFile.public(folder)
    before = file.keys
    (folder / keys.PUBLIC).unlink()

    assert file.keys is before


def test_a_mode_that_is_put_right_is_noticed(folder: Path) -> None:
    """A mode changes no content and no modification time; the file is read again all the same."""
    file = KeyFile.fetcher(folder)
    keymaking.rotate(folder)
    (folder / keys.FETCHER).chmod(0o604)
    assert len(file.keys.opening.entries) == 1
    (folder / keys.FETCHER).chmod(0o600)

    assert len(file.keys.opening.entries) == 2
