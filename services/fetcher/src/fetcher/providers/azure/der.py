"""Finds out what it would cost to decrypt PKCS#12, before anything is decrypted.

Its keys are derived by as many rounds of hashing as the file itself asks for, up to 2^31: hours. PKCS#12 (RFC 7292) and
PKCS#5 (RFC 8018) write the number behind the salt, so that every INTEGER which follows an OCTET STRING may be one.
"""

from __future__ import annotations

from collections.abc import Iterator

_MAX_DEPTH = 32
_MAX_ELEMENTS = 20_000
_INTEGER, _OCTETS, _CONSTRUCTED = 0x02, 0x04, 0x20
_LONG_TAG = 0x1F
_INDEFINITE = 0x80
_LONGEST_LENGTH = 4  # bytes of a length
_END = b"\x00\x00"


class DerError(Exception):
    """The bytes are no ASN.1, or more of it than there should be."""


def iterations(data: bytes) -> Iterator[int]:
    """Every number in the data that may be a count of iterations.

    Raises:
        DerError: the data is no BER (X.690).
    """
    room = iter(range(_MAX_ELEMENTS))
    yield from _inside(data, 0, room, strict=True)


def _inside(data: bytes, depth: int, room: Iterator[int], *, strict: bool) -> Iterator[int]:
    if depth > _MAX_DEPTH:
        raise DerError
    before, at = 0, 0
    while at < len(data):
        if next(room, None) is None:
            raise DerError
        try:
            tag, content, at = _element(data, at, depth)
        except DerError:
            if strict:
                raise
            return  # an OCTET STRING need not hold ASN.1
        if tag == _INTEGER and before in (_OCTETS, _OCTETS | _CONSTRUCTED):
            yield abs(int.from_bytes(content, signed=True))
        if tag & _CONSTRUCTED:
            yield from _inside(content, depth + 1, room, strict=strict)
        elif tag == _OCTETS:
            yield from _inside(content, depth + 1, room, strict=False)
        before = tag


def _element(data: bytes, at: int, depth: int) -> tuple[int, bytes, int]:
    """Tag, content and where the next one begins."""
    if len(data) - at < len(_END):
        raise DerError
    tag, length, at = data[at], data[at + 1], at + 2
    if tag & _LONG_TAG == _LONG_TAG:
        raise DerError  # neither PKCS#12 nor PKCS#5 have such
    if length == _INDEFINITE and tag & _CONSTRUCTED:
        end = _end(data, at, depth + 1)
        return tag, data[at : end - len(_END)], end
    if length & _INDEFINITE:
        size = length & ~_INDEFINITE
        if not 0 < size <= _LONGEST_LENGTH or at + size > len(data):
            raise DerError
        length, at = int.from_bytes(data[at : at + size]), at + size
    if at + length > len(data):
        raise DerError
    return tag, data[at : at + length], at + length


def _end(data: bytes, at: int, depth: int) -> int:
    """Where content of indefinite length ends, its mark included."""
    if depth > _MAX_DEPTH:
        raise DerError
    while data[at : at + len(_END)] != _END:
        _, _, at = _element(data, at, depth)
    return at + len(_END)
