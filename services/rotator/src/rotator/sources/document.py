"""Reads JSON that strangers wrote: bounded, and without ever quoting it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

_LONGEST_NAME = 1024
_PLAIN_ID = re.compile(r"[\x21-\x7e]{1,128}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Malformed(Exception):
    """Nothing that can be understood, now or later. The text says what is wrong with its form, and quotes nothing."""


def parse(body: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        Malformed: it is none.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # also: not UTF-8, a number of a million digits
        raise Malformed("it is not JSON") from None


def member(value: Any, *path: str) -> Mapping[str, Any]:
    """The object at a path; empty where there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def text(value: Mapping[str, Any], *keys: str) -> str:
    """The first of these fields that holds a usable text; empty where none does."""
    for key in keys:
        found = value.get(key)
        if isinstance(found, str) and is_usable(found):
            return found
    return ""


def is_usable(name: str) -> bool:
    """Whether a text can be a name: of decent length, no control characters, and Unicode that can be sent on."""
    if not 0 < len(name) <= _LONGEST_NAME or _CONTROL.search(name):
        return False
    try:
        name.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def event_id(found: str) -> str:
    """An id that fits into a header: as it is, or a digest of it.

    Raises:
        Malformed: there is none.
    """
    if not found:
        raise Malformed("it has no id")
    if _PLAIN_ID.fullmatch(found):
        return found
    return hashlib.sha256(found.encode(errors="surrogatepass")).hexdigest()


def moment(found: str) -> float | None:
    """Unix seconds of an RFC 3339 time with a zone; None where it is no such thing."""
    try:
        parsed = datetime.fromisoformat(found)
        return parsed.timestamp() if parsed.tzinfo else None
    except (ValueError, OverflowError):
        return None
