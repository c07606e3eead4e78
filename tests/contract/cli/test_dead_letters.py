from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import nats as nats_py
import pytest
from nats.aio.client import Client

from keyferry.bus import Bus
from keyferry.changes import BackendChanged, EndContent
from keyferry.events import VolumePublished, VolumeUnpublished
from keyferry.resources import Pod
from keyferry.subjects import END_SUBJECT, change_subject, mount_subject, refresh_subject, volume_subject
from tests.contract.cli.conftest import keyferry

if TYPE_CHECKING:
    from tests.contract.cli.conftest import Site

VOLUME = VolumePublished(
    volume_id="v1",
    node="n1",
    pod=Pod("shop", "web-0", "uid", "web"),
    secret_provider_class="db",
    target_path="/t",
    provider="vault",
    content_key="k",
    digest=b"d",
    fetched_at_ms=1,
    versions=(),
)
SUBJECT = volume_subject("n1", "v1")
CHANGED = BackendChanged("vault", ("secret/data/db",), 1, "event-1")


@pytest.fixture
async def nats(site: Site, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """The administrator's plain client, on streams that hold nothing; commands run as somebody who may mend."""
    site.prepare(monkeypatch, "mender")
    client = await nats_py.connect(site.url("admin"))
    for stream in ("DEAD", "VOLUMES", "CHANGES", "FETCH", "SYNC"):
        await client.jetstream().purge_stream(stream)
    yield client
    await client.close()


@pytest.fixture
async def looker(nats: Client, site: Site, monkeypatch: pytest.MonkeyPatch) -> Client:
    """The same, and commands run as somebody who may look and no more."""
    site.prepare(monkeypatch, "cli")
    return nats


async def bury(client: Client, subject: str, payload: bytes, *, error: str = "ValueError at x.py:1") -> int:
    """A dead letter, as the bus writes it; its number."""
    headers = {"Keyferry-Subject": subject, "Keyferry-Error": error}
    ack = await client.jetstream().publish("keyferry.dead.VOLUMES.rotator-volumes", payload, headers=headers)
    return int(ack.seq)


async def left(client: Client) -> int:
    return int((await client.jetstream().stream_info("DEAD")).state.messages)


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


async def test_letters_are_listed(looker: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """With where they were, who could not process them and why, when, how large, and what events say."""
    first = await bury(looker, SUBJECT, VOLUME.to_bytes())
    await bury(looker, END_SUBJECT, EndContent("key-1", 5).to_bytes())
    await bury(looker, change_subject("vault"), CHANGED.to_bytes())
    await bury(looker, "keyferry.sync.shop.k", b"sealed canary")
    await bury(looker, SUBJECT, b"\xff\xff canary")

    assert await keyferry("dead-letters", "list", "--json") == 0
    letters = printed(capsys)["letters"]
    assert [each["sequence"] for each in letters] == [first + n for n in range(5)]
    assert (letters[0]["subject"], letters[0]["consumer"], letters[0]["error"], letters[0]["bytes"]) == (
        SUBJECT,
        "VOLUMES.rotator-volumes",
        "ValueError at x.py:1",
        len(VOLUME.to_bytes()),
    )
    assert [each["about"] for each in letters] == [
        "VolumePublished of pod shop/web-0, class db",
        "end of content key-1",
        "vault changed secret/data/db",
        "sealed content",
        "unreadable",
    ]
    assert await keyferry("dead-letters", "list") == 0
    assert "canary" not in capsys.readouterr().out


async def test_a_change_is_replayed(nats: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """It lies in its stream again, whole, and is no dead letter any more."""
    sequence = await bury(nats, change_subject("vault"), CHANGED.to_bytes())

    assert await keyferry("dead-letters", "replay", str(sequence), "--yes", "--json") == 0
    assert printed(capsys) == {"letters": [{"sequence": sequence, "outcome": "replayed"}]}
    again = await nats.jetstream().get_last_msg("CHANGES", change_subject("vault"))
    assert (again.data, await left(nats)) == (CHANGED.to_bytes(), 0)


async def test_a_last_word_is_replayed(nats: Client, bus: Bus) -> None:
    """What VOLUMES still has is told again, to expire as the node's own word does."""
    await bus.publish(SUBJECT, VOLUME.to_bytes(), destination="test")
    sequence = await bury(nats, SUBJECT, VOLUME.to_bytes())

    assert await keyferry("dead-letters", "replay", str(sequence), "--yes") == 0
    again = await nats.jetstream().get_last_msg("VOLUMES", SUBJECT)
    assert (again.data, (again.headers or {})["Nats-TTL"]) == (VOLUME.to_bytes(), "86400")


async def test_a_later_word_is_not_overwritten(nats: Client, bus: Bus, capsys: pytest.CaptureFixture[str]) -> None:
    """A word that is not the last any more stays a dead letter, and the exit status says so."""
    sequence = await bury(nats, SUBJECT, VOLUME.to_bytes())
    newer = VolumeUnpublished("v1", "n1").to_bytes()
    await bus.publish(SUBJECT, newer, destination="test")

    assert await keyferry("dead-letters", "replay", str(sequence), "--yes") == 1
    assert "has a later word" in capsys.readouterr().out
    assert (await nats.jetstream().get_last_msg("VOLUMES", SUBJECT)).data == newer
    assert await left(nats) == 1


async def test_a_forgotten_word_does_not_come_back(nats: Client) -> None:
    """A volume that VOLUMES knows nothing of any more is not made up."""
    sequence = await bury(nats, SUBJECT, VOLUME.to_bytes())

    assert await keyferry("dead-letters", "replay", str(sequence), "--yes") == 1
    assert (await nats.jetstream().stream_info("VOLUMES")).state.messages == 0


@pytest.mark.parametrize("subject", ["keyferry.dead.x.y", "somebody.else", ""])
async def test_a_letter_of_nowhere_is_not_replayed(nats: Client, subject: str) -> None:
    """What does not say where it was, or says what no letter can say, is not published anywhere."""
    sequence = await bury(nats, subject, b"x")

    assert await keyferry("dead-letters", "replay", str(sequence), "--yes") == 1
    assert await left(nats) == 1


async def test_the_end_of_a_content_is_replayed(nats: Client) -> None:
    """The fetchers hear again that a lease is to be revoked."""
    sequence = await bury(nats, END_SUBJECT, EndContent("key-1", 5).to_bytes())

    assert await keyferry("dead-letters", "replay", str(sequence), "--yes") == 0
    assert (await nats.jetstream().get_last_msg("FETCH", END_SUBJECT)).data == EndContent("key-1", 5).to_bytes()


@pytest.mark.parametrize("subject", [mount_subject("n1"), refresh_subject("n1")])
async def test_a_request_is_not_replayed(nats: Client, subject: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody waits for its answer, and a backend would be asked for nothing."""
    sequence = await bury(nats, subject, b"sealed")

    assert await keyferry("dead-letters", "replay", str(sequence), "--yes") == 1
    assert "kubelet has asked anew" in capsys.readouterr().out
    assert (await nats.jetstream().stream_info("FETCH")).state.messages == 0


async def test_letters_are_dropped(nats: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """One by its number, the others with --all; one that is gone is said to be."""
    first, *_ = [await bury(nats, SUBJECT, b"x") for _ in range(3)]

    assert await keyferry("dead-letters", "drop", str(first), "--yes") == 0
    assert await left(nats) == 2
    assert await keyferry("dead-letters", "drop", str(first), str(10**6), "--yes") == 1
    assert "there is no such letter" in capsys.readouterr().out
    assert await keyferry("dead-letters", "drop", "--all", "--yes") == 0
    assert await left(nats) == 0


@pytest.mark.parametrize("argv", [["drop", "--all"], ["replay", "--all"], ["drop", "--yes"], ["drop", "1", "--all"]])
async def test_nothing_is_done_unasked(nats: Client, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal to confirm on, or without saying which, nothing happens, and the exit status is 2."""
    await bury(nats, SUBJECT, b"x")

    assert await keyferry("dead-letters", *argv) == 2
    assert capsys.readouterr().err.startswith("keyferry: ")
    assert await left(nats) == 1


async def test_who_may_only_look_cannot_drop(looker: Client) -> None:
    """NATS refuses it, and the letter stays."""
    sequence = await bury(looker, SUBJECT, b"x")

    assert await keyferry("dead-letters", "drop", str(sequence), "--yes") == 2
    assert await left(looker) == 1


async def test_more_than_one_page(looker: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """All letters come, in the order in which they were buried."""
    began = time.time()
    await asyncio.gather(*(bury(looker, SUBJECT, b"x", error=f"E{n}") for n in range(150)))

    assert await keyferry("dead-letters", "list", "--json") == 0
    letters = printed(capsys)["letters"]
    assert {each["error"] for each in letters} == {f"E{n}" for n in range(150)}
    assert all(each["age_seconds"] < time.time() - began + 60 for each in letters)
