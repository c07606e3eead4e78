"""Takes JSON and YAML documents that a backend keeps apart by their top-level keys, as Go's readers understand them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from fetcher.document import DocumentError, Scalar, read
from keyferry.resources import MAX_CONTENT_BYTES

_LONGEST_NAME = 255  # bytes of a file's name (NAME_MAX)
_TRUE = frozenset({"true", "True", "TRUE"})
# Numbers of YAML that JSON spells alike (RFC 8259), and that no reader of it takes for infinite.
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,2})?", re.ASCII)


class _Number(float):
    """A number of a JSON document, which as a file keeps its digits."""

    written: str


def json_document(contents: bytes) -> Mapping[str, Any] | None:
    """The values by key; empty for ``null``, as in Go. None if it is no JSON object."""
    try:
        found = json.loads(contents.decode(errors="replace"), parse_float=_number, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return found or {} if isinstance(found, dict | None) else None


def yaml_document(contents: bytes) -> Mapping[str, Any] | None:
    """The same of YAML; None if it is no mapping, or one that would cost too much (`fetcher.document`)."""
    try:
        found = read(contents.decode(errors="replace"), longest=MAX_CONTENT_BYTES)
    except DocumentError:
        return None
    if is_null(found):
        return {}
    return found if isinstance(found, dict) else None


def is_null(value: Any) -> bool:
    """Whether a value is null in its language."""
    return value is None or (isinstance(value, Scalar) and value.kind == "null")


def text(value: Any) -> bytes | None:
    """A value that is a text; None for any other."""
    if isinstance(value, Scalar):
        return _utf8(value.text) if value.kind == "str" else None
    return _utf8(value) if isinstance(value, str) else None


def written(value: Any) -> bytes | None:
    """A value as a file holds it: a scalar as it is written, anything else as JSON; None if it nests too deep."""
    if isinstance(value, str):
        return _utf8(value)
    if isinstance(value, Scalar):
        return _utf8(value.text)
    if isinstance(value, _Number):
        return _utf8(value.written)
    try:
        return _utf8(json.dumps(_plain(value), ensure_ascii=False))
    except RecursionError:
        return None


def is_file_name(key: str) -> bool:
    """Whether every file system, and every message on the way there, takes it for the name of one file."""
    if key in ("", ".") or key.startswith("..") or "/" in key or not key.isprintable():
        return False  # half a surrogate pair is not printable either
    return len(key.encode()) <= _LONGEST_NAME


def _number(digits: str) -> _Number:
    number = _Number(digits)
    if math.isinf(number):
        raise ValueError
    number.written = digits
    return number


def _refuse(_: str) -> NoReturn:
    raise ValueError  # NaN and Infinity are Python's own


def _plain(value: Any) -> Any:
    """Lists and mappings of either language for JSON; what YAML alone can spell, such as 0x10 or a date, is a text."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if not isinstance(value, Scalar):
        return value
    if value.kind in ("null", "bool"):
        return None if value.kind == "null" else value.text in _TRUE
    is_number = value.kind in ("int", "float") and _NUMBER.fullmatch(value.text)
    return json.loads(value.text) if is_number else value.text


def _utf8(value: str) -> bytes:
    """Half a surrogate pair, which JSON can spell, becomes U+FFFD as in Go."""
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
