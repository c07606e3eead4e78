"""Reads YAML within bounds and by the rules of Go's YAML reader, which upstream reads classes and secrets with.

PyYAML's own types are not Go's: to it ``yes`` is a flag and ``1:30`` a number where Go sees texts, and ``0o400`` a
text where Go sees a number. Here scalars keep their text, and a kind that is Go's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml

LONGEST = 256 * 1024  # characters; etcd itself refuses classes above 1.5 MiB
_MAX_DEPTH = 32
_MAX_NODES = 20_000  # with every use of an alias counted, so that a few lines cannot stand for millions of values
_MAX_EVENTS = 4 * _MAX_NODES  # of the parser: a begin and an end for each value, and as much for keys
_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_KINDS = ("null", "bool", "int", "float", "timestamp", "str")
_TOO_MUCH = f"stands for more than {_MAX_NODES} values, or repeats long texts by reference"


class _Loader(yaml.CSafeLoader):
    """Knows what kind a plain scalar has, as gopkg.in/yaml.v3 does (resolve.go); quoted ones are texts."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - as PyYAML declares it


for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
    ("timestamp", r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ]+[0-9]{1,2}:[0-9:. ]+([Zz]|[-+0-9:]+)?)?", list("0123456789")),
    ("merge", "<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(f"(?:{_pattern})\\Z"), _first)


class DocumentError(Exception):
    """The text is no usable YAML; says where, never what stands there: it may be a secret."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """Anything but a list or a mapping: as written, without quotes, and which of `_KINDS` it is."""

    text: str = field(repr=False)
    kind: str


Value = Scalar | list["Value"] | dict[str, "Value"]
NOTHING = Scalar("", "null")


def read(text: str, *, longest: int = LONGEST, deepest: int = _MAX_DEPTH) -> Value:
    """The document.

    Args:
        text: YAML, one document.
        longest: Characters that it may have.
        deepest: Lists and mappings in one another.

    Raises:
        DocumentError: it is none, too long, too deep, has unusual keys or tags, or stands for far more than it shows.
    """
    if len(text) > longest:
        raise DocumentError(f"is {len(text)} characters long: {longest} are the most")
    problem = ""
    try:
        _check_depth(text, deepest)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        problem = f"is not valid YAML{f' at line {mark.line + 1}, column {mark.column + 1}' if mark else ''}"
    except (yaml.YAMLError, UnicodeError):
        problem = "is not valid YAML: it holds characters that YAML does not allow"
    if problem:  # outside the block: the parser's error quotes the text
        raise DocumentError(problem)
    return _value(node, deepest, _Room(longest)) if node else NOTHING


def _check_depth(text: str, deepest: int) -> None:
    # libyaml composes by recursion in C: a few thousand brackets would end the process. Its event stream does not.
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if number > _MAX_EVENTS:
            raise DocumentError(_TOO_MUCH)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > deepest:
            raise DocumentError(f"is nested deeper than {deepest} levels")


class _Room:
    """What a document may still stand for, once its aliases are followed."""

    def __init__(self, characters: int) -> None:
        self._values = _MAX_NODES
        self._characters = characters

    def take(self, text: str, *, values: int) -> None:
        """Take up room.

        Args:
            text: Of a scalar or a key.
            values: Beside it.

        Raises:
            DocumentError: there is none left.
        """
        self._values -= values
        self._characters -= len(text)
        if self._values < 0 or self._characters < 0:
            raise DocumentError(_TOO_MUCH)


def _value(node: yaml.Node, depth: int, room: _Room) -> Value:
    if depth < 0:
        raise DocumentError("nests too deep where it refers to itself")
    room.take(node.value if isinstance(node, yaml.ScalarNode) else "", values=1)
    kind = node.tag.removeprefix(_TAG)
    if isinstance(node, yaml.ScalarNode) and kind in _KINDS:
        return Scalar(node.value, kind)
    if isinstance(node, yaml.SequenceNode) and kind == "seq":
        return [_value(item, depth - 1, room) for item in node.value]
    if isinstance(node, yaml.MappingNode) and kind == "map":
        return _mapping(node, depth - 1, room)
    raise _at(node, "has a tag that is not supported")


def _mapping(node: yaml.MappingNode, depth: int, room: _Room) -> dict[str, Value]:
    own: dict[str, Value] = {}
    merged: dict[str, Value] = {}
    for key, item in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _at(key, "has a mapping key that is no text")
        room.take(key.value, values=0)
        value = _value(item, depth, room)
        if key.tag == _MERGE:
            for each in value if isinstance(value, list) else [value]:
                if not isinstance(each, dict):
                    raise _at(item, "merges something that is no mapping")
                merged = each | merged
        elif key.value in own:
            raise _at(key, "has a mapping key twice")
        else:
            own[key.value] = value
    return merged | own


def _at(node: yaml.Node, problem: str) -> DocumentError:
    return DocumentError(f"{problem} at line {node.start_mark.line + 1}, column {node.start_mark.column + 1}")
