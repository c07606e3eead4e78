"""Finds objects of a class that get in each other's way, by upstream's rules."""

from __future__ import annotations

from collections.abc import Sequence

from fetcher.provider import Problems
from fetcher.providers.aws.wanted import Object
from fetcher.shown import shown


def check(objects: Sequence[Object], problems: Problems) -> None:
    """Note objects that are named twice without being told apart, aliases in use already, and files below files."""
    named: set[tuple[str, str, str]] = set()
    taken: set[str] = set()
    for found in objects:
        if found.selection:  # what it stands for is not known yet, and its alias is a folder
            continue
        name, label = found.wanted[0].name, found.wanted[0].label
        if name and (name, found.alias, label) in named:
            problems.add(f"{found.place}.objectName", _twice(name, found.alias, label))
        elif found.alias in taken:
            problems.add(
                f"{found.place}.objectAlias", f"is in use already: found duplicate object alias {shown(found.alias)}"
            )
        named.add((name, found.alias, label))
        if found.alias:
            taken.add(found.alias)
        _check_extracts(found, taken, problems)
    _check_directories(objects, problems)


def _check_extracts(found: Object, taken: set[str], problems: Problems) -> None:
    for extract in found.extracts:
        if extract.alias in taken:
            problems.add(
                f"{extract.place}.objectAlias",
                f"Name already in use for objectAlias: found duplicate object alias {shown(extract.alias)} "
                f"in JMES path entry {shown(extract.expression.text)}",
            )
        if extract.alias:
            taken.add(extract.alias)


def _twice(name: str, alias: str, label: str) -> str:
    by_alias = f"duplicate object alias {shown(alias)}" if alias else "no object alias"
    by_label = f"duplicate version label {shown(label)}" if label else "no version label"
    return f"found descriptor with duplicate object name {shown(name)}, {by_alias}, and {by_label}"


def _check_directories(objects: Sequence[Object], problems: Problems) -> None:
    """A name cannot be a file and, because another file lies below it, a directory (only without path translation)."""
    # What is expanded makes a folder, and what is selected makes files that only AWS can name: `answers` looks at them.
    files = [(found.place, found.file) for found in objects if not (found.selection or found.options.expand)]
    files += [(extract.place, extract.file) for found in objects for extract in found.extracts]
    below: dict[str, str] = {}
    for place, file in files:
        parent = file.rpartition("/")[0]
        while parent:
            below.setdefault(parent, place)
            parent = parent.rpartition("/")[0]
    for place, file in files:
        if file in below:
            problems.add(
                place, f"writes the file {shown(file)}, below which {below[file]} writes another: set objectAlias"
            )
