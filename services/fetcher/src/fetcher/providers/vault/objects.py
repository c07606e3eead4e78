"""Turns the YAML list ``objects`` of a class into the files it asks for and the calls that fill them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from fetcher.options import OPTION_FIELDS, PLAIN, Options, Selection

OBJECT_FIELDS = (
    "objectName",
    "secretPath",
    "secretKey",
    "method",
    "secretArgs",
    "filePermission",
    "encoding",
    *OPTION_FIELDS,
    "selectPrefix",
)
METHODS = ("GET", "PUT", "POST")
ENCODINGS = ("utf-8", "base64", "hex")
MAX_OBJECTS = 1000
MAX_SELECTIONS = 20
"""In a class: each lists its folders at every fetch."""

LONGEST_NAME = 255
"""Bytes in one part of a path (NAME_MAX)."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request to Vault. Equal calls of a class are made once, so that their objects come from one answer.

    Attributes:
        method: GET, PUT or POST.
        path: Below ``/v1/``.
        query: Without the question mark; may be empty.
        body: JSON of ``secretArgs``, which may hold secrets; None without.
    """

    method: str
    path: str
    query: str = ""
    body: bytes | None = field(default=None, repr=False)


LIST = "list=true"
"""The query of a GET that lists; Vault's own LIST is no method that every proxy lets pass."""


@dataclass(frozen=True, slots=True)
class Object:
    """One entry of the class, or one secret that an entry selects.

    Attributes:
        name: Its id.
        path: Of its file, or of the folder where it becomes several; empty for a selection into the volume's root.
        call: What gives it. Of a selection, the prefix, which nobody calls.
        key: Which part of the answer is the contents; empty for all of it.
        encoding: One of `ENCODINGS`.
        mode: Permission bits; None for the request's default.
        options: What is made of it.
        selection: What an entry selects; None if it names one secret.
        is_selected: It came from a selection: no longer being there is no failure.
    """

    name: str
    path: str
    call: Call
    key: str
    encoding: str
    mode: int | None
    options: Options = PLAIN
    selection: Selection | None = None
    is_selected: bool = False


def is_file_path(name: str) -> bool:
    """Whether a file of this name can be in a volume, and nowhere else."""
    parts = name.split("/")
    return (
        not name.startswith("/")
        and name.isprintable()
        and not any(part.startswith("..") or len(part.encode(errors="replace")) > LONGEST_NAME for part in parts)
        and bool(set(parts) - {"", "."})
    )


def misspelt(given: Iterable[str], known: Iterable[str]) -> list[tuple[str, str]]:
    """Names that are right but for upper and lower case, with the right spelling; other unknown names are let be."""
    right = {name.lower(): name for name in known}
    return [(name, right[name.lower()]) for name in given if right.get(name.lower(), name) != name]


def twice(paths: Iterable[str]) -> list[str]:
    """Those that occur more than once."""
    return sorted(path for path, times in Counter(paths).items() if times > 1)


def in_the_way(paths: Collection[str], files: Collection[str]) -> list[tuple[str, str]]:
    """Paths with the file among ``files`` that stands where they need a folder."""
    above = {path: [str(parent) for parent in PurePosixPath(path).parents if str(parent) in files] for path in paths}
    return [(path, above[path][0]) for path in sorted(above) if above[path]]
