"""Reads the YAML list ``objects`` of a class, noting what is wrong by index and field."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import unquote

from fetcher.document import NOTHING, DocumentError, Scalar, Value, read
from fetcher.options import SELECTION_FIELDS, Selection, read_options, read_selection
from fetcher.provider import Problems
from fetcher.providers.vault.arguments import to_json
from fetcher.providers.vault.objects import (
    ENCODINGS,
    LONGEST_NAME,
    MAX_OBJECTS,
    MAX_SELECTIONS,
    METHODS,
    OBJECT_FIELDS,
    Call,
    Object,
    in_the_way,
    is_file_path,
    misspelt,
    twice,
)

_NO_PROBLEM_PATH = re.compile(r"[^\x00-\x1f\x7f#\\]+")
_OCTAL = re.compile(r"0?o?([0-7]{1,4})", re.ASCII)
_LARGEST_MODE = 0o777
_OF_NAMED_SECRETS = ("secretPath", "method", "secretArgs")


def parse_objects(text: str, problems: Problems) -> tuple[Object, ...]:
    """The objects that make sense; what does not is added to the problems."""
    try:
        document = read(text)
    except DocumentError as error:
        problems.add("objects", str(error))
        return ()
    if document == [] or _is_null(document):
        problems.add_text("no secrets configured - parameter objects is missing or empty: list at least one object")
        return ()
    if not isinstance(document, list) or len(document) > MAX_OBJECTS:
        problems.add("objects", f"must be a YAML list of 1 to {MAX_OBJECTS} mappings, each beginning with a dash")
        return ()
    found = [_object(f"objects[{index}]", item, problems) for index, item in enumerate(document)]
    objects = tuple(item for item in found if item)
    selections = sum(item.selection is not None for item in objects)
    if selections > MAX_SELECTIONS:
        problems.add("objects", f"selects {selections} times: {MAX_SELECTIONS} are the most; select by a folder above")
    _check_paths([item for item in objects if not item.selection], problems)
    return objects


def _check_paths(objects: list[Object], problems: Problems) -> None:
    paths = [item.path for item in objects]
    if again := twice(paths):
        problems.add_text(
            f"each `objectName` within a SecretProviderClass must be unique, but these occur again: {', '.join(again)}"
        )
    files = {item.path for item in objects if not item.options.expand}
    for path, file in in_the_way(set(paths), files):
        problems.add(f"objectName {path}", f"needs a folder where objectName {file} is a file")


def _object(where: str, entry: Value, problems: Problems) -> Object | None:
    if not isinstance(entry, dict):
        problems.add(where, f"is {_shape(entry)}: write objectName, secretPath and secretKey below each dash")
        return None
    return _Fields(where, entry, problems).object()


class _Fields:
    """Reads one entry of the list."""

    def __init__(self, where: str, entry: Mapping[str, Value], problems: Problems) -> None:
        self._where = where
        self._entry = entry
        self._problems = problems
        self._sound = True

    def object(self) -> Object | None:
        for name, right in misspelt(self._entry, (*OBJECT_FIELDS, *SELECTION_FIELDS)):
            self._wrong(name, f"is not a field: write {right}")
        selection = read_selection(self._entry, self._wrong, tags=False)
        name = self._text("objectName", required=selection is None)
        result = Object(
            name=name,
            path=self._path(name),
            call=self._call() if selection is None else self._listing(selection),
            key=self._text("secretKey"),
            encoding=self._one_of("encoding", ENCODINGS, self._text("encoding").lower()),
            mode=self._mode(),
            options=read_options(self._entry, self._wrong),
        )
        if selection is not None:
            prefix = result.call.path
            result = replace(result, name=name or prefix, selection=replace(selection, prefix=prefix))
        return result if self._sound else None

    def _call(self) -> Call:
        written = self._text("secretPath", required=True)
        path, _, query = written.partition("?")
        path = _below_v1(path).strip("/")
        # Dots are looked for in the decoded path, as the HTTP client would resolve them there.
        if written and not _is_api_path(path, unquote(path)):
            self._wrong(
                "secretPath", "must be a Vault API path such as secret/data/app, without '.', '..', '#' or '\\'"
            )
        if not query.isprintable() or "#" in query:
            self._wrong("secretPath", "has a query that cannot be sent: percent-encode what is special in it")
        method = self._one_of("method", METHODS, self._text("method").upper())
        return Call(method, path, query, self._args())

    def _listing(self, selection: Selection) -> Call:
        for name in _OF_NAMED_SECRETS:
            if not _is_null(self._entry.get(name, NOTHING)):
                self._wrong(name, "cannot go with selectPrefix: leave one of the two out")
        path = _below_v1(selection.prefix)
        if not _is_api_path(path, path) or "?" in path or "//" in path:
            self._wrong(
                "selectPrefix", "must be a path below a KV engine such as secret/data/app/, without '.', '..' or '?'"
            )
        return Call("GET", path)

    def _args(self) -> bytes | None:
        args = self._entry.get("secretArgs", NOTHING)
        if _is_null(args):
            return None
        if not isinstance(args, dict):
            self._wrong("secretArgs", f"is {_shape(args)}: write a mapping")
            return None
        return json.dumps(to_json(args), sort_keys=True).encode()

    def _mode(self) -> int | None:
        value = self._entry.get("filePermission", NOTHING)
        if _is_null(value):
            return None
        mode = None
        if isinstance(value, Scalar):
            octal = _OCTAL.fullmatch(value.text) if value.kind == "str" else None
            number = to_json(value) if value.kind == "int" else None
            mode = int(octal[1], 8) if octal else number if type(number) is int else None
        if mode is None or not 0 <= mode <= _LARGEST_MODE:
            self._wrong("filePermission", "must be permission bits in octal, from 0000 to 0777, such as 0640")
        return mode or None  # upstream, too, takes zero for "not set"

    def _path(self, name: str) -> str:
        if name and not is_file_path(name):
            self._wrong(
                "objectName", f"must be a relative path without '..', each part at most {LONGEST_NAME} bytes long"
            )
        return posixpath.normpath(name) if name else ""

    def _one_of(self, name: str, choices: tuple[str, ...], value: str) -> str:
        if value and value not in choices:
            self._wrong(name, f"must be one of {', '.join(choices)}")
        return value or choices[0]

    def _text(self, name: str, *, required: bool = False) -> str:
        value = self._entry.get(name, NOTHING)
        if not isinstance(value, Scalar):
            self._wrong(name, f"is {_shape(value)}: write a text")
            return ""
        text = "" if _is_null(value) else value.text
        if required and not text:
            self._wrong(name, "is missing")
        return text

    def _wrong(self, name: str, problem: str) -> None:
        self._sound = False
        self._problems.add(f"{self._where}.{name}", problem)


def _below_v1(path: str) -> str:
    return path.lstrip("/").removeprefix("v1/").lstrip("/")


def _is_api_path(path: str, decoded: str) -> bool:
    return _NO_PROBLEM_PATH.fullmatch(path) is not None and not {".", ".."} & set(decoded.split("/"))


def _is_null(value: Value) -> bool:
    return isinstance(value, Scalar) and value.kind == "null"


def _shape(value: Value) -> str:
    if isinstance(value, Scalar):
        return "a text or number"
    return "a list" if isinstance(value, list) else "a mapping"
