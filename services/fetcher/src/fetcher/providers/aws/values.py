"""What AWS gave for an object, and the files it becomes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from fetcher import options
from fetcher.provider import Secret
from fetcher.providers.aws import jmes
from fetcher.providers.aws.wanted import Object


@dataclass(frozen=True, slots=True)
class Value:
    """One version of a secret or parameter; the contents are hidden from repr.

    Attributes:
        contents: The value.
        version: AWS's name of this version.
        source: What change events call the object, see `fetcher.provider.Secret`.
    """

    contents: bytes = field(repr=False)
    version: str
    source: str


class NoValue(Enum):
    """Why an object comes without a value, though nothing is wrong."""

    UNREAD = "AWS has not been asked for it yet"
    MISSING = "AWS does not have it, and it may be so"
    UNCHANGED = "AWS still has the version that is held"


Found = Value | NoValue


def as_bytes(text: str) -> bytes:
    """UTF-8; half a surrogate pair, which JSON can spell, becomes U+FFFD as in upstream's decoder."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def files(found: Object, value: Value) -> Iterator[Secret]:
    """What the object's options make of it, then the parts that ``jmesPath`` takes out of the whole.

    All files carry the object's id and version.

    Raises:
        ContentTooLarge: the whole is larger than ``maxBytes``.
        SecretNotFound: a key or path points to nothing.
        InvalidSecretProviderClass: it is no JSON or YAML, or a key or path points to something that is no string.
    """

    def file(path: str, contents: bytes, mode: int | None) -> Secret:
        return Secret(path, contents, object_id=found.id, version=value.version, mode=mode, source=value.source)

    name = f"{found.wanted[0].name} ({found.place})"
    yield from options.files(found.options, file(found.file, value.contents, found.mode), name)
    if not found.extracts:
        return
    document = jmes.load_json(value.contents, name)
    for extract in found.extracts:
        text = jmes.search(extract.expression, document, extract.alias, name)
        yield file(extract.file, as_bytes(text), extract.mode)
