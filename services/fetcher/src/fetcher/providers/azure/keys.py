"""Turns what Key Vault says of keys and certificates into PEM: their public halves."""

from __future__ import annotations

from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate

_CURVES: dict[str, type[ec.EllipticCurve]] = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1}
_LARGEST_NUMBER = 2048  # bytes


class KeyMaterialError(Exception):
    """A key or certificate that cannot be written; says what of it is not supported."""


def public_key(key: Any) -> bytes:
    """The public key in PEM (SubjectPublicKeyInfo).

    Args:
        key: The SDK's JsonWebKey, whose fields have no types.

    Raises:
        KeyMaterialError: its type or curve is not supported, or its numbers make no key.
    """
    kind, curve = _name(key.kty), _name(key.crv)
    if kind not in ("RSA", "RSA-HSM", "EC", "EC-HSM"):
        raise KeyMaterialError(f"failed to get key. key type '{kind}' currently not supported")
    if kind.startswith("EC") and curve not in _CURVES:
        raise KeyMaterialError(f"curve {curve} is not supported")
    pem = b""
    try:
        if kind.startswith("RSA"):
            numbers = rsa.RSAPublicNumbers(_number(key.e), _number(key.n))
            pem = numbers.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        else:
            point = ec.EllipticCurvePublicNumbers(_number(key.x), _number(key.y), _CURVES[curve]())
            pem = point.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass
    if not pem:
        raise KeyMaterialError("its numbers make no public key")
    return pem


def certificate(der: bytes | bytearray | None) -> bytes:
    """The certificate in PEM.

    Raises:
        KeyMaterialError: it is none.
    """
    pem = b""
    try:
        if der:
            pem = load_der_x509_certificate(bytes(der)).public_bytes(Encoding.PEM)
    except ValueError:
        pass
    if not pem:
        raise KeyMaterialError("it is no certificate")
    return pem


def _number(data: object) -> int:
    if not isinstance(data, bytes) or not 0 < len(data) <= _LARGEST_NUMBER:
        raise ValueError
    return int.from_bytes(data)


def _name(value: object) -> str:
    """An enumeration's value, or a text that the SDK does not know."""
    text = str(getattr(value, "value", value))[:40]
    return text if text.isprintable() else "?"
