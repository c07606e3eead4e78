"""Turns a class's ``parameters`` into what is to be read as whom, or says everything that is wrong with them.

Names, defaults and refusals are those of Google's provider 1.15 for the Secrets Store CSI driver.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from fetcher.document import NOTHING, DocumentError, Scalar, Value, read
from fetcher.provider import Problems
from fetcher.providers.gcp.resources import Resource, resource, shown

log = logging.getLogger(__name__)

PARAMETERS = ("auth", "secrets")
SECRET_FIELDS = ("resourceName", "fileName", "path", "mode", "extractJSONKey", "extractYAMLKey", "decodeBase64")
POD_ADC, PROVIDER_ADC, KEY_FILE = "pod-adc", "provider-adc", "nodePublishSecretRef"
MAX_SECRETS = 1000

_LONGEST = 256 * 1024  # characters; etcd itself refuses classes above 1.5 MiB
_LARGEST_MODE = 0o777
_LONGEST_NAME = 255  # bytes in one part of a path (NAME_MAX)
_MAX_TOLD = 20  # problems: the text must fit into an Event
_OCTAL_TEXT = re.compile(r"0[oO]?[0-7]{1,4}", re.ASCII)
_TRUE, _FALSE = frozenset({"true", "True", "TRUE"}), frozenset({"false", "False", "FALSE"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """One entry of ``secrets``.

    Attributes:
        resource: Where the contents come from.
        path: Below the volume.
        mode: Permission bits; None for the volume's default.
        json_key: Top-level key of a JSON document that is the contents; empty for all of it.
        yaml_key: The same in a YAML document.
        base64: Whether the contents are then decoded.
    """

    resource: Resource
    path: str
    mode: int | None
    json_key: str
    yaml_key: str
    base64: bool


@dataclass(frozen=True, slots=True)
class Parameters:
    """A class, understood. ``auth`` is `POD_ADC`, `PROVIDER_ADC` or `KEY_FILE`."""

    auth: str
    secrets: tuple[Wanted, ...]


def parse(parameters: Mapping[str, str], *, has_key: bool) -> Parameters:
    """What the class asks for.

    Args:
        parameters: ``spec.parameters``.
        has_key: Whether the pod's nodePublishSecretRef holds a key.json.

    Raises:
        InvalidSecretProviderClass: naming every problem.
    """
    problems = _FirstProblems()
    auth = parameters.get("auth", "")
    if auth not in ("", POD_ADC, PROVIDER_ADC):
        problems.add("unknown auth configuration:", f'"{shown(auth)}": set auth to {POD_ADC} or {PROVIDER_ADC}')
    elif auth and has_key:
        problems.add("attempting to set both nodePublishSecretRef", f"and {auth} auth: remove one of them")
    secrets = _secrets(parameters.get("secrets", ""), problems)
    problems.raise_any()
    return Parameters(auth or (KEY_FILE if has_key else POD_ADC), secrets)


class _FirstProblems(Problems):
    """Tells the first twenty problems and how many more there are."""

    def add(self, field_name: str, problem: str) -> None:
        if len(self._found) == _MAX_TOLD:
            field_name, problem = "and", "more problems"
        if len(self._found) <= _MAX_TOLD:
            super().add(field_name, problem)


def _secrets(text: str, problems: Problems) -> tuple[Wanted, ...]:
    try:
        document = read(text, longest=_LONGEST)
    except DocumentError as error:
        problems.add("secrets", str(error))
        return ()
    if document == [] or (isinstance(document, Scalar) and document.kind == "null"):
        problems.add("missing required 'secrets' attribute:", "list at least one secret")
        return ()
    if not isinstance(document, list) or len(document) > MAX_SECRETS:
        problems.add("secrets", f"must be a YAML list of 1 to {MAX_SECRETS} mappings, each beginning with a dash")
        return ()
    read_all = [_Entry(f"secrets[{index}]", entry, problems) for index, entry in enumerate(document)]
    found = [wanted for entry in read_all if (wanted := entry.wanted())]
    _check_folders(found, problems)
    return tuple(found)


def _check_folders(secrets: list[Wanted], problems: Problems) -> None:
    files = {wanted.path for wanted in secrets}
    for path in sorted(files):
        above = [str(parent) for parent in PurePosixPath(path).parents if str(parent) in files]
        if above:
            problems.add(f"path {path}", f"needs a folder where path {above[0]} is a file")


class _Entry:
    """Reads one entry of the list, noting what is wrong by index and field."""

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
        json_key, yaml_key = self._text("extractJSONKey"), self._text("extractYAMLKey")
        if json_key and yaml_key:
            self._wrong("extractJSONKey", "and extractYAMLKey can't be simultaneously non empty strings")
        source, path, mode, base64 = self._resource(), self._path(), self._mode(), self._flag("decodeBase64")
        if not self._sound or source is None:
            return None
        return Wanted(source, path, mode, json_key, yaml_key, base64)

    def _resource(self) -> Resource | None:
        name = self._text("resourceName")
        found = resource(name) if name else "is missing"
        if isinstance(found, str):
            self._wrong("resourceName", found)
            return None
        return found

    def _path(self) -> str:
        name = "path" if self._text("path") else "fileName"
        path = self._text(name)
        parts = path.split("/")
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
