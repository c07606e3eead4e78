"""Reads one entry of a class's ``secrets``, noting what is wrong by index and field."""

from __future__ import annotations

import logging
import posixpath
import re
from dataclasses import dataclass

from fetcher.document import NOTHING, Scalar, Value
from fetcher.options import OPTION_FIELDS, SELECTION_FIELDS, Options, Selection, read_options, read_selection
from fetcher.provider import Problems
from fetcher.providers.gcp.resources import Resource, is_id_part, listing, resource

log = logging.getLogger(__name__)

SECRET_FIELDS = ("resourceName", "fileName", "path", "mode", *OPTION_FIELDS, "decodeBase64", *SELECTION_FIELDS)

_LARGEST_MODE = 0o777
_LONGEST_NAME = 255  # bytes in one part of a path (NAME_MAX)
_OCTAL_TEXT = re.compile(r"0[oO]?[0-7]{1,4}", re.ASCII)
_TRUE, _FALSE = frozenset({"true", "True", "TRUE"}), frozenset({"false", "False", "FALSE"})
# Google also takes other alphabets than ours; nothing passes here that could end a term of a filter.
_LABEL, _LABEL_VALUE = re.compile(r"[^\W\d_][\w-]{0,62}"), re.compile(r"[\w-]{0,63}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One entry of ``secrets``, or one of the secrets that it selects.

    Attributes:
        resource: Where the contents come from; a listing for an entry that selects.
        path: Below the volume: the file, or the folder of files; empty for the volume itself.
        mode: Permission bits; None for the volume's default.
        options: What becomes of the contents.
        base64: Whether they are then decoded.
        selection: What the entry selects, and the secrets that it has selected; None for an entry that names one.
    """

    resource: Resource
    path: str
    mode: int | None
    options: Options
    base64: bool
    selection: Selection | None = None

    @property
    def is_folder(self) -> bool:
        """Whether its path is a folder of files that only Google knows."""
        return bool(self.options.expand or self.selection)


class Entry:
    """One entry.

    Args:
        place: What problems call it.
        entry: As the class has it.
        problems: Where everything wrong is noted.
    """

    def __init__(self, place: str, entry: Value, problems: Problems) -> None:
        self._place = place
        self._problems = problems
        self._sound = isinstance(entry, dict)
        self._entry = entry if isinstance(entry, dict) else {}
        if not self._sound:
            problems.add(place, "must be a mapping: write resourceName and path below each dash")
        unknown = sorted(set(self._entry) - set(SECRET_FIELDS))
        if unknown:
            log.warning("fields that are not known are ignored", extra={"place": place, "fields": unknown[:10]})

    def wanted(self) -> Wanted | None:
        """The entry, if there is nothing wrong with it."""
        if not self._sound:
            return None
        options, selection = read_options(self._entry, self._wrong), self._selection()
        source, path = self._resource(), self._path()
        mode, base64 = self._mode(), self._flag("decodeBase64")
        if not self._sound or source is None:
            return None
        return Wanted(source, path, mode, options, base64, selection)

    @property
    def _selects(self) -> bool:
        """Whether it means to select, be it well or badly."""
        values = (self._entry.get(name, NOTHING) for name in SELECTION_FIELDS)
        return any(not isinstance(value, Scalar) or (value.kind != "null" and value.text) for value in values)

    def _resource(self) -> Resource | None:
        name = self._text("resourceName")
        found = (listing(name) if self._selects else resource(name)) if name else "is missing"
        if isinstance(found, str):
            self._wrong("resourceName", found)
            return None
        return found

    def _selection(self) -> Selection | None:
        selection = read_selection(self._entry, self._wrong)
        if selection is None:
            return None
        if selection.prefix and not is_id_part(selection.prefix):
            self._wrong("selectPrefix", "must be the beginning of secret ids: letters, digits, - and _")
        for label, value in selection.tags:
            if not _LABEL.fullmatch(label) or not _LABEL_VALUE.fullmatch(value):
                self._wrong(
                    "selectTags", "must be labels of secrets: at most 63 letters, digits, - and _, a letter first"
                )
                break
        return selection

    def _path(self) -> str:
        name = "path" if self._text("path") else "fileName"
        path = self._text(name)
        parts = path.split("/")
        if not path and self._selects:
            return ""
        if not path:
            self._wrong("path", "is an invalid path: it is empty; write path, or fileName")
        elif path.startswith("/"):
            self._wrong(name, "is an invalid path: must be relative path")
        elif any(part.startswith("..") for part in parts):
            self._wrong(name, "is an invalid path: must not contain '..'")
        elif (
            not path.isprintable()
            or any(len(part.encode(errors="replace")) > _LONGEST_NAME for part in parts)
            or not set(parts) - {"", "."}
        ):
            self._wrong(name, f"is an invalid path: each part must be a name of at most {_LONGEST_NAME} bytes")
        return posixpath.normpath(path)

    def _mode(self) -> int | None:
        value = self._entry.get("mode")
        if value is None or (isinstance(value, Scalar) and value.kind == "null"):
            return None
        mode = _number(value) if isinstance(value, Scalar) else None
        if mode is None or not 0 <= mode <= _LARGEST_MODE:
            self._wrong("mode", "must be permission bits: octal from 0000 to 0777, or decimal from 0 to 511")
        return mode

    def _flag(self, field: str) -> bool:
        value = self._entry.get(field, NOTHING)
        sound = isinstance(value, Scalar) and (value.kind == "null" or value.text in _TRUE | _FALSE)
        if not sound:
            self._wrong(field, "must be true or false")
        return isinstance(value, Scalar) and value.text in _TRUE

    def _text(self, field: str) -> str:
        """A scalar's text: Go's reader, too, takes a number where a text is due."""
        value = self._entry.get(field, NOTHING)
        if not isinstance(value, Scalar):
            self._wrong(field, "must be a text")
            return ""
        return "" if value.kind == "null" else value.text

    def _wrong(self, field: str, problem: str) -> None:
        self._sound = False
        self._problems.add(f"{self._place}.{field}", problem)


def _number(value: Scalar) -> int | None:
    if value.kind != "int":
        # A quoted "0400" can mean nothing but octal; a quoted "400" could mean either.
        return int(value.text.lower().replace("o", ""), 8) if _OCTAL_TEXT.fullmatch(value.text) else None
    digits = value.text.replace("_", "").lower()
    octal = re.fullmatch(r"([-+]?)0o?([0-7]+)", digits)
    try:
        return int("".join(octal.groups()), 8) if octal else int(digits, 0)
    except ValueError:  # "0x_", or thousands of digits
        return None
