"""Reads the YAML of a class within bounds: lists, mappings and texts, every scalar a text as it was written.

Upstream decodes into string fields, where ``filePermission: 0644`` stays 0644 and ``objectVersion: 1`` is a text.
"""

from __future__ import annotations

from collections.abc import Iterator

import yaml

_MAX_DEPTH = 8  # a mapping, its list, its texts; three are in use
_MAX_NODES = 5_000  # every use of an alias counts, so that a few lines cannot stand for millions of entries
_TAG = "tag:yaml.org,2002:"
_SCALARS = {f"{_TAG}{kind}" for kind in ("str", "int", "float", "bool", "timestamp")}
_NULL = f"{_TAG}null"

Value = None | str | list["Value"] | dict[str, "Value"]


class _Loader(yaml.CSafeLoader):
    """Tells null from text; what else a plain scalar could be does not matter."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML declares it
        first: [(tag, pattern) for tag, pattern in resolvers if tag == _NULL]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class DocumentError(Exception):
    """The text is no usable YAML; says where, in words that continue a field's name."""


def read(text: str) -> Value:
    """The document.

    Raises:
        DocumentError: it is none, or too deep, too large, or has unusual keys or tags.
    """
    problem = ""
    try:
        _check_depth(text)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        problem = f"is not valid YAML{f' at line {mark.line + 1}, column {mark.column + 1}' if mark else ''}"
    except (yaml.YAMLError, UnicodeError):
        problem = "is not valid YAML: it holds characters that YAML does not allow"
    if problem:  # outside the block: the parser's error quotes the text
        raise DocumentError(problem)
    return _value(node, 0, iter(range(_MAX_NODES))) if node else None


def _check_depth(text: str) -> None:
    # libyaml composes by recursion in C: a few thousand brackets would end the process. Its event stream does not.
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise DocumentError(f"is nested deeper than {_MAX_DEPTH} levels")


def _value(node: yaml.Node, depth: int, room: Iterator[int]) -> Value:
    if next(room, None) is None or depth > _MAX_DEPTH:
        raise DocumentError(f"stands for more than {_MAX_NODES} values, or nests deeper than {_MAX_DEPTH} levels")
    if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
        return str(node.value)
    if isinstance(node, yaml.ScalarNode) and node.tag == _NULL:
        return None
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
        return [_value(item, depth + 1, room) for item in node.value]
    if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
        return _mapping(node, depth + 1, room)
    raise _at(node, "has a tag that is not supported")


def _mapping(node: yaml.MappingNode, depth: int, room: Iterator[int]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for key, item in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _at(key, "has a mapping key that is no text")
        if key.value in found:
            raise _at(key, "has a mapping key twice")
        found[key.value] = _value(item, depth, room)
    return found


def _at(node: yaml.Node, problem: str) -> DocumentError:
    return DocumentError(f"{problem} at line {node.start_mark.line + 1}, column {node.start_mark.column + 1}")
