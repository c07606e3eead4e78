"""Reads ``objects``: a YAML mapping whose ``array`` holds texts, each the YAML of one object."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from functools import cache
from pathlib import PurePosixPath

from fetcher.provider import Problems
from fetcher.providers.azure.document import DocumentError, Value, read
from fetcher.providers.azure.wanted import CERTIFICATE, KEY, SECRET, Object, Reference, shown

OBJECT_FIELDS = (
    "objectName",
    "objectAlias",
    "objectType",
    "objectVersion",
    "objectVersionHistory",
    "objectFormat",
    "objectEncoding",
    "filePermission",
)
MAX_OBJECTS = 1000

_LONGEST = 256 * 1024  # characters; etcd itself refuses classes above 1.5 MiB
_LONGEST_OBJECT = 8 * 1024
_LONGEST_PATH = 4096
_LONGEST_NAME = 255  # bytes in one part of a path (NAME_MAX)
_MOST_VERSIONS = 2**31 - 1  # upstream's int32
_LARGEST_MODE = 0o777
# Both become part of a URL. https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates
_NAME = re.compile(r"[0-9A-Za-z-]{1,127}", re.ASCII)
_VERSION = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)
_OCTAL = re.compile(r"[0-7]{1,6}", re.ASCII)
_NUMBER = re.compile(r"[-+]?[0-9]{1,12}", re.ASCII)
_ENCODINGS = ("utf-8", "hex", "base64")


def read_objects(text: str, problems: Problems, *, separate_files: bool) -> tuple[Object, ...]:
    """The entries, without those that have problems.

    Args:
        text: The parameter.
        problems: Where everything wrong is noted.
        separate_files: Whether secrets may become two more files each.
    """
    texts = _array(text, problems)
    parsed = cache(_parsed)  # an alias may stand for one long text a thousand times
    objects: list[Object] = []
    for index, entry in enumerate(texts):
        place = f"objects[{index}]"
        found = parsed(entry) if isinstance(entry, str) and len(entry) <= _LONGEST_OBJECT else None
        if isinstance(found, dict):
            one = _Entry(place, found, problems).object()
            objects += [one] if one else []
        elif isinstance(found, str):
            problems.add(place, found)
        else:
            problems.add(place, 'must be a text of at most 8 KiB with one field a line: begin it with "- |"')
    _check_folders(objects, problems, separate_files=separate_files)
    return tuple(objects)


def _array(text: str, problems: Problems) -> list[Value]:
    if not text:
        problems.add("objects", "is not set")
        return []
    try:
        document = read(text) if len(text) <= _LONGEST else None
    except DocumentError as error:
        problems.add("objects", str(error))
        return []
    entries = document.get("array") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not 0 < len(entries) <= MAX_OBJECTS:
        problems.add("objects", f'must hold "array:" and below it 1 to {MAX_OBJECTS} texts, in at most 256 KiB')
        return []
    return entries


def _parsed(text: str) -> Value:
    """An object's fields; a text says what is wrong."""
    try:
        found = read(text)
    except DocumentError as error:
        return str(error)
    return found if isinstance(found, dict) else "must hold fields: write objectName and objectType in it"


def _check_folders(objects: list[Object], problems: Problems, *, separate_files: bool) -> None:
    files = {path for each in objects for path in _paths(each, separate_files=separate_files)}
    for path in sorted(files):
        above = [str(parent) for parent in PurePosixPath(path).parents if str(parent) in files]
        if above:
            problems.add(f"file {shown(path)}", f"needs a folder where {shown(above[0])} is a file")


def _paths(each: Object, *, separate_files: bool) -> Iterator[str]:
    path = f"{each.file}/0" if each.history > 1 else each.file
    yield path
    if separate_files and each.reference.kind == SECRET:
        yield from (f"{path}.crt", f"{path}.key")


class _Entry:
    """Reads one entry, noting what is wrong by index and field."""

    def __init__(self, place: str, fields: dict[str, Value], problems: Problems) -> None:
        self._place = place
        self._fields = fields
        self._problems = problems
        self._sound = True

    def object(self) -> Object | None:
        """The entry, if there is nothing wrong with it."""
        name = self._name()
        kind = self._text("objectType")
        if kind not in (SECRET, KEY, CERTIFICATE):
            self._wrong("objectType", f'is "{shown(kind)}": invalid vaultObjectTypes, should be secret, key, or cert')
        result = Object(
            place=self._place,
            reference=Reference(kind, name, self._version()),
            history=self._history(),
            file=self._file(name),
            pfx=self._pfx(kind),
            encoding=self._encoding(kind),
            mode=self._mode(),
        )
        return result if self._sound else None

    def _name(self) -> str:
        name = self._text("objectName")
        if not name:
            self._wrong("objectName", "is not set")
        elif not _NAME.fullmatch(name):
            self._wrong("objectName", f'is "{shown(name)}": 1 to 127 letters, digits and dashes make a name')
        return name

    def _version(self) -> str:
        version = self._text("objectVersion")
        if version and not _VERSION.fullmatch(version):
            self._wrong("objectVersion", "must be a version's id, or empty for the latest")
        return "" if version.lower() == "latest" else version

    def _history(self) -> int:
        text = self._text("objectVersionHistory") or "1"
        number = int(text) if _NUMBER.fullmatch(text) else _MOST_VERSIONS + 1
        if number > _MOST_VERSIONS:
            self._wrong("objectVersionHistory", "must be a number of versions, such as 3")
        return max(1, number)

    def _file(self, name: str) -> str:
        path = self._text("objectAlias") or name
        parts = path.split("/")
        if path.startswith("/"):
            self._wrong("objectAlias", "makes a file name that must be a relative path")
        elif ".." in path:
            self._wrong("objectAlias", "makes a file name that must not contain '..'")
        elif path and (
            not path.isprintable()
            or len(path) > _LONGEST_PATH
            or any(len(part.encode(errors="replace")) > _LONGEST_NAME for part in parts)
            or not set(parts) - {"", "."}
        ):
            self._wrong("objectAlias", f"makes no file name: each part must have at most {_LONGEST_NAME} bytes")
        return posixpath.normpath(path)

    def _pfx(self, kind: str) -> bool:
        text = self._text("objectFormat").lower()
        if text not in ("", "pem", "pfx"):
            self._wrong("objectFormat", f'is "{shown(text)}": invalid objectFormat, should be PEM or PFX')
        elif text == "pfx" and kind != SECRET:
            self._wrong("objectFormat", "is wrong: PFX format only supported for objectType: secret")
        return text == "pfx"

    def _encoding(self, kind: str) -> str:
        text = self._text("objectEncoding").lower()
        if text and kind != SECRET:
            self._wrong("objectEncoding", "is wrong: objectEncoding only supported for objectType: secret")
        elif text and text not in _ENCODINGS:
            self._wrong("objectEncoding", f'is "{shown(text)}": should be hex, base64 or utf-8')
        return "" if text == _ENCODINGS[0] else text

    def _mode(self) -> int | None:
        text = self._text("filePermission")
        if not text:
            return None
        mode = int(text, 8) if _OCTAL.fullmatch(text) else -1
        if not 0 <= mode <= _LARGEST_MODE:
            self._wrong("filePermission", "must be a valid octal number: file permission from 0000 to 0777")
        return mode

    def _text(self, field: str) -> str:
        value = self._fields.get(field)
        if value is not None and not isinstance(value, str):
            self._wrong(field, "must be a text")
            return ""
        return (value or "").strip()

    def _wrong(self, field: str, problem: str) -> None:
        self._sound = False
        self._problems.add(f"{self._place}.{field}", problem)
