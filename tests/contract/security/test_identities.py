"""What `python -m keyferry.identities` makes, and who gets which part of it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from keyferry import identities
from keyferry.bus.nkeys import Nkey, NkeyError, Role, opened

PUBLIC = {"auth.conf", "ca.crt", "nats.crt", "redis.crt"}
OWNERS = ("fetcher", "rotator", "syncer", "streams", "cli", "mender")
SECRET = (*(f"{owner}.nk" for owner in OWNERS), "callout.nk", "issuer.nk", "nats.key", "redis.key")


def test_modes(made: Path) -> None:
    """Only its owner may read what is private."""
    assert {path.name for path in made.iterdir() if stat.S_IMODE(path.stat().st_mode) == 0o644} == PUBLIC
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.iterdir() if path.name not in PUBLIC} == {0o600}


def test_public_files_hold_no_secret(made: Path) -> None:
    """What the server is told of identities could be shown to anybody."""
    shown = "".join((made / name).read_text() for name in PUBLIC)
    assert not any((made / name).read_text() in shown for name in SECRET)


def test_again(made: Path) -> None:
    """Identities are not replaced by accident."""
    before = (made / "auth.conf").read_text()
    assert identities.main(["create", "--dir", str(made), "--nats-host", "x", "--redis-host", "x"]) == 1
    assert (made / "auth.conf").read_text() == before


@pytest.mark.parametrize("owner", OWNERS)
def test_secrets_apart(made: Path, capsys: pytest.CaptureFixture[str], owner: str) -> None:
    """A service's Secret holds its own key and no other's; only fetchers have what speaks for nodes."""
    assert identities.main(["manifests", "--dir", str(made), "--namespace", "ns"]) == 0
    items = json.loads(capsys.readouterr().out)["items"]
    (own,) = (item for item in items if item["metadata"]["name"] == f"keyferry-{owner}-identity")
    held = {text for text in own["stringData"].values() if not text.startswith("rediss://")}
    fetchers = {(made / "callout.nk").read_text(), (made / "issuer.nk").read_text()} if owner == "fetcher" else set()
    assert held == {(made / f"{owner}.nk").read_text()} | fetchers
    assert {item["metadata"]["namespace"] for item in items} == {"ns"}


def test_config_maps_hold_no_secret(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What everybody may read in the cluster is what everybody may read in the folder."""
    identities.main(["manifests", "--dir", str(made)])
    maps = [item for item in json.loads(capsys.readouterr().out)["items"] if item["kind"] == "ConfigMap"]
    assert {name for item in maps for name in item["data"]} == {"auth.conf", "ca.crt"}


@pytest.mark.parametrize("role", Role)
def test_keys(role: Role) -> None:
    """A key survives being written, begins with the letter of its role, and hides from repr."""
    key = Nkey.generate(role)
    again = Nkey.from_seed(key.seed, role)
    assert again.public == key.public
    assert key.public[0] == {Role.ACCOUNT: "A", Role.SERVER: "N", Role.USER: "U"}[role]
    assert key.seed.startswith(f"S{key.public[0]}")
    assert key.seed not in repr(key)


def test_known_key() -> None:
    """A seed of NATS' own documentation has the public key that it says (docs.nats.io, NKeys)."""
    seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
    assert Nkey.from_seed(seed, Role.USER).public == "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"


@pytest.mark.parametrize("part", [0, 1, 2])
def test_altered_jwt(part: int) -> None:
    """A JWT of which anything was changed is refused, and so is one of a key of another role."""
    jwt = Nkey.generate(Role.SERVER).jwt({"sub": "x"})
    parts = jwt.split(".")
    parts[part] = parts[part][:-4] + ("AAAA" if not parts[part].endswith("AAAA") else "BBBB")
    with pytest.raises(NkeyError):
        opened(".".join(parts), Role.SERVER)
    with pytest.raises(NkeyError):
        opened(jwt, Role.ACCOUNT)
    assert opened(jwt, Role.SERVER)["sub"] == "x"


def test_a_folder_of_an_older_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Is given the identities that it lacks, with their rights; what others have in their hands stays as it is."""
    folder = tmp_path / "old"
    identities.create(folder, nats_hosts=["nats"], redis_hosts=["valkey"])
    whole = {path.name: path.read_text() for path in folder.iterdir()}
    for name in ("cli.nk", "mender.nk", "cli.redis-url"):
        (folder / name).unlink()
    for name in ("auth.conf", "users.acl"):
        (folder / name).write_text("old")

    new = ["auth.conf", "cli.nk", "cli.redis-url", "mender.nk", "users.acl"]
    assert identities.main(["update", "--dir", str(folder)]) == 0
    assert capsys.readouterr().out.split() == new
    after = {path.name: path.read_text() for path in folder.iterdir()}
    assert {name: after[name] for name in after if name not in new} == {
        name: whole[name] for name in whole if name not in new
    }
    key = Nkey.from_seed(after["mender.nk"], Role.USER)
    assert key.public in after["auth.conf"]
    assert after["cli.redis-url"].startswith("rediss://cli:")
    assert after["cli.redis-url"].endswith("@valkey:6379/0")
    assert identities.main(["update", "--dir", str(folder)]) == 0
    assert capsys.readouterr().out == ""
