"""What an object of a class may say for every backend: optional, a part of a document, every key a file, a size limit.

The names are new with Keyferry but for ``extractJSONKey`` and ``extractYAMLKey``, which Google's provider has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fetcher.document import DocumentError, Scalar, Value, read
from fetcher.provider import Secret
from keyferry.errors import ContentTooLarge, InvalidSecretProviderClass, SecretNotFound
from keyferry.resources import MAX_CONTENT_BYTES

OPTION_FIELDS = ("optional", "extractJSONKey", "extractYAMLKey", "expand", "maxBytes")
SELECTION_FIELDS = ("selectPrefix", "selectTags")
MAX_SELECTED = 1000
"""Objects that one selection may stand for."""

_LANGUAGES = ("json", "yaml")
_MAX_KEYS = 1000  # files that one document may become
_SIZE = re.compile(r"([0-9]{1,9})(Ki|Mi)?", re.ASCII)
_UNITS = {None: 1, "Ki": 1024, "Mi": 1024 * 1024}
_FILE = re.compile(r"[^/\x00-\x1f\x7f]{1,200}")  # of a key that becomes a file
_SHOWN = 80  # characters of a key in a message

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
    if sum(map(bool, (json_key, yaml_key, expand))) > 1:
        wrong("extractJSONKey", "cannot go with extractYAMLKey or expand: write one of the three")
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
    if not isinstance(chosen, dict) or not chosen:
        wrong("selectTags", "must be a mapping of tags to values")
        return None
    for name, value in chosen.items():
        if not isinstance(value, Scalar):
            wrong(f"selectTags.{name}", "must be a text")
    pairs = tuple(sorted((name, value.text) for name, value in chosen.items() if isinstance(value, Scalar)))
    return Selection(prefix, pairs)


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
        yield replace(whole, contents=_pick(_document(whole.contents, "JSON", name), options.json_key, "JSON", name))
    elif options.yaml_key:
        yield replace(whole, contents=_pick(_document(whole.contents, "YAML", name), options.yaml_key, "YAML", name))
    elif options.expand:
        yield from _expanded(options.expand.upper(), whole, name)
    else:
        yield whole


def _expanded(language: str, whole: Secret, name: str) -> Iterator[Secret]:
    document = _document(whole.contents, language, name)
    if len(document) > _MAX_KEYS:
        raise ContentTooLarge(f"{name}: has {len(document)} keys, where {_MAX_KEYS} files are the most")
    for key in sorted(document):
        if not _FILE.fullmatch(key) or key.startswith("..") or key == ".":
            raise InvalidSecretProviderClass(f"{name}: a key of {len(key)} characters cannot be a file's name")
        contents = document[key].contents
        if contents is None:  # a null is nothing to write
            continue
        yield replace(whole, path=f"{whole.path}/{key}", contents=contents)


@dataclass(frozen=True, slots=True)
class _Part:
    """One value of a document.

    Attributes:
        contents: As a file would hold it: a text as it is, anything else as JSON; None for null.
        is_text: Whether it is a text.
    """

    contents: bytes | None = field(repr=False)
    is_text: bool


def _pick(document: Mapping[str, _Part], key: str, language: str, name: str) -> bytes:
    part = document.get(key)
    if part is None:
        raise SecretNotFound(f"{name}: key '{shown(key)}' not found in {language}")
    if not part.is_text or part.contents is None:
        raise InvalidSecretProviderClass(f"{name}: unsupported value type for key '{shown(key)}': only texts are")
    return part.contents


def _document(contents: bytes, language: str, name: str) -> dict[str, _Part]:
    found = _json(contents) if language == "JSON" else _yaml(contents)
    if found is None:
        raise InvalidSecretProviderClass(
            f"{name}: failed to unmarshal {language}: Invalid {language} format for key extraction"
        )
    return found


def _json(contents: bytes) -> dict[str, _Part] | None:
    try:
        found = json.loads(contents.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict | None):
        return None
    return {key: _json_part(value) for key, value in (found or {}).items()}


def _json_part(value: Any) -> _Part:
    if isinstance(value, str):
        return _Part(_utf8(value), is_text=True)
    return _Part(None if value is None else _utf8(json.dumps(value, ensure_ascii=False)), is_text=False)


def _yaml(contents: bytes) -> dict[str, _Part] | None:
    try:
        found = read(contents.decode(errors="replace"), longest=MAX_CONTENT_BYTES)
    except DocumentError:
        return None
    if isinstance(found, Scalar) and found.kind == "null":
        return {}
    return {key: _yaml_part(value) for key, value in found.items()} if isinstance(found, dict) else None


def _yaml_part(value: Value) -> _Part:
    if isinstance(value, Scalar):
        return _Part(None if value.kind == "null" else _utf8(value.text), is_text=value.kind == "str")
    return _Part(_utf8(json.dumps(_plain(value), ensure_ascii=False)), is_text=False)


def _plain(value: Value) -> Any:
    """Lists and mappings for JSON; scalars as they were written, for want of a type that both languages share."""
    if isinstance(value, Scalar):
        return None if value.kind == "null" else value.text
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()}


def _utf8(text: str) -> bytes:
    """Half a surrogate pair, which JSON can spell, becomes U+FFFD as in Go."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def shown(text: str) -> str:
    """A name as messages write it, cut where it would fill the screen."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


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
    if text not in ("", "true", "false"):
        wrong("optional", "must be true or false")
    return text == "true"


def _size(entry: Mapping[str, Value], wrong: Wrong) -> int | None:
    text = _text(entry, "maxBytes", wrong)
    if not text:
        return None
    match = _SIZE.fullmatch(text)
    size = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < size <= MAX_CONTENT_BYTES:
        wrong("maxBytes", f"must be a size such as 65536 or 64Ki, of at most {MAX_CONTENT_BYTES} bytes")
    return size
