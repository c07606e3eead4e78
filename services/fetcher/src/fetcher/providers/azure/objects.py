"""Reads ``objects``: a YAML mapping whose ``array`` holds texts, each the YAML of one object."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from fetcher.document import DocumentError, Scalar, Value, read
from fetcher.provider import Problems
from fetcher.providers.azure.entry import LONGEST_ENTRY, Entry
from fetcher.providers.azure.wanted import SECRET, Object
from fetcher.shown import shown

MAX_OBJECTS = 1000

_DEEPEST = 8  # an array with texts, in which fields, one of them a mapping of tags


def read_objects(text: str, problems: Problems, *, separate_files: bool) -> tuple[Object, ...]:
    """The entries, without those that have problems.

    Args:
        text: The parameter.
        problems: Where everything wrong is noted.
        separate_files: Whether secrets may become two more files each.
    """
    entries = _array(text, problems)
    objects: list[Object] = []
    for index, entry in enumerate(entries):
        place = f"objects[{index}]"
        usable = isinstance(entry, Scalar) and entry.kind != "null" and len(entry.text) <= LONGEST_ENTRY
        found = _parsed(entry.text) if usable and isinstance(entry, Scalar) else None
        if isinstance(found, dict):
            one = Entry(place, found, problems).object()
            objects += [one] if one else []
        elif isinstance(found, str):
            problems.add(place, found)
        else:
            problems.add(place, 'must be a text of at most 8 KiB with one field a line: begin it with "- |"')
    _check_folders(objects, problems, separate_files=separate_files)
    return tuple(objects)


def _array(text: str, problems: Problems) -> list[Value]:
    if not text:
        problems.add("objects", "is not set")
        return []
    try:
        document = read(text, deepest=_DEEPEST)
    except DocumentError as error:
        problems.add("objects", str(error))
        return []
    entries = document.get("array") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not 0 < len(entries) <= MAX_OBJECTS:
        problems.add("objects", f'must hold "array:" and below it 1 to {MAX_OBJECTS} texts, in at most 256 KiB')
        return []
    return entries


def _parsed(text: str) -> dict[str, Value] | str:
    """An object's fields; a text says what is wrong."""
    try:
        found = read(text, deepest=_DEEPEST)
    except DocumentError as error:
        return str(error)
    return found if isinstance(found, dict) else "must hold fields: write objectName and objectType in it"


def _check_folders(objects: list[Object], problems: Problems, *, separate_files: bool) -> None:
    files = {path for each in objects for path in _paths(each, separate_files=separate_files)}
    folders = {path for each in objects for path in _folders(each)}
    for path in sorted(files | folders):
        above = [str(parent) for parent in PurePosixPath(path).parents if str(parent) in files]
        if above:
            problems.add(f"file {shown(path)}", f"needs a folder where {shown(above[0])} is a file")
        elif path in files and path in folders:
            problems.add(f"file {shown(path)}", "is a folder of another object's too")


def _paths(each: Object, *, separate_files: bool) -> Iterator[str]:
    """Files that the entry makes, as far as that is known before it is read."""
    if each.selection is not None:
        return
    path = f"{each.file}/0" if each.history > 1 else each.file
    if not each.options.expand:
        yield path
    if separate_files and each.reference.kind == SECRET:
        yield from (f"{path}.crt", f"{path}.key")


def _folders(each: Object) -> Iterator[str]:
    if each.file and (each.selection is not None or each.options.expand):
        yield f"{each.file}/0" if each.history > 1 else each.file
