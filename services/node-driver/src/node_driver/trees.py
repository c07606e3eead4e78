"""Writes, compares and removes directory trees, always relative to an open directory and never through a symlink."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from keyferry.resources import File
from node_driver.paths import Tree

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a FIFO that somebody put in a file's place would hang the driver.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_DIRECTORY_MODE = 0o755
# What kubelet's SetVolumeOwnership adds for an fsGroup on a read-only volume.
_GROUP_DIRECTORY, _GROUP_FILE = 0o2550, 0o440


def make(parent: int, name: str, tree: Tree, gid: int | None) -> None:
    """Make a directory that holds a tree, with exact modes whatever the umask.

    Args:
        parent: Descriptor of the directory to make it in.
        name: A name that is free.
        tree: What it shall hold.
        gid: Group that owns all of it and may read it; None to leave groups alone.

    Raises:
        OSError: leaving behind what was made until then.
    """
    os.mkdir(name, 0o700, dir_fd=parent)
    directory = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        for below, entry in tree.items():
            if isinstance(entry, File):
                _create(directory, below, entry, gid)
            else:
                make(directory, below, entry, gid)
        _settle(directory, _DIRECTORY_MODE, gid, _GROUP_DIRECTORY)
    finally:
        os.close(directory)


def holds(parent: int, name: str, tree: Tree, gid: int | None) -> bool:
    """Whether `make` would yield what is there already: names, contents, modes and, if given, the group."""
    try:
        directory = os.open(name, DIRECTORY, dir_fd=parent)
    except OSError:
        return False
    try:
        if not _settled(os.fstat(directory), stat.S_IFDIR | _DIRECTORY_MODE, gid, _GROUP_DIRECTORY):
            return False
        return set(_names(directory)) == tree.keys() and not any(_differing(directory, tree, gid))
    finally:
        os.close(directory)


def differing(parent: int, name: str, tree: Tree, gid: int | None) -> list[str]:
    """The names of a tree that a directory does not hold just so.

    Raises:
        OSError: there is no such directory.
    """
    directory = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        return list(_differing(directory, tree, gid))
    finally:
        os.close(directory)


def remove(parent: int, name: str) -> None:
    """Remove whatever has this name, with all that is below it; nothing there is success."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        directory = os.open(name, DIRECTORY, dir_fd=parent)
        try:
            for below in _names(directory):
                remove(directory, below)
        finally:
            os.close(directory)
        os.rmdir(name, dir_fd=parent)


def give(directory: int, gid: int) -> bool:
    """Let a group own and read an open directory, keeping its other permissions; whether it did not before."""
    at = os.fstat(directory)
    if at.st_gid == gid and at.st_mode & _GROUP_DIRECTORY == _GROUP_DIRECTORY:
        return False
    _settle(directory, stat.S_IMODE(at.st_mode), gid, _GROUP_DIRECTORY)
    return True


def _names(directory: int) -> list[str]:
    return os.listdir(directory)


def _differing(directory: int, tree: Tree, gid: int | None) -> Iterator[str]:
    for name, entry in tree.items():
        same = _is_file(directory, name, entry, gid) if isinstance(entry, File) else holds(directory, name, entry, gid)
        if not same:
            yield name


def _create(directory: int, name: str, file: File, gid: int | None) -> None:
    descriptor = os.open(name, _CREATE, 0o600, dir_fd=directory)
    try:
        written = os.write(descriptor, file.contents)
        while written < len(file.contents):  # a tmpfs that fills up takes a part, and says so at the next call only
            written += os.write(descriptor, file.contents[written:])
        _settle(descriptor, file.mode, gid, _GROUP_FILE)
    finally:
        os.close(descriptor)


def _is_file(directory: int, name: str, file: File, gid: int | None) -> bool:
    try:
        descriptor = os.open(name, _READ, dir_fd=directory)
    except OSError:
        return False
    try:
        at = os.fstat(descriptor)
        return (
            _settled(at, stat.S_IFREG | file.mode, gid, _GROUP_FILE)
            and at.st_size == len(file.contents)
            and os.read(descriptor, at.st_size) == file.contents
        )
    finally:
        os.close(descriptor)


def _settle(descriptor: int, mode: int, gid: int | None, group_bits: int) -> None:
    if gid is not None:
        os.fchown(descriptor, -1, gid)  # before the mode, because chown takes setgid away
        mode |= group_bits
    os.fchmod(descriptor, mode)


def _settled(at: os.stat_result, mode: int, gid: int | None, group_bits: int) -> bool:
    return at.st_mode == mode if gid is None else at.st_mode == mode | group_bits and at.st_gid == gid
