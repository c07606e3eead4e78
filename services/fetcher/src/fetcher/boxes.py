"""Seals what fetchers keep in Redis under keys that only fetchers hold; Redis and whoever reads it see nothing of it.

AES-256-GCM, with a key of its own for each purpose and content key, derived by HKDF (RFC 5869) from the fetchers' MAC
key; while that is rotated, boxes of both open. So no key seals enough messages for random nonces to repeat
(NIST SP 800-38D, section 8.3), and a box that is put in another's place does not open.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keyferry.errors import UntrustedMessage
from keyferry.keys import FetcherKeys, KeyFile

_NONCE = 12
_VERSION = b"\x01"
_REMEMBERED = 4096  # ciphers, of some hundred bytes


@dataclass(frozen=True, slots=True)
class Boxes:
    """Seals and opens with the fetchers' keys as they are now."""

    keys: KeyFile[FetcherKeys] = field(repr=False)

    def seal(self, plaintext: bytes, *, purpose: str, content_key: str) -> bytes:
        """A box for one purpose and content."""
        name = _name(purpose, content_key)
        nonce = os.urandom(_NONCE)
        return (
            _VERSION + nonce + _cipher(self.keys.keys.macs.current(time.time()), name).encrypt(nonce, plaintext, name)
        )

    def open(self, box: bytes, *, purpose: str, content_key: str) -> bytes:
        """What was sealed.

        Raises:
            UntrustedMessage: altered, made by other keys, or for another purpose or content.
        """
        name = _name(purpose, content_key)
        for _, _, key in self.keys.keys.macs.entries if box[:1] == _VERSION else ():
            with suppress(InvalidTag, ValueError):
                return _cipher(key, name).decrypt(box[1 : 1 + _NONCE], box[1 + _NONCE :], name)
        raise UntrustedMessage(
            f"a {purpose} of {len(box)} bytes in Redis does not open: it was altered, or sealed by other keys"
        )


def _name(purpose: str, content_key: str) -> bytes:
    return f"keyferry/v1/{purpose}/{content_key}".encode()


@lru_cache(_REMEMBERED)
def _cipher(mac_key: bytes, name: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=name).derive(mac_key))
