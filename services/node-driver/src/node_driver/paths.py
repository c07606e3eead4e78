"""Decides which files a volume may hold, before anything is written: names, modes and how they fit together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from keyferry.errors import InvalidSecretProviderClass
from keyferry.resources import File

Tree: TypeAlias = "dict[str, File | Tree]"

MAX_PATH_BYTES = 4095  # PATH_MAX counts the final NUL
MAX_NAME_BYTES = 255  # NAME_MAX
MAX_DEPTH = 64  # ours: far above any class seen, far below what would exhaust stack or descriptors
MAX_MODE = 0o777
_SHOWN = 80


def arrange(files: Iterable[File]) -> Tree:
    """The files as nested directories, each checked by the rules of kubelet's AtomicWriter and of Linux.

    A backslash is an ordinary character on Linux and stays one, as in upstream's driver on Linux.

    Raises:
        InvalidSecretProviderClass: naming the file and the fix.
    """
    tree: Tree = {}
    for file in files:
        *directories, name = _elements(file.path)
        if not 0 <= file.mode <= MAX_MODE:
            raise _refused(file.path, f"mode {file.mode:#o} is not within 0 to {MAX_MODE:#o}: correct filePermission")
        at = tree
        for directory in directories:
            below = at.setdefault(directory, {})
            if isinstance(below, File):
                raise _refused(file.path, f"{_shown(below.path)} is a file already: rename one of them")
            at = below
        taken = at.setdefault(name, file)
        if taken is not file:
            what = "it is the name of a directory, too" if isinstance(taken, dict) else "two objects have this name"
            raise _refused(file.path, f"{what}: give one of them another alias or file name")
    return tree


def _elements(path: str) -> list[str]:
    """A path's names, none of which can lead out of the volume or into the writer's own.

    Raises:
        InvalidSecretProviderClass: naming the path and the fix.
    """
    if not path:
        raise _refused(path, "the name is empty: give the object an alias or file name")
    if path.startswith("/"):
        raise _refused(path, "the path is absolute: write it relative to the volume")
    if not path.isprintable() and any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in path):  # noqa: PLR2004 - C0, C1
        raise _refused(path, "the name holds control characters: remove them")
    elements = path.split("/")
    if len(elements) > MAX_DEPTH:
        raise _refused(path, f"{len(elements)} directories deep; at most {MAX_DEPTH} are allowed")
    try:
        sizes = [len(element.encode()) for element in elements]
    except UnicodeEncodeError:
        raise _refused(path, "the name is not valid Unicode: correct it") from None
    if sum(sizes) + len(sizes) - 1 > MAX_PATH_BYTES:
        raise _refused(path, f"longer than {MAX_PATH_BYTES} bytes: shorten it")
    if max(sizes) > MAX_NAME_BYTES:
        raise _refused(path, f"an element is longer than {MAX_NAME_BYTES} bytes: shorten it")
    if not {"", ".", ".."}.isdisjoint(elements):
        raise _refused(path, 'an element is empty, "." or "..": write a plain relative path such as dir/file')
    if path.startswith(".."):
        raise _refused(path, 'names that begin with ".." are kept for the volume\'s own use: rename it')
    return elements


def _refused(path: str, why: str) -> InvalidSecretProviderClass:
    return InvalidSecretProviderClass(f"file {_shown(path)}: {why}")


def _shown(path: str) -> str:
    """A name that a log line can hold, whatever is in it."""
    return ascii(path if len(path) <= _SHOWN else path[:_SHOWN] + "…")
