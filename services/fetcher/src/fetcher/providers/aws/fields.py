"""Reads the YAML text of ``objects`` as upstream's decoder does: names of any case, every scalar a string."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from fetcher.provider import Problems

MAX_TEXT = 256 * 1024  # characters; etcd itself refuses classes above 1.5 MiB
MAX_ENTRIES = 2000  # mappings of all kinds, counted again for every YAML alias
_MAX_DEPTH = 8  # list, object, jmesPath list, entry: 4 are in use
_MAX_EVENTS = 40_000  # names, values and brackets: 2000 entries of three fields make 16 000
_MAX_TOLD = 20  # problems
_SHOWN = 120  # characters of a name in a message
_TAG = "tag:yaml.org,2002:"

Noted = Callable[[str, str], None]
"""Takes a field's name and what is wrong with it: `Fields.problem`."""


class _TextLoader(yaml.CSafeLoader):
    """A safe loader for lists, mappings, null and text: ``filePermission: 0644`` stays 0644 and is not 420."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML declares it
        first: [(tag, pattern) for tag, pattern in resolvers if tag == f"{_TAG}null"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012 - as PyYAML declares it
        f"{_TAG}null": SafeConstructor.construct_yaml_null,
        f"{_TAG}str": SafeConstructor.construct_yaml_str,
        f"{_TAG}seq": SafeConstructor.construct_yaml_seq,
        f"{_TAG}map": SafeConstructor.construct_yaml_map,
        None: SafeConstructor.construct_undefined,
    }

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """No merge keys: ``<<: [*a, *a]``, 40 times over, would fill the memory."""


class FirstProblems(Problems):
    """Tells the first twenty problems and how many more there are: the text must fit into an Event."""

    def __init__(self) -> None:
        super().__init__()
        self._more = 0

    def add(self, field_name: str, problem: str) -> None:
        """Note one problem."""
        if len(self._found) < _MAX_TOLD:
            super().add(field_name, problem)
        else:
            self._more += 1

    def raise_any(self) -> None:
        """Raise what was collected."""
        if self._more:
            self._found.append(f"and {self._more} more problems")
        super().raise_any()


class _Reader:
    """Where problems go, and how many more mappings may be read."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self._left = MAX_ENTRIES

    def mappings(self, place: str, value: Any) -> list[Fields]:
        if value is None:
            return []
        if not isinstance(value, list):
            self.problems.add(place, "must be a list")
            return []
        entries = []
        for i, entry in enumerate(value):
            if self._left < 0:
                break
            found = self.mapping(f"{place}[{i}]", entry)
            entries += [found] if found else []
        return entries

    def mapping(self, place: str, value: Any) -> Fields | None:
        self._left -= 1
        if self._left == -1:
            self.problems.add("objects", f"has more than {MAX_ENTRIES} entries")
        if not isinstance(value, dict):
            self.problems.add(place, "must be a mapping of fields")
            return None
        return Fields(place, {str(name).lower(): field for name, field in value.items()}, self)


class Fields:
    """One mapping of the YAML, which notes what is wrong with it under its own place, such as ``objects[0]``."""

    def __init__(self, place: str, found: Mapping[str, Any], reader: _Reader) -> None:
        self.place = place
        self._found = found
        self._reader = reader

    def problem(self, field: str, problem: str) -> None:
        """Note a problem of one field; an empty name stands for the whole mapping."""
        self._reader.problems.add(f"{self.place}.{field}" if field else self.place, problem)

    def text(self, field: str, *, multiline: bool = False) -> str:
        """A string field; empty if it is not there, or is no text, which is then noted."""
        value = self._found.get(field.lower())
        if value is None:
            return ""
        if not isinstance(value, str):
            self.problem(field, "must be a string")
            return ""
        if any(unicodedata.category(c) in ("Cc", "Cs") for c in value if not (multiline and c in "\n\t")):
            self.problem(field, "contains control characters or broken text")
            return ""
        return value

    def mapping(self, field: str) -> Fields | None:
        """A field that holds fields of its own; None if it is not there."""
        value = self._found.get(field.lower())
        return None if value is None else self._reader.mapping(f"{self.place}.{field}", value)

    def mappings(self, field: str) -> list[Fields]:
        """A field that holds a list of mappings; empty if it is not there."""
        return self._reader.mappings(f"{self.place}.{field}", self._found.get(field.lower()))


def read_objects(text: str, problems: Problems) -> list[Fields]:
    """The entries of ``objects``; none if it cannot be read, which is then noted."""
    if len(text) > MAX_TEXT:
        problems.add("objects", f"is longer than {MAX_TEXT} characters")
        return []
    try:
        _check_shape(text)
        found = yaml.load(text, Loader=_TextLoader)  # noqa: S506 - safer than SafeLoader
    except (yaml.YAMLError, ValueError) as error:
        problems.add("objects", f"is not valid YAML, or nested too deeply{_line(error)}: write a list of objects")
        return []
    if not found:
        problems.add("objects", "is missing or empty: list at least one object")
        return []
    return _Reader(problems).mappings("objects", found)


def _check_shape(text: str) -> None:
    # libyaml composes nested nodes on the C stack: some thousands of "- - - -" would take the process down. Its event
    # parser does not, and says first how deep the text goes.
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH or count > _MAX_EVENTS:
            raise ValueError


def _line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f" (line {mark.line + 1})" if mark else ""


def shown(text: str) -> str:
    """A name as messages write it, cut where it would fill the screen."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
