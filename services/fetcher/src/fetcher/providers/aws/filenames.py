"""What the files of a class are called: path translation, and what the driver can write."""

from __future__ import annotations

import re

from fetcher.provider import Problems
from fetcher.providers.aws.fields import Noted
from fetcher.shown import shown

_PARENT = re.compile(r"(?:^|/)\.\./|/\.\.$")
_MAX_PATH = 4096  # bytes, of a whole path
_MAX_ELEMENT = 255  # bytes, of one file name


def translation(text: str, problems: Problems) -> str:
    """What replaces ``/`` in file names; empty for nothing (``pathTranslation``)."""
    if text.lower() == "false":
        return ""
    if len(text.encode()) > 1:
        problems.add("pathTranslation", "must be either 'False' or a single character string")
    return text or "_"


def file_name(name: str, field: str, replacement: str, noted: Noted) -> str:
    """The path of a file below the volume, refused where the driver could not write it (kubelet's AtomicWriter rules).

    Args:
        name: Alias or object name.
        field: Where it was written, for a problem.
        replacement: Instead of ``/``; empty keeps nested paths and drops leading slashes.
        noted: Told of what is wrong.
    """
    path = name.replace("/", replacement) if replacement else name.lstrip("/")
    elements = path.split("/")
    if _PARENT.search(path):
        noted(field, f"path can not contain ../: {shown(name)}")
    elif path.startswith("..") or not all(e not in ("", ".", "..") for e in elements):
        noted(field, f"does not make a file name: {shown(name)}")
    elif len(path.encode()) > _MAX_PATH or any(len(element.encode()) > _MAX_ELEMENT for element in elements):
        noted(field, f"makes too long a file name (255 bytes are allowed between slashes): {shown(name)}")
    return path


def selected_file(folder: str, rest: str, replacement: str, doing: str) -> str:
    """The path of a file that a selection yields.

    Args:
        folder: Of the entry; may be empty.
        rest: The name of the secret below what was selected by.
        replacement: As for `file_name`.
        doing: What messages begin with.

    Raises:
        InvalidSecretProviderClass: no such file can be written.
    """
    problems = Problems()
    file = file_name(rest, "its name", replacement, lambda field, problem: problems.add(f"{doing}: {field}", problem))
    problems.raise_any()
    return f"{folder}/{file}" if folder else file
