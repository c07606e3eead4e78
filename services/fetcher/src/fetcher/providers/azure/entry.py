"""Reads one entry of ``objects``, noting what is wrong by index and field."""

from __future__ import annotations

import posixpath
import re

from fetcher.document import Scalar, Value
from fetcher.options import OPTION_FIELDS, SELECTION_FIELDS, Options, Selection, read_options, read_selection
from fetcher.provider import Problems
from fetcher.providers.azure.wanted import CERTIFICATE, KEY, SECRET, Object, Reference
from fetcher.shown import shown

OBJECT_FIELDS = (
    "objectName",
    "objectAlias",
    "objectType",
    "objectVersion",
    "objectVersionHistory",
    "objectFormat",
    "objectEncoding",
    "filePermission",
    *OPTION_FIELDS,
    *SELECTION_FIELDS,
)
"""All that are understood; docs/backends/azure.md is checked against them."""

LONGEST_ENTRY = 8 * 1024  # characters
_OF_SECRETS = ("extractJSONKey", "extractYAMLKey", "expand")
_OF_ONE = ("objectName", "objectVersion", "objectVersionHistory")
_LONGEST_PATH = 4096
_LONGEST_NAME = 255  # bytes in one part of a path (NAME_MAX)
_MOST_VERSIONS = 2**31 - 1  # upstream's int32
_LARGEST_MODE = 0o777
# Both become part of a URL. https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates
NAME = re.compile(r"[0-9A-Za-z-]{1,127}", re.ASCII)
VERSION = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)
_OCTAL = re.compile(r"[0-7]{1,6}", re.ASCII)
_NUMBER = re.compile(r"[-+]?[0-9]{1,12}", re.ASCII)
_ENCODINGS = ("utf-8", "hex", "base64")


class Entry:
    """One entry.

    Args:
        place: Where it stands in the class.
        fields: As they were written.
        problems: Where everything wrong is noted.
    """

    def __init__(self, place: str, fields: dict[str, Value], problems: Problems) -> None:
        self._place = place
        self._fields = fields
        self._problems = problems
        self._sound = True

    def object(self) -> Object | None:
        """The entry, if there is nothing wrong with it."""
        selection = self._selection()
        name = "" if selection else self._name()
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
            options=self._options(kind),
            selection=selection,
        )
        return result if self._sound else None

    def _selection(self) -> Selection | None:
        selection = read_selection(self._fields, self._wrong)
        if selection is None:
            return None
        if selection.prefix and not NAME.fullmatch(selection.prefix):
            self._wrong("selectPrefix", "must be how names begin: letters, digits and dashes, at most 127")
        for name in _OF_ONE:
            if self._text(name):
                self._wrong(name, "cannot go with selectPrefix or selectTags, which stand for the newest of many")
        return selection

    def _options(self, kind: str) -> Options:
        options = read_options(self._fields, self._wrong)
        for name in _OF_SECRETS:
            if kind in (KEY, CERTIFICATE) and self._text(name):
                self._wrong(name, f"is only for objectType: secret: a {kind} holds no document")
        return options

    def _name(self) -> str:
        name = self._text("objectName")
        if not name:
            self._wrong("objectName", "is not set: write it, or selectPrefix or selectTags for many at once")
        elif not NAME.fullmatch(name):
            self._wrong("objectName", f'is "{shown(name)}": 1 to 127 letters, digits and dashes make a name')
        return name

    def _version(self) -> str:
        version = self._text("objectVersion")
        if version and not VERSION.fullmatch(version):
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
        return posixpath.normpath(path) if path else ""

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
        if value is None:
            return ""
        if not isinstance(value, Scalar):
            self._wrong(field, "must be a text")
            return ""
        return "" if value.kind == "null" else value.text.strip()

    def _wrong(self, field: str, problem: str) -> None:
        self._sound = False
        self._problems.add(f"{self._place}.{field}", problem)
