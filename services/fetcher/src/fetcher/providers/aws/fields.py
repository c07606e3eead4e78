"""Reads the entries of ``objects``: names of any case, as upstream takes them, and texts as they are written."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence

from fetcher.document import NOTHING, DocumentError, Scalar, Value, read
from fetcher.provider import Problems

Noted = Callable[[str, str], None]
"""Takes a field's name and what is wrong with it: `Fields.problem`."""


class Fields:
    """One mapping of the YAML, which notes what is wrong with it under its own place, such as ``objects[0]``."""

    def __init__(self, place: str, found: Mapping[str, Value], problems: Problems) -> None:
        self.place = place
        self._found = {name.lower(): value for name, value in found.items()}
        self._problems = problems

    def problem(self, field: str, problem: str) -> None:
        """Note a problem of one field; an empty name stands for the whole mapping."""
        self._problems.add(f"{self.place}.{field}" if field else self.place, problem)

    def text(self, field: str, *, multiline: bool = False) -> str:
        """A string field; empty if it is not there, or is no text, which is then noted."""
        value = self._found.get(field.lower(), NOTHING)
        if not isinstance(value, Scalar):
            self.problem(field, "must be a string")
            return ""
        if not is_clean(value.text, "\n\t" if multiline else ""):
            self.problem(field, "contains control characters or broken text")
            return ""
        return "" if value.kind == "null" else value.text

    def has(self, field: str) -> bool:
        """Whether the field is there, and not null."""
        return not _is_null(self._found.get(field.lower(), NOTHING))

    def mapping(self, field: str) -> Fields | None:
        """A field that holds fields of its own; None if it is not there."""
        value = self._found.get(field.lower(), NOTHING)
        return None if _is_null(value) else _fields(f"{self.place}.{field}", value, self._problems)

    def mappings(self, field: str) -> list[Fields]:
        """A field that holds a list of mappings; empty if it is not there."""
        value = self._found.get(field.lower(), NOTHING)
        return [] if _is_null(value) else _entries(f"{self.place}.{field}", value, self._problems)

    def named(self, names: Sequence[str]) -> dict[str, Value]:
        """The fields of these names, under these names however the class spells them."""
        return {name: self._found[name.lower()] for name in names if name.lower() in self._found}


def read_objects(text: str, problems: Problems) -> list[Fields]:
    """The entries of ``objects``; none if it cannot be read, which is then noted."""
    try:
        found = read(text)
    except DocumentError as error:
        problems.add("objects", str(error))
        return []
    if _is_null(found) or not found:
        problems.add("objects", "is missing or empty: list at least one object")
        return []
    return _entries("objects", found, problems)


def _entries(place: str, value: Value, problems: Problems) -> list[Fields]:
    if not isinstance(value, list):
        problems.add(place, "must be a list")
        return []
    read_ones = [_fields(f"{place}[{i}]", entry, problems) for i, entry in enumerate(value)]
    return [entry for entry in read_ones if entry]


def _fields(place: str, value: Value, problems: Problems) -> Fields | None:
    if isinstance(value, dict):
        return Fields(place, value, problems)
    problems.add(place, "must be a mapping of fields")
    return None


def _is_null(value: Value) -> bool:
    return isinstance(value, Scalar) and value.kind == "null"


def is_clean(text: str, allowed: str = "") -> bool:
    """Whether a text has no control characters but the allowed ones, and no halves of surrogate pairs."""
    return not any(unicodedata.category(c) in ("Cc", "Cs") for c in text if c not in allowed)
