"""Makes the key sets, rotates them and prints them for Kubernetes; `keyferry.keys` says what they are for."""

from __future__ import annotations

import base64
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from keyferry.keys import FETCHER, PUBLIC, SYNCER, KeyFileError
from keyferry.sealing import OpeningKey, SigningKey

ACTIVATION_DELAY = 600.0  # seconds; kubelet brings a changed ConfigMap or Secret to its pods within about two minutes
_VALID_AT_ONCE = 2
_SETS = ("fetcher", "signing", "syncer")


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


def rotate(directory: Path, *, now: float | None = None, delay: float = ACTIVATION_DELAY, mac: bool = False) -> None:
    """Add a new key to each set and drop all but the last one before it.

    A new MAC key makes every content look changed once, and has credentials that Vault made for a content made anew: it
    is for keys that may be stolen. The one before it goes with the next rotation, like all others.

    Args:
        directory: Holds the three files.
        now: Unix seconds; the clock's where not given.
        delay: Seconds until the new keys are used; 0 after a compromise.
        mac: Make a new MAC key, too.

    Raises:
        KeyFileError: the files are missing or malformed, or the keys of the last rotation are not in use yet.
    """
    now = time.time() if now is None else now
    try:
        public, fetcher, syncer = (json.loads((directory / name).read_bytes()) for name in (PUBLIC, FETCHER, SYNCER))
        wait = max(entry["active_from"] for name in _SETS for entry in public[name]) - now
        fetcher["mac"] = _macs(fetcher["mac"], now, now + delay if mac else None)
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


def _macs(written: str | list[dict[str, Any]], now: float, active_from: float | None) -> str | list[dict[str, Any]]:
    """The MAC keys after a rotation: a new one, if it is wanted from some time on, and those down to the one in use."""
    if isinstance(written, str):
        if active_from is None:
            return written  # as older versions can read it
        written = [{"id": "mac-first", "active_from": 0.0, "key": written}]
    in_use = next((number for number, entry in enumerate(written) if entry["active_from"] <= now), 0)
    kept = written[: in_use + 1]
    if active_from is not None:
        key_id, key = f"mac-{secrets.token_hex(4)}", _text(secrets.token_bytes(32))
        kept.insert(0, {"id": key_id, "active_from": active_from, "key": key})
    return kept[:_VALID_AT_ONCE]


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
