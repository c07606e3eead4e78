from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from keyferry import keymaking
from keyferry.errors import UntrustedMessage
from keyferry.handover import SecretsFetched
from keyferry.keys import KeyFile, Keys
from keyferry.resources import Content, File, ObjectVersion
from keyferry.sealing import OpeningKey, SigningKey

CONTENT = Content("vault", "k1", b"digest", 1_000, (ObjectVersion("db", "3"),), (File("password", b"tiger", 0o640),))
SYNCER = OpeningKey.generate("syncer-1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keymaking.create(tmp_path)
    return tmp_path


def told(folder: Path) -> bytes:
    sign = KeyFile.fetcher(folder).keys.signing.current(time.time())
    return SecretsFetched.seal(CONTENT, namespace="shop", to=SYNCER.recipient).to_bytes(sign)


def test_a_syncer_reads_what_a_fetcher_hands_over(folder: Path) -> None:
    """Everything arrives, and the files open with the syncers' key alone."""
    heard = SecretsFetched.from_bytes(told(folder), KeyFile.public(folder).keys)

    assert heard.open(SYNCER) == CONTENT.files
    assert (heard.namespace, heard.content_key, heard.provider) == ("shop", "k1", "vault")
    assert (heard.digest, heard.fetched_at_ms, heard.versions) == (b"digest", 1_000, CONTENT.versions)


def test_nobody_else_can_make_one(folder: Path) -> None:
    """A message signed by a key that is no fetcher's would become a Secret of its maker's choice."""
    public = KeyFile.public(folder).keys
    stranger = SigningKey.generate("stranger")
    forged = SecretsFetched.seal(CONTENT, namespace="shop", to=SYNCER.recipient).to_bytes(stranger)
    with pytest.raises(UntrustedMessage):
        SecretsFetched.from_bytes(forged, public)

    same_id = replace(public, signing=Keys((("stranger", 0.0, SigningKey.generate("stranger").verifier()),)))
    with pytest.raises(UntrustedMessage):
        SecretsFetched.from_bytes(forged, same_id)


@pytest.mark.parametrize("change", [{"namespace": "other"}, {"content_key": "k2"}, {"fetched_at_ms": 2_000}])
def test_files_open_for_their_own_content_only(change: dict[str, object]) -> None:
    """What was sealed for one namespace, content and time passes for no other."""
    sealed = SecretsFetched.seal(CONTENT, namespace="shop", to=SYNCER.recipient)
    with pytest.raises(UntrustedMessage):
        replace(sealed, **change).open(SYNCER)  # type: ignore[arg-type] # fields by name


def test_no_value_shows(folder: Path) -> None:
    """Neither on the bus nor in a repr."""
    assert b"tiger" not in told(folder)
    assert "tiger" not in repr(SecretsFetched.seal(CONTENT, namespace="shop", to=SYNCER.recipient))


@pytest.mark.parametrize("payload", [b"", b"\xff", b"hello"])
def test_garbage_is_refused(folder: Path, payload: bytes) -> None:
    """Foreign bytes are no message."""
    with pytest.raises(UntrustedMessage):
        SecretsFetched.from_bytes(payload, KeyFile.public(folder).keys)
