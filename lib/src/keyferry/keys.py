"""The key sets: who can open what, who signs, and how their files are read while they change.

Three files, which `keyferry.keymaking` makes. ``public.json`` goes to everybody (a ConfigMap); ``fetcher.json`` to the
fetchers and ``syncer.json`` to the syncers alone (Secrets). Each list holds at most two keys, newest first, and both
are valid. A new key is used from its ``active_from`` on, some minutes after it was made, so that every process has read
it by then: one command rotates a running cluster without a refused message.
"""

from __future__ import annotations

import base64
import hmac
import json
import logging
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from prometheus_client import Gauge

from keyferry.errors import UntrustedMessage
from keyferry.sealing import OpeningKey, Recipient, Sealed, SigningKey, VerifyingKey

log = logging.getLogger(__name__)

# All sets are rotated together: who shows another time than the rest has not read the newest keys.
NEWEST = Gauge(
    "keyferry_keys_newest_timestamp_seconds",
    "From when on the newest keys of a key file are used, as this process has it.",
    ["file"],
)

PUBLIC, FETCHER, SYNCER = "public.json", "fetcher.json", "syncer.json"

K = TypeVar("K")


class KeyFileError(Exception):
    """A key file is missing, malformed, or readable by those who must not read it; the text says which."""


@dataclass(frozen=True, slots=True)
class Keys(Generic[K]):
    """One list of a key file: newest first, each with the Unix second from which it is used."""

    entries: tuple[tuple[str, float, K], ...]

    def current(self, now: float) -> K:
        """The newest key that is in use; the newest of all while none is."""
        return next((key for _, active_from, key in self.entries if active_from <= now), self.entries[0][2])

    def named(self, key_id: str) -> K | None:
        """The key with this id, if it is valid."""
        return next((key for known, _, key in self.entries if known == key_id), None)


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """What everybody knows."""

    fetcher: Keys[Recipient]
    signing: Keys[VerifyingKey]
    syncer: Keys[Recipient]

    @classmethod
    def parse(cls, document: dict[str, Any]) -> PublicKeys:
        """From the content of ``public.json``."""
        return cls(
            _keys(document, "fetcher", "public", Recipient.from_bytes),
            _keys(
                document, "signing", "public", lambda i, raw: VerifyingKey(i, Ed25519PublicKey.from_public_bytes(raw))
            ),
            _keys(document, "syncer", "public", Recipient.from_bytes),
        )

    def verify(self, key_id: str, purpose: str, body: bytes, signature: bytes) -> None:
        """Return if a fetcher signed this.

        Raises:
            UntrustedMessage: unknown key, or the signature does not hold.
        """
        key = self.signing.named(key_id)
        if key is None:
            raise UntrustedMessage(f"a {purpose} is signed with key {key_id!r}, which is not among the fetchers' keys")
        key.verify(purpose, body, signature)


@dataclass(frozen=True, slots=True)
class FetcherKeys:
    """What only fetchers hold.

    Attributes:
        opening: For requests.
        signing: For replies.
        macs: Behind the names and digests of contents, and what they are sealed with in Redis.
    """

    opening: Keys[OpeningKey]
    signing: Keys[SigningKey]
    macs: Keys[bytes] = field(repr=False)

    @classmethod
    def parse(cls, document: dict[str, Any]) -> FetcherKeys:
        """From the content of ``fetcher.json``."""
        return cls(
            _keys(document, "fetcher", "seed", OpeningKey.from_seed),
            _keys(document, "signing", "seed", lambda i, raw: SigningKey(i, Ed25519PrivateKey.from_private_bytes(raw))),
            _macs(document["mac"]),
        )

    def opener(self, sealed: Sealed) -> OpeningKey:
        """The key that opens a message.

        Raises:
            UntrustedMessage: it was sealed to a key that is not ours, or no longer.
        """
        key = self.opening.named(sealed.key_id)
        if key is None:
            raise UntrustedMessage(
                f"a request is sealed to key {sealed.key_id!r}, which is not among the fetchers' keys"
            )
        return key

    def mac(self, purpose: str, *parts: bytes, now: float | None = None) -> bytes:
        """A keyed MAC (HMAC-SHA256) that only fetchers can compute: equal inputs show as equal, and nothing else shows.

        Args:
            purpose: What it is for.
            parts: The inputs.
            now: Unix seconds, which say which key is in use; the clock's where not given.
        """
        key = self.macs.current(time.time() if now is None else now)
        mac = hmac.new(key, purpose.encode(), sha256)
        for part in parts:
            mac.update(len(part).to_bytes(8, "big"))
            mac.update(part)
        return mac.digest()


@dataclass(frozen=True, slots=True)
class SyncerKeys:
    """What only syncers hold."""

    opening: Keys[OpeningKey]

    @classmethod
    def parse(cls, document: dict[str, Any]) -> SyncerKeys:
        """From the content of ``syncer.json``."""
        return cls(_keys(document, "syncer", "seed", OpeningKey.from_seed))

    def opener(self, sealed: Sealed) -> OpeningKey:
        """The key that opens a content.

        Raises:
            UntrustedMessage: it was sealed to a key that is not ours, or no longer.
        """
        key = self.opening.named(sealed.key_id)
        if key is None:
            raise UntrustedMessage(
                f"a content is sealed to key {sealed.key_id!r}, which is not among the syncers' keys"
            )
        return key


def _keys(document: dict[str, Any], name: str, half: str, build: Callable[[str, bytes], K]) -> Keys[K]:
    entries = [(e["id"], float(e["active_from"]), build(e["id"], base64.b64decode(e[half]))) for e in document[name]]
    if not entries:
        raise ValueError(f"{name} has no key")
    return Keys(tuple(entries))


def _macs(written: str | list[dict[str, Any]]) -> Keys[bytes]:
    if isinstance(written, str):  # one that was never rotated
        return Keys((("", 0.0, base64.b64decode(written)),))
    return _keys({"mac": written}, "mac", "key", lambda _, raw: raw)


T = TypeVar("T", bound=PublicKeys | FetcherKeys | SyncerKeys)


class KeyFile(Generic[T]):
    """A key file that is read again when it changes, as kubelet changes a mounted ConfigMap or Secret.

    A new content that cannot be read leaves the keys as they were: a typo must not stop running mounts.
    """

    def __init__(self, path: Path, parse: Callable[[dict[str, Any]], T], *, private: bool) -> None:
        self._path = path
        self._parse = parse
        self._private = private
        self._seen: tuple[int, int, int] | None = None
        self._keys = self._read()
        # At each scrape: whoever has nothing to do reads no keys, and is not to blame for it.
        NEWEST.labels(path.name).set_function(lambda: _newest(self.keys))

    @classmethod
    def public(cls, directory: Path) -> KeyFile[PublicKeys]:
        """The public halves of all key sets."""
        return KeyFile(directory / PUBLIC, PublicKeys.parse, private=False)

    @classmethod
    def fetcher(cls, directory: Path) -> KeyFile[FetcherKeys]:
        """The fetchers' private keys."""
        return KeyFile(directory / FETCHER, FetcherKeys.parse, private=True)

    @classmethod
    def syncer(cls, directory: Path) -> KeyFile[SyncerKeys]:
        """The syncers' private keys."""
        return KeyFile(directory / SYNCER, SyncerKeys.parse, private=True)

    @property
    def keys(self) -> T:
        """The keys as of now."""
        try:
            if _fingerprint(self._path.stat()) != self._seen:
                self._keys = self._read()
        except OSError:
            pass  # it is being replaced
        except KeyFileError as error:
            log.error("changed keys are not taken, the former ones stay in use: %s", error)  # noqa: TRY400 - no defect
        return self._keys

    def _read(self) -> T:
        try:
            state = self._path.stat()
            self._seen = _fingerprint(state)  # also of what cannot be read: it is complained of once
            if self._private and state.st_mode & stat.S_IROTH:
                raise KeyFileError(
                    f"{self._path} is readable by everybody: chmod 0600 it (in a Secret volume: defaultMode)"
                )
            return self._parse(json.loads(self._path.read_bytes()))
        except OSError as error:
            raise KeyFileError(f"{self._path}: {error.strerror}: make it with `keyferry keys create`") from None
        except (ValueError, KeyError, TypeError, UntrustedMessage) as error:
            raise KeyFileError(f"{self._path} is no key file ({type(error).__name__})") from None


def _newest(keys: PublicKeys | FetcherKeys | SyncerKeys) -> float:
    sets = (getattr(keys, each.name) for each in fields(keys))
    return max(active_from for each in sets if isinstance(each, Keys) for _, active_from, _ in each.entries)


def _fingerprint(state: os.stat_result) -> tuple[int, int, int]:
    return state.st_ino, state.st_mtime_ns, state.st_ctime_ns  # the last one changes with chmod, too
