"""Turns the YAML list ``objects`` of a class into the files it asks for and the calls that fill them."""

from __future__ import annotations

import json
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import unquote

from fetcher.provider import Problems
from fetcher.providers.vault.document import DocumentError, Scalar, Value, read, to_json

OBJECT_FIELDS = (
    "objectName",
    "secretPath",
    "secretKey",
    "method",
    "secretArgs",
    "filePermission",
    "encoding",
)
METHODS = ("GET", "PUT", "POST")
ENCODINGS = ("utf-8", "base64", "hex")
MAX_OBJECTS = 1000

_NO_PROBLEM_PATH = re.compile(r"[^\x00-\x1f\x7f#\\]+")
_OCTAL = re.compile(r"0?o?([0-7]{1,4})", re.ASCII)
_LARGEST_MODE = 0o777
_LONGEST_NAME = 255  # bytes in one part of a path (NAME_MAX)


@dataclass(frozen=True, slots=True)
class Call:
    """One request to Vault. Equal calls of a class are made once, so that their objects come from one answer.

    Attributes:
        method: GET, PUT or POST.
        path: Below ``/v1/``.
        query: Without the question mark; may be empty.
        body: JSON of ``secretArgs``, which may hold secrets; None without.
    """

    method: str
    path: str
    query: str = ""
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Object:
    """One file: its path and mode, and which part of which answer is its contents."""

    name: str
    path: str
    call: Call
    key: str
    encoding: str
    mode: int | None


def parse_objects(text: str, problems: Problems) -> tuple[Object, ...]:
    """The objects that make sense; what does not is added to the problems."""
    try:
        document = read(text)
    except DocumentError as error:
        problems.add("objects", str(error))
        return ()
    if (isinstance(document, Scalar) and document.is_null()) or document == []:
        problems.add("no secrets configured -", "parameter objects is missing or empty: list at least one object")
        return ()
    if not isinstance(document, list) or len(document) > MAX_OBJECTS:
        problems.add("objects", f"must be a YAML list of 1 to {MAX_OBJECTS} mappings, each beginning with a dash")
        return ()
    found = [_object(f"objects[{index}]", item, problems) for index, item in enumerate(document)]
    objects = tuple(item for item in found if item)
    _check_paths(objects, problems)
    return objects


def misspelt(given: Iterable[str], known: Iterable[str]) -> list[tuple[str, str]]:
    """Names that are right but for upper and lower case, with the right spelling; other unknown names are let be."""
    right = {name.lower(): name for name in known}
    return [(name, right[name.lower()]) for name in given if right.get(name.lower(), name) != name]


def _check_paths(objects: tuple[Object, ...], problems: Problems) -> None:
    count = Counter(item.path for item in objects)
    twice = sorted(path for path, times in count.items() if times > 1)
    if twice:
        problems.add(
            "each `objectName` within a SecretProviderClass must be unique,",
            f"but these occur again: {', '.join(twice)}",
        )
    for path in sorted(count):
        above = [str(parent) for parent in PurePosixPath(path).parents if str(parent) in count]
        if above:
            problems.add(f"objectName {path}", f"needs a folder where objectName {above[0]} is a file")


def _object(where: str, entry: Value, problems: Problems) -> Object | None:
    if not isinstance(entry, dict):
        problems.add(where, f"is {_shape(entry)}: write objectName, secretPath and secretKey below each dash")
        return None
    return _Fields(where, entry, problems).object()


class _Fields:
    """Reads one entry of the list, noting what is wrong by index and field."""

    def __init__(self, where: str, entry: Mapping[str, Value], problems: Problems) -> None:
        self._where = where
        self._entry = entry
        self._problems = problems
        self._sound = True

    def object(self) -> Object | None:
        for name, right in misspelt(self._entry, OBJECT_FIELDS):
            self._wrong(name, f"is not a field: write {right}")
        name, call = self._text("objectName", required=True), self._call()
        result = Object(
            name=name,
            path=self._path(name),
            call=call,
            key=self._text("secretKey"),
            encoding=self._one_of("encoding", ENCODINGS, self._text("encoding").lower()),
            mode=self._mode(),
        )
        return result if self._sound else None

    def _call(self) -> Call:
        written = self._text("secretPath", required=True)
        path, _, query = written.partition("?")
        path = path.strip("/").removeprefix("v1/").strip("/")
        # Dots are looked for in the decoded path, as the HTTP client would resolve them there.
        if written and (not _NO_PROBLEM_PATH.fullmatch(path) or {".", ".."} & set(unquote(path).split("/"))):
            self._wrong(
                "secretPath", "must be a Vault API path such as secret/data/app, without '.', '..', '#' or '\\'"
            )
        if not query.isprintable() or "#" in query:
            self._wrong("secretPath", "has a query that cannot be sent: percent-encode what is special in it")
        method = self._one_of("method", METHODS, self._text("method").upper())
        return Call(method, path, query, self._args())

    def _args(self) -> bytes | None:
        args = self._entry.get("secretArgs")
        if args is None or (isinstance(args, Scalar) and args.is_null()):
            return None
        if not isinstance(args, dict):
            self._wrong("secretArgs", f"is {_shape(args)}: write a mapping")
            return None
        return json.dumps(to_json(args), sort_keys=True).encode()

    def _mode(self) -> int | None:
        value = self._entry.get("filePermission")
        if value is None or (isinstance(value, Scalar) and value.is_null()):
            return None
        mode = None
        if isinstance(value, Scalar):
            number = value.json()
            octal = _OCTAL.fullmatch(value.text) if value.tag == "str" else None
            mode = int(octal[1], 8) if octal else number if type(number) is int else None
        if mode is None or not 0 <= mode <= _LARGEST_MODE:
            self._wrong("filePermission", "must be permission bits in octal, from 0000 to 0777, such as 0640")
        return mode or None  # upstream, too, takes zero for "not set"

    def _path(self, name: str) -> str:
        parts = name.split("/")
        if name and (
            name.startswith("/")
            or not name.isprintable()
            or any(part.startswith("..") or len(part.encode(errors="replace")) > _LONGEST_NAME for part in parts)
            or not set(parts) - {"", "."}
        ):
            self._wrong(
                "objectName", f"must be a relative path without '..', each part at most {_LONGEST_NAME} bytes long"
            )
        return posixpath.normpath(name)

    def _one_of(self, name: str, choices: tuple[str, ...], value: str) -> str:
        if value and value not in choices:
            self._wrong(name, f"must be one of {', '.join(choices)}")
        return value or choices[0]

    def _text(self, name: str, *, required: bool = False) -> str:
        value = self._entry.get(name)
        if value is not None and not isinstance(value, Scalar):
            self._wrong(name, f"is {_shape(value)}: write a text")
            return ""
        text = "" if value is None or value.is_null() else value.text
        if required and not text:
            self._wrong(name, "is missing")
        return text

    def _wrong(self, name: str, problem: str) -> None:
        self._sound = False
        self._problems.add(f"{self._where}.{name}", problem)


def _shape(value: Value) -> str:
    if isinstance(value, Scalar):
        return "a text or number"
    return "a list" if isinstance(value, list) else "a mapping"
