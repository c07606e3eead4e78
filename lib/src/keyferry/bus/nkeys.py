"""NATS' own form of Ed25519 keys, and the JWTs signed with them: what servers and auth callouts speak.

A key is written as base32 of a prefix that says what it is for, the 32 bytes, and a CRC-16 (XMODEM) of both; a seed
carries the prefix of seeds as well (github.com/nats-io/nkeys, github.com/nats-io/jwt).
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha512
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_SEED = 18 << 3
_RAW_BYTES = 32
_JWT_PARTS = 3
_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}


class Role(IntEnum):
    """What a key is for; its text begins with this letter (after an ``S`` in a seed)."""

    ACCOUNT = 0
    SERVER = 13 << 3
    USER = 20 << 3


class NkeyError(ValueError):
    """No key of the role wanted, or a JWT that it did not sign; the text quotes neither."""


@dataclass(frozen=True, slots=True)
class Nkey:
    """A key pair.

    Attributes:
        role: What it is for.
        private: Signs.
    """

    role: Role
    private: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def generate(cls, role: Role) -> Nkey:
        """A new one."""
        return cls(role, Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, text: str, role: Role) -> Nkey:
        """From what `seed` wrote.

        Raises:
            NkeyError: it is no seed of this role.
        """
        raw = _decoded(text.strip())
        if len(raw) != 2 + _RAW_BYTES or raw[0] & 0xF8 != _SEED or ((raw[0] & 7) << 5 | raw[1] >> 3) != role:
            raise NkeyError(f"is no seed of a NATS {role.name.lower()} key")
        return cls(role, Ed25519PrivateKey.from_private_bytes(raw[2:]))

    @property
    def seed(self) -> str:
        """Its secret text."""
        head = bytes([_SEED | self.role >> 5, (self.role & 31) << 3])
        return _encoded(head + self.private.private_bytes_raw())

    @property
    def public(self) -> str:
        """Its public text."""
        return _encoded(bytes([self.role]) + self.private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self.private.sign(message)

    def jwt(self, claims: dict[str, Any]) -> str:
        """A JWT that this key issues.

        Args:
            claims: All but ``iss`` and ``jti``.
        """
        told = {**claims, "iss": self.public}
        told["jti"] = _base32(sha512(json.dumps(told, sort_keys=True).encode()).digest()[:_RAW_BYTES])
        signed = f"{_part(_HEADER)}.{_part(told)}"
        return f"{signed}.{_base64(self.sign(signed.encode()))}"


def opened(jwt: str, role: Role) -> dict[str, Any]:
    """The claims of a JWT that its issuer has signed; whether to trust that issuer is another question.

    Raises:
        NkeyError: its issuer is of another role, or did not sign it.
    """
    parts = jwt.split(".")
    try:
        if len(parts) != _JWT_PARTS or json.loads(_unbase64(parts[0])) != _HEADER:
            raise NkeyError("is no JWT of NATS")
        claims: dict[str, Any] = json.loads(_unbase64(parts[1]))
        issuer = _decoded(str(claims["iss"]))
        if len(issuer) != 1 + _RAW_BYTES or issuer[0] != role:
            raise NkeyError(f"is not issued by a NATS {role.name.lower()} key")
        signature = _unbase64(parts[2])
        Ed25519PublicKey.from_public_bytes(issuer[1:]).verify(signature, f"{parts[0]}.{parts[1]}".encode())
    except (InvalidSignature, ValueError, TypeError, KeyError, RecursionError) as error:
        raise error if isinstance(error, NkeyError) else NkeyError("is no JWT of NATS") from None
    return claims


def _part(claims: dict[str, Any]) -> str:
    return _base64(json.dumps(claims, separators=(",", ":")).encode())


def _encoded(raw: bytes) -> str:
    return _base32(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little"))


def _decoded(text: str) -> bytes:
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except ValueError:
        raise NkeyError("is no NATS key") from None
    if binascii.crc_hqx(raw[:-2], 0).to_bytes(2, "little") != raw[-2:]:
        raise NkeyError("is no NATS key: its checksum is wrong")
    return raw[:-2]


def _base32(raw: bytes) -> str:
    return base64.b32encode(raw).decode().rstrip("=")


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
