"""What AWS gave for an object, and the files it becomes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fetcher.provider import Secret
from fetcher.providers.aws import jmes
from fetcher.providers.aws.wanted import Object


@dataclass(frozen=True, slots=True)
class Value:
    """One version of a secret or parameter; the contents are hidden from repr."""

    contents: bytes = field(repr=False)
    version: str


def as_bytes(text: str) -> bytes:
    """UTF-8; half a surrogate pair, which JSON can spell, becomes U+FFFD as in upstream's decoder."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def files(found: Object, value: Value) -> Iterator[Secret]:
    """The whole secret, then the parts that ``jmesPath`` takes out of it; all carry the whole one's id and version.

    Raises:
        SecretNotFound: a path points to nothing.
        InvalidSecretProviderClass: the secret is no JSON, or a path points to something that is no string.
    """

    def file(path: str, contents: bytes, mode: int | None) -> Secret:
        return Secret(path=path, contents=contents, object_id=found.file, version=value.version, mode=mode)

    yield file(found.file, value.contents, found.mode)
    if not found.extracts:
        return
    name = f"{found.wanted[0].name} ({found.place})"
    document = jmes.load_json(value.contents, name)
    for extract in found.extracts:
        text = jmes.search(extract.expression, document, extract.alias, name)
        yield file(extract.file, as_bytes(text), extract.mode)
