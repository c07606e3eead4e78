"""The key sets: who can open what, who signs, and how they are made, rotated and read.

Three files. ``public.json`` goes to everybody (a ConfigMap); ``fetcher.json`` to the fetchers and ``syncer.json`` to
the syncers alone (Secrets). Each list holds at most two keys, newest first, and both are valid. A new key is used from
its ``active_from`` on, some minutes after it was made, so that every process has read it by then: one command rotates
a running cluster without a refused message.
"""

from __future__ import annotations

import base64
import hmac
import json
import logging
import os
import secrets
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
ACTIVATION_DELAY = 600.0  # seconds; kubelet brings a changed ConfigMap or Secret to its pods within about two minutes
_VALID_AT_ONCE = 2
_SETS = ("fetcher", "signing", "syncer")

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
    """What only fetchers hold."""

    opening: Keys[OpeningKey]
    signing: Keys[SigningKey]
    mac_key: bytes = field(repr=False)

    @classmethod
    def parse(cls, document: dict[str, Any]) -> FetcherKeys:
        """From the content of ``fetcher.json``."""
        return cls(
            _keys(document, "fetcher", "seed", OpeningKey.from_seed),
            _keys(document, "signing", "seed", lambda i, raw: SigningKey(i, Ed25519PrivateKey.from_private_bytes(raw))),
            base64.b64decode(document["mac"]),
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

    def mac(self, purpose: str, *parts: bytes) -> bytes:
        """A keyed MAC (HMAC-SHA256) that only fetchers can compute: equal inputs show as equal, and nothing else shows.

        The MAC key outlives key rotation: a new one would make every content in the cluster look changed.
        """
        mac = hmac.new(self.mac_key, purpose.encode(), sha256)
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


def create(directory: Path, *, now: float | None = None) -> None:
    """Make the three files, each key in use at once.

    Raises:
        KeyFileError: there are keys already; overwriting them would cut off every node.
    """
    if any((directory / name).exists() for name in (PUBLIC, FETCHER, SYNCER)):
        raise KeyFileError(f"{directory} holds keys already: use `keyferry keys rotate`")
    directory.mkdir(parents=True, exist_ok=True)
    empty: dict[str, Any] = {"fetcher": [], "signing": [], "syncer": []}
    private = {"fetcher": [], "signing": [], "mac": _text(secrets.token_bytes(32))}
    _write(directory, *_with_new_keys(empty, private, {"syncer": []}, time.time() if now is None else now))


def rotate(directory: Path, *, now: float | None = None, delay: float = ACTIVATION_DELAY) -> None:
    """Add a new key to each set and drop all but the last one before it.

    Args:
        directory: Holds the three files.
        now: Unix seconds; the clock's where not given.
        delay: Seconds until the new keys are used; 0 after a compromise.

    Raises:
        KeyFileError: the files are missing or malformed, or the keys of the last rotation are not in use yet.
    """
    now = time.time() if now is None else now
    try:
        public, fetcher, syncer = (json.loads((directory / name).read_bytes()) for name in (PUBLIC, FETCHER, SYNCER))
        wait = max(entry["active_from"] for name in _SETS for entry in public[name]) - now
        fresh = _with_new_keys(public, fetcher, syncer, now + delay)
    except (OSError, ValueError, KeyError, TypeError):
        raise KeyFileError(f"{directory} holds no key set: make one with `keyferry keys create`") from None
    if wait > 0 and delay > 0:
        # Of two keys the older is the only one in use: to drop it now would cut off every node.
        raise KeyFileError(f"the keys of the last rotation are used in {wait:.0f} s: rotate again after that")
    _write(directory, *fresh)


def _with_new_keys(
    public: dict[str, Any], fetcher: dict[str, Any], syncer: dict[str, Any], active_from: float
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    def add(document: dict[str, Any], name: str, key_id: str, **halves: bytes) -> None:
        entry = {"id": key_id, "active_from": active_from, **{half: _text(raw) for half, raw in halves.items()}}
        document[name] = [entry, *document[name]][:_VALID_AT_ONCE]

    for name, private in (("fetcher", fetcher), ("syncer", syncer)):
        opening = OpeningKey.generate(f"{name}-{secrets.token_hex(4)}")
        add(public, name, opening.key_id, public=opening.recipient.raw)
        add(private, name, opening.key_id, seed=opening.seed)
    signing = SigningKey.generate(f"signing-{secrets.token_hex(4)}")
    add(public, "signing", signing.key_id, public=signing.key.public_key().public_bytes_raw())
    add(fetcher, "signing", signing.key_id, seed=signing.key.private_bytes_raw())
    return public, fetcher, syncer


def _write(directory: Path, public: dict[str, Any], fetcher: dict[str, Any], syncer: dict[str, Any]) -> None:
    # Private halves first: nobody may learn of a public key whose private half could still be lost.
    for name, document, mode in ((FETCHER, fetcher, 0o600), (SYNCER, syncer, 0o600), (PUBLIC, public, 0o644)):
        fresh = directory / f".{name}.{secrets.token_hex(4)}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w") as file:
            json.dump(document, file, indent=1)
        fresh.replace(directory / name)


def manifests(directory: Path, namespace: str) -> dict[str, Any]:
    """The key files as a Kubernetes List of one ConfigMap and two Secrets, for ``kubectl apply -f -``."""

    def labelled(kind: str, name: str, file: str) -> dict[str, Any]:
        metadata = {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "keyferry"}}
        payload = "data" if kind == "ConfigMap" else "stringData"
        return {"apiVersion": "v1", "kind": kind, "metadata": metadata, payload: {file: (directory / file).read_text()}}

    items = [
        labelled("Secret", "keyferry-fetcher-keys", FETCHER),
        labelled("Secret", "keyferry-syncer-keys", SYNCER),
        labelled("ConfigMap", "keyferry-public-keys", PUBLIC),
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
