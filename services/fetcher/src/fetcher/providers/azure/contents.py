"""What files hold: a secret as it is or decoded, a certificate's secret as PEM, and its two halves beside it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass, field

from fetcher.providers.azure.pfx import PfxError, to_pem
from fetcher.providers.azure.wanted import Object, Reference
from keyferry.errors import InvalidSecretProviderClass, KeyferryError, ProviderError

_PEM, _PFX = "application/x-pem-file", "application/x-pkcs12"
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Value:
    """One version of an object as the vault gave it.

    Attributes:
        data: A secret's text, or PEM of a key or certificate.
        version: Its id.
        content_type: Of a secret that a certificate keeps; None for all else.
    """

    data: bytes = field(repr=False)
    version: str
    content_type: str | None = None


def contents(
    each: Object, reference: Reference, value: Value, *, construct_chain: bool, separate_files: bool
) -> Iterator[tuple[str, bytes]]:
    """The files of one version: a suffix for the name, and the bytes.

    Args:
        each: What the class asks for.
        reference: The version of it.
        value: Of that version.
        construct_chain: Whether certificates of PKCS#12 are put in order.
        separate_files: Whether a certificate's secret becomes two more files.

    Raises:
        ProviderError: it is no certificate of a kind that is known.
        InvalidSecretProviderClass: it is not encoded as the class says.
    """
    data = value.data
    if value.content_type is not None:
        data = _certificate(each, reference, value, construct_chain=construct_chain)
    yield "", _decoded(each, reference, data)
    if separate_files and value.content_type is not None and not _stays_pfx(each, value):
        certificates, keys = split(data)
        yield ".crt", _decoded(each, reference, certificates)
        yield ".key", _decoded(each, reference, keys)


def split(pem: bytes) -> tuple[bytes, bytes]:
    """The blocks that are certificates, and all others."""
    certificates: list[bytes] = []
    keys: list[bytes] = []
    block: list[bytes] = []
    for line in pem.splitlines(keepends=True):
        if line.startswith(b"-----BEGIN "):
            block = []
        block.append(line)
        if line.startswith(b"-----END ") and block[0].startswith(b"-----BEGIN "):
            whole = b"".join(block).rstrip() + b"\n"
            (certificates if block[0].startswith(b"-----BEGIN CERTIFICATE-----") else keys).append(whole)
            block = []
    return b"".join(certificates), b"".join(keys)


def _stays_pfx(each: Object, value: Value) -> bool:
    return value.content_type == _PFX and each.pfx


def _certificate(each: Object, reference: Reference, value: Value, *, construct_chain: bool) -> bytes:
    if value.content_type == _PEM or _stays_pfx(each, value):
        return value.data
    if value.content_type != _PFX:
        name = (value.content_type or "")[:_SHOWN]
        raise _unusable(reference, f"unknown content type '{name if name.isprintable() else '?'}'")
    pfx = _base64(value.data)
    if pfx is None:
        raise _unusable(reference, "its value is not base64")
    failure: KeyferryError
    try:
        return to_pem(pfx, construct_chain=construct_chain)
    except PfxError as error:
        failure = _unusable(reference, f"its value {error}")
    raise failure


def _unusable(reference: Reference, why: str) -> ProviderError:
    message = f"failed to get certificate of {reference}: {why}"
    return ProviderError(message, code="FAILED_PRECONDITION", reason="ProviderError")


def _decoded(each: Object, reference: Reference, data: bytes) -> bytes:
    if not each.encoding:
        return data
    decoded = _base64(data) if each.encoding == "base64" else _hex(data)
    if decoded is None:
        raise InvalidSecretProviderClass(
            f"{each.place}.objectEncoding is {each.encoding}, but the value of {reference} is not ({len(data)} bytes): "
            "remove it, or mend the secret"
        )
    return decoded


def _base64(data: bytes) -> bytes | None:
    try:
        return base64.b64decode(data.translate(None, b"\r\n"), validate=True)
    except binascii.Error:
        return None


def _hex(data: bytes) -> bytes | None:
    try:
        return binascii.unhexlify(data)
    except binascii.Error:
        return None
