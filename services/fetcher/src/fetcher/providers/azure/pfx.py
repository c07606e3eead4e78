"""Turns PKCS#12, as Key Vault keeps certificates with their keys, into PEM; its bytes are foreign, so within bounds."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12KeyAndCertificates, load_pkcs12

from fetcher.providers.azure.chain import ordered
from fetcher.providers.azure.der import DerError, iterations

_LARGEST = 64 * 1024  # bytes; a secret has 25 kB at most
_MOST_ITERATIONS = 200_000  # of key derivation, all together; Key Vault writes some thousands


class PfxError(Exception):
    """The bytes are no PKCS#12 that can be used; says why without quoting any."""


def to_pem(pfx: bytes, *, construct_chain: bool) -> bytes:
    """The private key in PKCS#8, then the certificates, that of the key first.

    Args:
        pfx: Without a password.
        construct_chain: Whether to put the certificates in order.

    Raises:
        PfxError: it cannot be read, or only at great cost.
    """
    problem = ""
    try:
        if len(pfx) > _LARGEST or sum(iterations(pfx)) > _MOST_ITERATIONS:
            problem = "is larger, or slower to decrypt, than Key Vault makes them"
        else:
            return _pem(load_pkcs12(pfx, None), construct_chain=construct_chain)
    except (ValueError, TypeError, UnsupportedAlgorithm, DerError):
        problem = problem or "is no PKCS#12 without a password, or holds a key of an unknown kind"
    # Outside the block: the library's error may quote bytes.
    raise PfxError(problem)


def _pem(found: PKCS12KeyAndCertificates, *, construct_chain: bool) -> bytes:
    bags = [found.cert, *found.additional_certs] if found.cert else found.additional_certs
    certificates = [bag.certificate for bag in bags]
    if construct_chain:
        certificates = ordered(certificates)
    pieces = [each.public_bytes(Encoding.PEM) for each in certificates]
    if found.key:
        pieces.insert(0, found.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    if not pieces:
        raise ValueError
    return b"".join(pieces)
