"""Splits certificate and key of a ``kubernetes.io/tls`` Secret out of the file that holds both.

As upstream does (its pkg/util/secretutil), and beyond it: ca.crt is allowed, ed25519 keys are, and what cannot be read
is told instead of becoming an empty block.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12
from cryptography.x509 import load_pem_x509_certificates

CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"
KEYS = (CERTIFICATE, KEY, AUTHORITY)

_BLOCK = re.compile(
    rb"-----BEGIN (?P<label>[A-Z0-9 ]{1,64})-----\r?\n(?P<body>[^-]*?)-----END (?P=label)-----\r?\n?", re.ASCII
)
_PRIVATE = (b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY")
_OLD_ENCRYPTED = b"Proc-Type: 4,ENCRYPTED"  # RFC 1421; its header lines keep such a block from being taken for one
_LARGEST = 1024 * 1024  # bytes; no Secret holds more


class TlsError(Exception):
    """A file does not hold what its key of the Secret asks for; says its shape, never what stands in it."""


def part(key: str, contents: bytes) -> bytes:
    """What one key of a tls Secret holds.

    Args:
        key: One of `KEYS`.
        contents: PEM with certificates and a private key in any order, or PKCS#12 without a password, as it is or in
            base64.

    Raises:
        TlsError: there is no such part.
    """
    if len(contents) > _LARGEST:
        raise TlsError(f"{len(contents)} bytes are no certificate")
    blocks = [(match["label"], match[0]) for match in _BLOCK.finditer(contents)]
    if not blocks and _OLD_ENCRYPTED not in contents:
        blocks = _pkcs12(contents)
    return _key(blocks, contents) if key == KEY else _certificates(blocks, key)


def _certificates(blocks: Sequence[tuple[bytes, bytes]], key: str) -> bytes:
    found = b"".join(_ended(block) for label, block in blocks if label == b"CERTIFICATE")
    try:
        if found and load_pem_x509_certificates(found):
            return found
    except ValueError:
        raise TlsError(f"has a CERTIFICATE block that is none, for {key}: renew it in the backend") from None
    raise TlsError(f"has no CERTIFICATE block, for {key}: name an object that holds a certificate")


def _key(blocks: Sequence[tuple[bytes, bytes]], contents: bytes) -> bytes:
    private = [block for label, block in blocks if label in _PRIVATE]
    if any(label == b"ENCRYPTED PRIVATE KEY" for label, _ in blocks) or _OLD_ENCRYPTED in contents:
        raise TlsError("has an encrypted private key: store it without a password")
    if not private:
        raise TlsError("has no PRIVATE KEY block: name an object that holds the key too (Azure: objectType secret)")
    try:
        key = load_pem_private_key(private[-1], None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if key is None:
        raise TlsError("has a private key that cannot be read: RSA, EC and Ed25519 are supported")
    # Whoever reads these Secrets may know no PKCS#8; RFC 8410 has no other form for the rest.
    traditional = isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    form = PrivateFormat.TraditionalOpenSSL if traditional else PrivateFormat.PKCS8
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


def _pkcs12(contents: bytes) -> list[tuple[bytes, bytes]]:
    """The blocks of a PKCS#12 file without password: key, its certificate, those above it."""
    found = None
    for data in (contents, _decoded(contents)):
        try:
            found = load_pkcs12(data, None) if data else None
        except (ValueError, UnsupportedAlgorithm):
            continue
        if found:
            break
    if found is None:
        raise TlsError(f"is neither PEM nor PKCS#12 without a password ({len(contents)} bytes)")
    chain = [each.certificate for each in (found.cert, *found.additional_certs) if each]
    blocks = [(b"CERTIFICATE", each.public_bytes(Encoding.PEM)) for each in chain]
    if found.key:
        blocks.append((b"PRIVATE KEY", found.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())))
    return blocks


def _decoded(contents: bytes) -> bytes:
    try:
        return base64.b64decode(contents.translate(None, b" \r\n\t"), validate=True)
    except binascii.Error:
        return b""


def _ended(block: bytes) -> bytes:
    return block if block.endswith(b"\n") else block + b"\n"
