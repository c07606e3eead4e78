import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyferry.resources import File
from node_driver import files
from node_driver.touch import touch

IN_MODIFY, IN_MOVED_TO, IN_ALL_EVENTS = 0x2, 0x80, 0xFFF
HEAD = struct.Struct("iIII")
libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """What the kernel tells whoever watches a directory (inotify(7))."""

    def __init__(self, directory: Path) -> None:
        self.descriptor = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self.descriptor, os.fsencode(directory), IN_ALL_EVENTS) > 0

    def names(self, kind: int) -> list[str]:
        """The names that something of this kind has happened to since the last look."""
        try:
            told = os.read(self.descriptor, 65536)
        except BlockingIOError:
            return []
        found, at = [], 0
        while at < len(told):
            _, mask, _, size = HEAD.unpack_from(told, at)
            name = told[at + HEAD.size : at + HEAD.size + size].rstrip(b"\0").decode()
            found += [name] if mask & kind else []
            at += HEAD.size + size
        return found


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    watch = Watch(tmp_path)
    yield watch
    os.close(watch.descriptor)


def test_a_link_is_modified(tmp_path: Path, watch: Watch) -> None:
    """A touched symlink is told as modified, whether or not it leads anywhere, and still leads there."""
    (tmp_path / "link").symlink_to("nowhere")
    directory = os.open(tmp_path, os.O_DIRECTORY)
    touch(directory, "link")
    os.close(directory)

    assert watch.names(IN_MODIFY) == ["link"]
    assert (tmp_path / "link").readlink() == Path("nowhere")


def test_nothing_to_touch(tmp_path: Path) -> None:
    """A name that is not there is an OSError that says so."""
    directory = os.open(tmp_path, os.O_DIRECTORY)
    with pytest.raises(FileNotFoundError, match="absent"):
        touch(directory, "absent")
    os.close(directory)


def test_a_switch_is_told(tmp_path: Path, watch: Watch) -> None:
    """Who watches the volume sees ``..data`` move, and after that each name that reads differently as modified."""
    files.write(str(tmp_path), [File("a", b"1"), File("b", b"1"), File("c/d", b"1"), File("e/f", b"1")])
    watch.names(IN_ALL_EVENTS)
    files.write(str(tmp_path), [File("a", b"2"), File("b", b"1"), File("c/d", b"2"), File("e/f", b"1")])

    assert watch.names(IN_MODIFY | IN_MOVED_TO) == ["..data", "a", "c"]


def test_a_new_mode_is_told(tmp_path: Path, watch: Watch) -> None:
    """A file whose mode alone has changed is told as well."""
    files.write(str(tmp_path), [File("a", b"1", 0o600), File("b", b"1")])
    watch.names(IN_ALL_EVENTS)
    files.write(str(tmp_path), [File("a", b"1", 0o400), File("b", b"1")])

    assert watch.names(IN_MODIFY) == ["a"]


def test_the_same_content_is_silent(tmp_path: Path, watch: Watch) -> None:
    """A write of what is there already is no event at all but the look into the directory."""
    files.write(str(tmp_path), [File("a", b"1")])
    watch.names(IN_ALL_EVENTS)
    files.write(str(tmp_path), [File("a", b"1")])

    assert watch.names(IN_ALL_EVENTS & ~0x31) == []  # access, open and close without write: files.write has looked


def test_the_first_write_is_silent(tmp_path: Path, watch: Watch) -> None:
    """Nobody watches a volume that is being published: its files are made, not modified."""
    files.write(str(tmp_path), [File("a", b"1")])

    assert watch.names(IN_MODIFY) == []
