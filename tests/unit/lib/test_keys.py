import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from keyferry import keymaking, keys
from keyferry.errors import UntrustedMessage
from keyferry.keys import FetcherKeys, KeyFile, KeyFileError, PublicKeys
from keyferry.sealing import Binding

BINDING = Binding("ask", "r-1", "node-1", "csi-1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with keys that are in use since second 0."""
    keymaking.create(tmp_path / "keys", now=0.0)
    return tmp_path / "keys"


def document(folder: Path, name: str = keys.PUBLIC) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / name).read_text())
    return read


def ids(folder: Path, key_set: str) -> list[str]:
    return [entry["id"] for entry in document(folder)[key_set]]


def test_three_files_make_a_key_set(folder: Path) -> None:
    """Only the public file may be read by others."""
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}

    assert modes == {"public.json": 0o644, "fetcher.json": 0o600, "syncer.json": 0o600}


def test_both_halves_belong_together(folder: Path) -> None:
    """What is sealed to the public file opens with the private one, and signatures verify the other way round."""
    public, fetcher = KeyFile.public(folder).keys, KeyFile.fetcher(folder).keys

    sealed = public.fetcher.current(now=1.0).seal(b"hello", BINDING)
    signing = fetcher.signing.current(now=1.0)

    assert fetcher.opener(sealed).open(sealed, BINDING) == b"hello"
    public.verify(signing.key_id, "reply", b"body", signing.sign("reply", b"body"))


def test_the_public_file_holds_nothing_private(folder: Path) -> None:
    """Neither a seed nor the MAC key is in the file that goes into a ConfigMap."""
    public = (folder / keys.PUBLIC).read_text()
    fetcher, syncer = document(folder, keys.FETCHER), document(folder, keys.SYNCER)
    private = [e["seed"] for e in fetcher["fetcher"] + fetcher["signing"] + syncer["syncer"]] + [fetcher["mac"]]

    assert len(private) == 4
    assert [secret for secret in private if secret in public] == []


@pytest.mark.parametrize("left", [keys.PUBLIC, keys.FETCHER, keys.SYNCER])
def test_existing_keys_are_not_overwritten(folder: Path, left: str) -> None:
    """One file left of three is reason enough to refuse, and it stays as it is."""
    for name in {keys.PUBLIC, keys.FETCHER, keys.SYNCER} - {left}:
        (folder / name).unlink()
    before = (folder / left).read_bytes()

    with pytest.raises(KeyFileError, match="holds keys already: use `keyferry keys rotate`"):
        keymaking.create(folder)

    assert [path.name for path in folder.iterdir()] == [left]
    assert (folder / left).read_bytes() == before


@pytest.mark.parametrize("key_set", ["fetcher", "signing", "syncer"])
def test_rotation_keeps_the_key_before(folder: Path, key_set: str) -> None:
    """The new key comes first, the former one stays; the next rotation drops the oldest."""
    (first,) = ids(folder, key_set)
    keymaking.rotate(folder, now=1000.0)
    second, kept = ids(folder, key_set)
    keymaking.rotate(folder, now=2000.0)

    assert kept == first
    assert ids(folder, key_set)[1:] == [second]
    assert first not in ids(folder, key_set)


def test_a_new_key_is_used_when_every_process_has_read_it(folder: Path) -> None:
    """Until ``active_from`` the former key seals and signs."""
    (first,) = ids(folder, "fetcher")
    keymaking.rotate(folder, now=1000.0)
    public, fetcher = KeyFile.public(folder).keys, KeyFile.fetcher(folder).keys
    (second, _), (new_signing, old_signing) = ids(folder, "fetcher"), ids(folder, "signing")

    assert [public.fetcher.current(now).key_id for now in (1000.0, 1599.9, 1600.0)] == [first, first, second]
    assert [fetcher.signing.current(now).key_id for now in (1599.9, 1600.0)] == [old_signing, new_signing]


def test_both_keys_are_valid_while_both_are_there(folder: Path) -> None:
    """A process that has read the new file and one that has not understand each other, whichever key is used."""
    before, signer = KeyFile.public(folder).keys, KeyFile.fetcher(folder).keys.signing.current(now=0.0)
    keymaking.rotate(folder, now=1000.0)
    public, fetcher = KeyFile.public(folder).keys, KeyFile.fetcher(folder).keys

    sealed = [recipient.seal(b"x", BINDING) for recipient in (before.fetcher.current(0), public.fetcher.current(9e9))]

    assert len({one.key_id for one in sealed}) == 2
    assert [fetcher.opener(one).open(one, BINDING) for one in sealed] == [b"x", b"x"]
    for signing in (signer, fetcher.signing.current(9e9)):
        public.verify(signing.key_id, "reply", b"body", signing.sign("reply", b"body"))


def test_a_dropped_key_is_told_by_its_id(folder: Path) -> None:
    """A seal or signature with a key that is no longer valid names that key."""
    old = KeyFile.public(folder).keys.fetcher.current(0.0).seal(b"x", BINDING)
    signer = KeyFile.fetcher(folder).keys.signing.current(0.0)
    keymaking.rotate(folder, now=1000.0)
    keymaking.rotate(folder, now=2000.0)

    with pytest.raises(UntrustedMessage, match=f"'{old.key_id}', which is not among the fetchers' keys"):
        KeyFile.fetcher(folder).keys.opener(old)
    with pytest.raises(UntrustedMessage, match=f"'{signer.key_id}', which is not among the fetchers' keys"):
        KeyFile.public(folder).keys.verify(signer.key_id, "reply", b"", signer.sign("reply", b""))


def test_rotating_twice_in_a_row_is_refused(folder: Path) -> None:
    """It would drop the only key in use; the text says how long to wait."""
    keymaking.rotate(folder, now=1000.0)
    before = ids(folder, "fetcher")

    with pytest.raises(KeyFileError, match="are used in 500 s: rotate again after that"):
        keymaking.rotate(folder, now=1100.0)

    assert ids(folder, "fetcher") == before


def test_after_a_compromise_a_rotation_need_not_wait(folder: Path) -> None:
    """With no delay the new keys are used at once, also in the middle of another rotation."""
    keymaking.rotate(folder, now=1000.0)
    keymaking.rotate(folder, now=1100.0, delay=0.0)

    assert KeyFile.public(folder).keys.fetcher.current(1100.0).key_id == ids(folder, "fetcher")[0]


def test_the_mac_key_outlives_rotation(folder: Path) -> None:
    """A new one would make every content in the cluster look changed."""
    before = KeyFile.fetcher(folder).keys.mac("content", b"a", b"b")
    keymaking.rotate(folder)

    assert KeyFile.fetcher(folder).keys.mac("content", b"a", b"b") == before


def macs(folder: Path, *times: float) -> list[bytes]:
    """What fetchers compute at these times."""
    fetcher = KeyFile.fetcher(folder).keys
    return [fetcher.mac("content", b"a", now=now) for now in times]


def test_a_new_mac_key_is_used_by_all_at_once(folder: Path) -> None:
    """Until it is, the former one names contents; both are valid, as of every other set."""
    (before,) = macs(folder, 0.0)
    keymaking.rotate(folder, now=1000.0, mac=True)

    assert macs(folder, 1599.9) == [before]
    assert macs(folder, 1600.0) != [before]
    assert len(KeyFile.fetcher(folder).keys.macs.entries) == 2


@pytest.mark.parametrize("mac", [False, True])
def test_the_rotation_after_drops_a_mac_key_that_may_be_stolen(folder: Path, mac: bool) -> None:
    """Whether or not it makes another; the one in use stays."""
    stolen = keys_of(folder)
    keymaking.rotate(folder, now=1000.0, delay=0.0, mac=True)
    second = keys_of(folder)[0]
    keymaking.rotate(folder, now=2000.0, mac=mac)

    assert stolen[0] not in keys_of(folder)
    assert second in keys_of(folder)
    assert len(keys_of(folder)) == 1 + mac


def test_a_mac_key_that_is_not_in_use_yet_replaces_none(folder: Path) -> None:
    """A rotation at once, in the middle of another, leaves the one that names contents."""
    before = keys_of(folder)
    keymaking.rotate(folder, now=1000.0, mac=True)
    keymaking.rotate(folder, now=1100.0, delay=0.0)

    assert keys_of(folder)[1:] == before
    assert len(keys_of(folder)) == 2


def keys_of(folder: Path) -> list[bytes]:
    """The MAC keys, newest first."""
    return [key for _, _, key in KeyFile.fetcher(folder).keys.macs.entries]


def test_a_mac_key_that_was_never_rotated_is_written_as_ever(folder: Path) -> None:
    """Fetchers of an older version can read the file after an ordinary rotation."""
    keymaking.rotate(folder)

    assert isinstance(document(folder, keys.FETCHER)["mac"], str)


def test_a_mac_tells_its_inputs_apart(folder: Path) -> None:
    """Purpose and the bounds between parts count, and another key gives another MAC."""
    fetcher = KeyFile.fetcher(folder).keys
    keymaking.create(folder / "other")
    other = KeyFile.fetcher(folder / "other").keys

    macs = [fetcher.mac("a", b"bc"), fetcher.mac("b", b"bc"), fetcher.mac("a", b"b", b"c"), fetcher.mac("a", b"b", b"")]

    assert len({*macs, other.mac("a", b"bc")}) == 5


def test_manifests_keep_private_and_public_apart(folder: Path) -> None:
    """One ConfigMap for everybody, one Secret for each service that holds private keys, in the namespace asked for."""
    items = keymaking.manifests(folder, "keyferry")["items"]

    assert [(i["kind"], i["metadata"]["name"], i["metadata"]["namespace"]) for i in items] == [
        ("Secret", "keyferry-fetcher-keys", "keyferry"),
        ("Secret", "keyferry-syncer-keys", "keyferry"),
        ("ConfigMap", "keyferry-public-keys", "keyferry"),
    ]
    assert list(items[0]["stringData"]) == ["fetcher.json"]
    assert PublicKeys.parse(json.loads(items[2]["data"]["public.json"])) == KeyFile.public(folder).keys


def test_repr_shows_no_key(folder: Path) -> None:
    """Key sets show the ids of their keys."""
    fetcher: FetcherKeys = KeyFile.fetcher(folder).keys

    for shown in (repr(fetcher), repr(KeyFile.public(folder).keys)):
        assert re.search(r"\bb'", shown) is None
        assert ids(folder, "fetcher")[0] in shown
