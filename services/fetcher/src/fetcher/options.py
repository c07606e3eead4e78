"""What an object of a class may say for every backend: optional, a part of a document, every key a file, a size limit.

The names are new with Keyferry but for ``extractJSONKey`` and ``extractYAMLKey``, which Google's provider has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fetcher import parts
from fetcher.document import Scalar, Value
from fetcher.provider import Secret
from fetcher.shown import shown
from keyferry.errors import ContentTooLarge, InvalidSecretProviderClass, SecretNotFound
from keyferry.resources import MAX_CONTENT_BYTES

OPTION_FIELDS = ("optional", "extractJSONKey", "extractYAMLKey", "expand", "maxBytes")
SELECTION_FIELDS = ("selectPrefix", "selectTags")
MAX_SELECTED = 1000
"""Objects that one selection may stand for."""

_LANGUAGES = ("json", "yaml")
_TRUE, _FALSE = frozenset({"true", "True", "TRUE"}), frozenset({"false", "False", "FALSE", ""})  # as Go reads a bool
_MAX_KEYS = 1000  # files that one document may become
_MAX_TAGS = 64  # of one selection; no backend lets an object have more
_SIZE = re.compile(r"([0-9]{1,9})(Ki|Mi)?", re.ASCII)
_UNITS = {None: 1, "Ki": 1024, "Mi": 1024 * 1024}

Wrong = Callable[[str, str], None]
"""Takes a field's name and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Options:
    """As the class has them.

    Attributes:
        optional: The object is left out where the backend does not have it.
        json_key: The file holds the value of this top-level key of the JSON document that the object is.
        yaml_key: The same of a YAML document.
        expand: ``json`` or ``yaml``: every top-level key becomes a file in a folder of the object's name; or empty.
        max_bytes: What the object may have, before anything is taken out of it; None for the content's own limit.
    """

    optional: bool = False
    json_key: str = ""
    yaml_key: str = ""
    expand: str = ""
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Objects that a class names by what they have in common, in place of a name.

    Attributes:
        prefix: With which their names begin; files are named by the rest.
        tags: Which they all carry, with these values.
    """

    prefix: str = ""
    tags: tuple[tuple[str, str], ...] = ()

    def rest(self, name: str) -> str:
        """The name of an object's file, below the folder that its entry names."""
        return name.removeprefix(self.prefix).lstrip("/") or name.rpartition("/")[2]


PLAIN = Options()


def read_options(entry: Mapping[str, Value], wrong: Wrong) -> Options:
    """The options of one object.

    Args:
        entry: Its fields.
        wrong: Is told every problem.
    """
    json_key, yaml_key, expand = (_text(entry, name, wrong) for name in ("extractJSONKey", "extractYAMLKey", "expand"))
    if expand and expand not in _LANGUAGES:
        wrong("expand", f"must be one of {', '.join(_LANGUAGES)}")
    if json_key and yaml_key:
        wrong("extractJSONKey", "and extractYAMLKey can't be simultaneously non empty strings")  # upstream's words
    if expand and (json_key or yaml_key):
        wrong("expand", "cannot go with extractJSONKey or extractYAMLKey: write one of the three")
    return Options(
        optional=_flag(entry, wrong),
        json_key=json_key,
        yaml_key=yaml_key,
        expand=expand,
        max_bytes=_size(entry, wrong),
    )


def read_selection(entry: Mapping[str, Value], wrong: Wrong, *, tags: bool = True) -> Selection | None:
    """The selection of one entry; None if it has none.

    Args:
        entry: Its fields.
        wrong: Is told every problem.
        tags: Whether this backend can list by them.
    """
    prefix, chosen = _text(entry, "selectPrefix", wrong), entry.get("selectTags")
    if chosen is None or (isinstance(chosen, Scalar) and chosen.kind == "null"):
        return Selection(prefix) if prefix else None
    if not tags:
        wrong("selectTags", "is not possible: this backend does not list by tags; write selectPrefix")
        return None
    if not isinstance(chosen, dict) or not 0 < len(chosen) <= _MAX_TAGS:
        wrong("selectTags", f"must be a mapping of 1 to {_MAX_TAGS} tags to values")
        return None

    def wrong_tag(name: str, problem: str) -> None:
        wrong(f"selectTags.{shown(name)}", problem)

    return Selection(prefix, tuple((name, _text(chosen, name, wrong_tag)) for name in sorted(chosen)))


def files(options: Options, whole: Secret, name: str) -> Iterator[Secret]:
    """The files that an object becomes.

    Args:
        options: Of the object.
        whole: The object as one file.
        name: What messages call it; never its value.

    Raises:
        ContentTooLarge: it is larger than the class allows.
        SecretNotFound: the key is not in the document.
        InvalidSecretProviderClass: it is no such document, or the key's value is no text.
    """
    if options.max_bytes is not None and len(whole.contents) > options.max_bytes:
        raise ContentTooLarge(f"{name}: {len(whole.contents)} bytes, where maxBytes allows {options.max_bytes}")
    if options.json_key:
        yield replace(whole, contents=_picked(_document("JSON", whole, name), options.json_key, "JSON", name))
    elif options.yaml_key:
        yield replace(whole, contents=_picked(_document("YAML", whole, name), options.yaml_key, "YAML", name))
    elif options.expand:
        yield from _expanded(_document(options.expand.upper(), whole, name), whole, name)
    else:
        yield whole


def _picked(document: Mapping[str, Any], key: str, language: str, name: str) -> bytes:
    if key not in document:
        raise SecretNotFound(f"{name}: key '{shown(key)}' not found in {language}")
    text = parts.text(document[key])
    if text is None:
        raise InvalidSecretProviderClass(f"{name}: unsupported value type for key '{shown(key)}': only texts are")
    return text


def _expanded(document: Mapping[str, Any], whole: Secret, name: str) -> Iterator[Secret]:
    if len(document) > _MAX_KEYS:
        raise ContentTooLarge(f"{name}: has {len(document)} keys, where {_MAX_KEYS} files are the most")
    for key in sorted(document):
        if not parts.is_file_name(key):  # the key is part of what the backend keeps, so it is not shown
            raise InvalidSecretProviderClass(f"{name}: a key of {len(key)} characters cannot be a file's name")
        if parts.is_null(document[key]):
            continue  # nothing to write
        contents = parts.written(document[key])
        if contents is None:
            raise InvalidSecretProviderClass(f"{name}: a key's value is nested too deep to be a file")
        yield replace(whole, path=f"{whole.path}/{key}", contents=contents)


def _document(language: str, whole: Secret, name: str) -> Mapping[str, Any]:
    found = (parts.json_document if language == "JSON" else parts.yaml_document)(whole.contents)
    if found is None:
        raise InvalidSecretProviderClass(
            f"{name}: failed to unmarshal {language}: Invalid {language} format for key extraction"
        )
    return found


def _text(entry: Mapping[str, Value], name: str, wrong: Wrong) -> str:
    value = entry.get(name)
    if value is None:
        return ""
    if not isinstance(value, Scalar):
        wrong(name, "must be a text")
        return ""
    return "" if value.kind == "null" else value.text


def _flag(entry: Mapping[str, Value], wrong: Wrong) -> bool:
    text = _text(entry, "optional", wrong)
    if text not in _TRUE | _FALSE:
        wrong("optional", "must be true or false")
    return text in _TRUE


def _size(entry: Mapping[str, Value], wrong: Wrong) -> int | None:
    text = _text(entry, "maxBytes", wrong)
    if not text:
        return None
    match = _SIZE.fullmatch(text)
    size = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < size <= MAX_CONTENT_BYTES:
        wrong("maxBytes", f"must be a size such as 65536 or 64Ki, of at most {MAX_CONTENT_BYTES} bytes")
    return size
