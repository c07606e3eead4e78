"""Reads the YAML of ``objects`` within bounds, and with every scalar's text as its author wrote it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import yaml

MAX_CHARACTERS = 256 * 1024
_MAX_DEPTH = 32
_MAX_VALUES = 20_000  # after aliases are followed, so that a few lines cannot stand for millions of values

# libyaml composes by recursion in C; `_check_depth` runs before it, on its event stream, which needs no recursion.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "merge"
_TAGS = {"null", "bool", "int", "float", "str", "timestamp", "value", _MERGE, "seq", "map"}


class DocumentError(Exception):
    """The text is no usable YAML; says where, never what stands there: it may be a secret."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text, number, flag or null; ``text`` is as written (``0644`` and ``yes`` are not lost)."""

    text: str
    tag: str

    def is_null(self) -> bool:
        """Whether it is null or nothing at all."""
        return self.tag == "null"

    def json(self) -> Any:
        """The value in JSON's terms, by YAML 1.2's rules: ``yes`` is a text, ``0644`` is octal, a date is a text."""
        if self.tag == "null":
            return None
        if self.tag == "bool" and self.text.lower() in {"true", "false"}:
            return self.text.lower() == "true"
        if self.tag in {"int", "float"}:
            return _number(self.text)
        return self.text


Value = Scalar | list["Value"] | dict[str, "Value"]


def read(text: str) -> Value:
    """The document as scalars, lists and mappings.

    Raises:
        DocumentError: not YAML, more than one document, too large, too deep, or an unusual key or tag.
    """
    if len(text) > MAX_CHARACTERS:
        raise DocumentError(f"is {len(text)} characters long: {MAX_CHARACTERS} are the most")
    try:
        _check_depth(text)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise DocumentError(f"is not valid YAML{where}") from None
    except (yaml.YAMLError, UnicodeError):
        raise DocumentError("is not valid YAML: it holds characters that YAML does not allow") from None
    return _Reader().value(node) if node else Scalar("", "null")


def to_json(value: Value) -> Any:
    """The value as Python's json module writes it."""
    if isinstance(value, Scalar):
        return value.json()
    if isinstance(value, list):
        return [to_json(item) for item in value]
    return {key: to_json(item) for key, item in value.items()}


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise DocumentError(f"is nested deeper than {_MAX_DEPTH} levels")


class _Reader:
    """Turns composed nodes into values and counts them: an alias counts as often as it is used."""

    def __init__(self) -> None:
        self._seen = 0

    def value(self, node: yaml.Node, depth: int = 0) -> Value:
        self._seen += 1
        if self._seen > _MAX_VALUES or depth > _MAX_DEPTH:
            raise DocumentError(f"stands for more than {_MAX_VALUES} values or nests deeper than {_MAX_DEPTH} levels")
        tag = _tag(node)
        if isinstance(node, yaml.ScalarNode):
            return Scalar(node.value, tag)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, depth + 1) for item in node.value]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth + 1)
        raise _at(node, "has something that is neither scalar, list nor mapping")

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Value]:
        own: dict[str, Value] = {}
        merged: dict[str, Value] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _at(key, "has a mapping key that is no text")
            if _tag(key) == _MERGE:
                merged = self._merge(item, depth) | merged
            elif key.value in own:
                raise _at(key, "has a mapping key twice")
            else:
                own[key.value] = self.value(item, depth)
        return merged | own

    def _merge(self, node: yaml.Node, depth: int) -> dict[str, Value]:
        """What ``<<:`` brings in; of several mappings the first wins."""
        found = self.value(node, depth)
        result: dict[str, Value] = {}
        for mapping in found if isinstance(found, list) else [found]:
            if not isinstance(mapping, dict):
                raise _at(node, "merges something that is no mapping")
            result = mapping | result
        return result


def _tag(node: yaml.Node) -> str:
    tag = str(node.tag).removeprefix("tag:yaml.org,2002:")
    if tag not in _TAGS:
        raise _at(node, "has a tag that is not supported")
    return tag


def _at(node: yaml.Node, problem: str) -> DocumentError:
    return DocumentError(f"{problem} at line {node.start_mark.line + 1}, column {node.start_mark.column + 1}")


def _number(text: str) -> int | float | str:
    """What Go's YAML reader takes for a number; the text itself where JSON has no such number (``.inf``, ``1:30``)."""
    digits = text.replace("_", "")
    try:
        octal = digits.lstrip("+-")
        if len(octal) > 1 and octal.startswith("0") and octal.isdigit():
            return int(digits, 8)
        return int(digits, 0)
    except ValueError:
        pass
    try:
        number = float(digits)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
