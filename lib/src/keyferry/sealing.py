"""Seals what is secret to the one who may read it, and signs what must come from a fetcher.

HPKE (RFC 9180) in base mode: ML-KEM-768 + X25519, HKDF-SHA256, AES-256-GCM. Base mode authenticates no sender and has
no AAD, so ``Binding`` goes into ``info`` (a ciphertext opens only for the purpose, request, node, volume and key it was
made for), and replies are signed with Ed25519.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from keyferry.errors import UntrustedMessage

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_MLKEM_PUBLIC = 1184
_MLKEM_SEED = 64
_X25519 = 32


@dataclass(frozen=True, slots=True)
class Binding:
    """What a sealed message is for; all of it must be the same to open it.

    Attributes:
        purpose: Such as ``ask`` or ``files``: a message of one kind never passes for another.
        request_id: One per mount or refresh.
        node: The node that asks.
        volume_id: The CSI volume id.
    """

    purpose: str
    request_id: str
    node: str
    volume_id: str

    def info(self, key_id: str) -> bytes:
        """The bytes for HPKE's ``info``: length-prefixed, so that no two bindings run into each other."""
        parts = ("keyferry/v1", self.purpose, self.request_id, self.node, self.volume_id, key_id)
        encoded = [part.encode() for part in parts]
        return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A ciphertext and the id of the key that opens it."""

    key_id: str
    ciphertext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Recipient:
    """A public key to seal to."""

    key_id: str
    key: MLKEM768X25519PublicKey = field(repr=False, compare=False)
    raw: bytes = field(repr=False)

    @classmethod
    def from_bytes(cls, key_id: str, raw: bytes) -> Recipient:
        """From ML-KEM-768 and X25519 public keys, one after the other (1184 + 32 bytes).

        Raises:
            UntrustedMessage: not such a key.
        """
        if len(raw) != _MLKEM_PUBLIC + _X25519:
            raise UntrustedMessage(f"public key {key_id!r} has {len(raw)} bytes: 1216 are an ML-KEM-768 + X25519 key")
        try:
            return cls(key_id, _public_key(raw), raw)
        except ValueError:
            raise UntrustedMessage(f"public key {key_id!r} is no ML-KEM-768 + X25519 key") from None

    def seal(self, plaintext: bytes, binding: Binding) -> Sealed:
        """Seal to this key: about 0.1 ms for 4 KiB.

        Raises:
            UntrustedMessage: the key is one with which everybody would share the secret (RFC 7748, section 6.1).
        """
        try:
            return Sealed(self.key_id, _SUITE.encrypt(plaintext, self.key, binding.info(self.key_id)))
        except ValueError:
            raise UntrustedMessage(f"public key {self.key_id!r} holds a weak X25519 key") from None


@lru_cache(maxsize=512)
def _public_key(raw: bytes) -> MLKEM768X25519PublicKey:
    # Remembered: a node's requests all bring its one key, and most answers are sealed to nobody.
    return MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC]),
        X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC:]),
    )


@dataclass(frozen=True, slots=True)
class OpeningKey:
    """A private key that opens what was sealed to its public half."""

    key_id: str
    seed: bytes = field(repr=False)
    key: MLKEM768X25519PrivateKey = field(repr=False, compare=False)
    recipient: Recipient

    @classmethod
    def generate(cls, key_id: str) -> OpeningKey:
        """A new pair, from the operating system's randomness."""
        seed = MLKEM768PrivateKey.generate().private_bytes_raw() + X25519PrivateKey.generate().private_bytes_raw()
        return cls.from_seed(key_id, seed)

    @classmethod
    def from_seed(cls, key_id: str, seed: bytes) -> OpeningKey:
        """From an ML-KEM-768 seed and an X25519 private key, one after the other (64 + 32 bytes).

        Raises:
            UntrustedMessage: another number of bytes.
        """
        if len(seed) != _MLKEM_SEED + _X25519:
            raise UntrustedMessage(f"private key {key_id!r} has {len(seed)} bytes: 96 make an ML-KEM-768 + X25519 key")
        mlkem = MLKEM768PrivateKey.from_seed_bytes(seed[:_MLKEM_SEED])
        x25519 = X25519PrivateKey.from_private_bytes(seed[_MLKEM_SEED:])
        public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        key = MLKEM768X25519PrivateKey(mlkem, x25519)
        return cls(key_id, seed, key, Recipient.from_bytes(key_id, public))

    def open(self, sealed: Sealed, binding: Binding) -> bytes:
        """The plaintext: about 0.08 ms for 4 KiB.

        Raises:
            UntrustedMessage: sealed to another key, for another purpose, or altered.
        """
        try:
            return _SUITE.decrypt(sealed.ciphertext, self.key, binding.info(self.key_id))
        except (InvalidTag, ValueError):
            raise UntrustedMessage(
                f"what was sealed for {binding.purpose} of volume {binding.volume_id} with key {sealed.key_id!r} "
                f"does not open: it was altered, replayed or sealed for somebody else"
            ) from None


@dataclass(frozen=True, slots=True)
class SigningKey:
    """Signs what fetchers send."""

    key_id: str
    key: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def generate(cls, key_id: str) -> SigningKey:
        """A new Ed25519 key."""
        return cls(key_id, Ed25519PrivateKey.generate())

    def sign(self, purpose: str, body: bytes) -> bytes:
        """An Ed25519 signature (RFC 8032) over the purpose and the body."""
        return self.key.sign(_signed_bytes(purpose, body))

    def verifier(self) -> VerifyingKey:
        """The public half."""
        return VerifyingKey(self.key_id, self.key.public_key())


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """Tells whether a fetcher signed."""

    key_id: str
    key: Ed25519PublicKey = field(repr=False)

    def verify(self, purpose: str, body: bytes, signature: bytes) -> None:
        """Return if the signature holds.

        Raises:
            UntrustedMessage: it does not.
        """
        try:
            self.key.verify(signature, _signed_bytes(purpose, body))
        except InvalidSignature:
            raise UntrustedMessage(f"a {purpose} is not signed by fetcher key {self.key_id!r}") from None


def _signed_bytes(purpose: str, body: bytes) -> bytes:
    return b"keyferry/v1/" + purpose.encode() + b"\0" + body
