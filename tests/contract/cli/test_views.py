from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from keyferry.bus import Bus
from keyferry.events import RefreshFailed, VolumeEvent, VolumePublished, VolumeUnpublished
from keyferry.resources import ObjectVersion, Pod
from keyferry.store import Store
from keyferry.subjects import volume_subject
from rotator.schedule import Policy, Schedule
from rotator.words import Word
from tests.contract.cli.conftest import keyferry

if TYPE_CHECKING:
    from tests.contract.cli.conftest import Site

NOW = int(time.time() * 1000)


def volume(name: str, *, key: str = "k", node: str = "n1", **about: Any) -> VolumePublished:
    return VolumePublished(
        volume_id=name,
        node=node,
        pod=Pod(about.pop("namespace", "shop"), f"pod-{name}", f"uid-{name}", "web"),
        secret_provider_class=about.pop("class_name", "db"),
        target_path="/t",
        provider=about.pop("provider", "vault"),
        content_key=key,
        digest=b"d",
        fetched_at_ms=NOW - 60_000,
        versions=(ObjectVersion("password", "7"),),
        **about,
    )


def failure(what: VolumePublished, reason: str = "RateLimited") -> RefreshFailed:
    return RefreshFailed(what, NOW, "RESOURCE_EXHAUSTED", reason, "asked for fewer calls")


@pytest.fixture(autouse=True)
async def looker(site: Site, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who may only look, on a site where nothing was told yet."""
    assert store.is_connected
    site.prepare(monkeypatch, "cli")


async def tell(bus: Bus, store: Store | None, *events: VolumeEvent, built: bool = True) -> None:
    """Nodes tell of volumes; the rotator hears it."""
    rotation = Schedule(store, Policy()) if store is not None else None
    now = int(time.time() * 1000)  # a whole run of tests may lie behind us, in which everything has become due
    for number, event in enumerate(events):
        about = event if isinstance(event, VolumePublished | VolumeUnpublished) else event.volume
        await bus.publish(volume_subject(about.node, about.volume_id), event.to_bytes(), destination="test", ttl=60)
        if rotation is not None:
            await rotation.tell(Word(event, now * 1000 + number), now)
    if store is not None and built:
        await store.call("SET", "keyferry:rotation:built", "stream")


@pytest.fixture(autouse=True)
async def fresh(bus: Bus, site: Site) -> None:
    """VOLUMES holds nothing."""
    del site
    await bus._nats.jetstream().purge_stream("VOLUMES")


async def shown(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    assert await keyferry(*argv, "--json") == 0
    return json.loads(capsys.readouterr().out)


async def test_volumes(bus: Bus, capsys: pytest.CaptureFixture[str]) -> None:
    """Each volume that is there, as its node last told of it; one that is gone is not."""
    old = volume("v2", node="n.2", stale_since_ms=NOW - 5000, left_out=("extra",))
    await tell(bus, None, volume("v1"), old, volume("v3"), VolumeUnpublished("v3", "n1"), failure(volume("v4")))

    rows = {row["volume_id"]: row for row in (await shown(capsys, "volumes"))["volumes"]}
    assert {name: (row["state"], row["word"]) for name, row in rows.items()} == {
        "v1": ("ok", "published"),
        "v2": ("stale", "published"),
        "v4": ("failing", "failed"),
    }
    assert (rows["v2"]["node"], rows["v2"]["left_out"], rows["v2"]["versions"]) == ("n.2", ["extra"], {"password": "7"})
    assert 60 <= rows["v1"]["age_seconds"] < 7200  # it is since the run began
    assert rows["v4"]["failure"]["reason"] == "RateLimited"


@pytest.mark.parametrize(
    ("argv", "names"),
    [
        (("--namespace", "shop"), ["v1", "v3"]),
        (("--pod", "pod-v2"), ["v2"]),
        (("--class", "api"), ["v3"]),
        (("--node", "n.2"), ["v2"]),
        (("--provider", "aws"), ["v3"]),
        (("--state", "failing"), ["v1"]),
        (("--sort", "provider"), ["v3", "v2", "v1"]),
        (("-n", "nowhere"), []),
    ],
)
async def test_volumes_are_selected(
    bus: Bus, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], names: list[str]
) -> None:
    """By namespace, pod, class, node, provider and state, and in the order that was asked for."""
    others = [volume("v2", node="n.2", namespace="blog"), volume("v3", class_name="api", provider="aws")]
    await tell(bus, None, failure(volume("v1")), *others)

    assert [row["volume_id"] for row in (await shown(capsys, "volumes", *argv))["volumes"]] == names


async def test_a_word_of_another_node_is_not_believed(bus: Bus, capsys: pytest.CaptureFixture[str]) -> None:
    """What is told on another's subject, or is nothing at all, is counted and not shown."""
    await bus.publish(volume_subject("n2", "v1"), volume("v1").to_bytes(), destination="test")
    await bus.publish(volume_subject("n2", "v2"), b"\xff\xff", destination="test")

    assert await shown(capsys, "volumes") == {"volumes": [], "unreadable": 2}
    assert await keyferry("volumes") == 0
    assert "2 messages of VOLUMES are no word" in capsys.readouterr().out


async def test_contents(bus: Bus, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """The schedule's contents with what nodes told of their volumes, and those that the schedule does not know."""
    await tell(
        bus, store, volume("v1", sources=("secret/data/db",)), failure(volume("v2", sources=("secret/data/db",)))
    )
    await tell(bus, None, volume("v3", key="lost"))

    told = await shown(capsys, "contents")
    known, lost = told["contents"]
    assert (told["built"], known["content_key"], known["scheduled"]) == (True, "k", True)
    assert (known["members"], known["volumes"], known["failing"], known["interval_seconds"]) == (2, 2, 1, 120.0)
    assert (known["classes"], known["sources"]) == (["shop/db"], ["secret/data/db"])
    assert known["due_in_seconds"] < 120
    assert (lost["content_key"], lost["scheduled"], lost["due_at"]) == ("lost", False, None)

    assert await keyferry("contents", "--class", "db") == 0
    assert "not scheduled" in capsys.readouterr().out


async def test_a_schedule_that_is_not_whole_is_said_to_be(
    bus: Bus, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever reads an empty list shall not believe that all is well."""
    await tell(bus, store, volume("v1"), built=False)

    assert (await shown(capsys, "contents"))["built"] is False
    assert await keyferry("contents") == 0
    assert "the schedule is not whole yet" in capsys.readouterr().out


async def test_backends(bus: Bus, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """By provider: contents, volumes, failures and their reasons; pauses; changes that wait."""
    await store.call("SET", "keyferry:backend:abc:pause", "1", "PX", 90_000)
    await tell(bus, None, failure(volume("v1")), volume("v2"), volume("v3", key="other", provider="aws"))

    told = await shown(capsys, "backends")
    aws, vault = told["backends"]
    assert (aws["provider"], aws["volumes"], aws["reasons"]) == ("aws", 1, {})
    assert (vault["contents"], vault["volumes"], vault["failing"]) == (1, 2, 1)
    assert vault["reasons"] == {"RateLimited": 1}
    assert [pause["backend"] for pause in told["pauses"]] == ["abc"]
    assert (told["change_sources"], told["changes_waiting"]) == (None, 0)


async def test_top(bus: Bus, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything at a glance, once where no person looks."""
    await tell(bus, store, failure(volume("v1")), volume("v2", node="n2", key="other"))

    told = await shown(capsys, "top")
    assert told["volumes"] == {"ok": 1, "failing": 1, "stale": 0}
    assert (told["nodes"], told["contents"], told["due"]) == (2, 2, 0)
    assert [each["pod"] for each in told["failures"]] == ["pod-v1"]
    assert {"fetch-mount", "rotator-volumes"} <= {each["name"] for each in told["consumers"]}
    assert await keyferry("top") == 0
    assert "asked for fewer calls" in capsys.readouterr().out


async def test_top_without_redis(bus: Bus, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs the schedule is left out, the rest is shown."""
    monkeypatch.setenv("KEYFERRY_REDIS_URL", "")
    await tell(bus, None, volume("v1"))

    told = await shown(capsys, "top")
    assert (told["volumes"]["ok"], told["due"], told["pauses"]) == (1, None, None)


LACKING = [
    (("volumes",), "KEYFERRY_NATS_URL", "nats://127.0.0.1:1", "kubectl -n kube-system port-forward"),
    (("volumes",), "KEYFERRY_NATS_URL", "nats://nats.example:4222", "without TLS"),
    (("contents",), "KEYFERRY_REDIS_URL", "", "set KEYFERRY_REDIS_URL"),
    (("contents",), "KEYFERRY_REDIS_URL", "redis://:hunter2@127.0.0.1:1/0", "Redis does not answer"),
    (("contents",), "KEYFERRY_REDIS_URL", "http://hunter2", "is no Redis URL"),
    (("explain", "web"), "KEYFERRY_KUBECONFIG", "/nowhere/kubeconfig", "set KEYFERRY_KUBECONFIG"),
]


@pytest.mark.parametrize("case", LACKING, ids=[f"{argv[0]}-{said}" for argv, _, _, said in LACKING])
async def test_what_is_lacking_is_said(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[tuple[str, ...], str, str, str],
) -> None:
    """The exit status is 2; standard error says what is missing and how to get it, and never a password."""
    argv, variable, value, said = case
    monkeypatch.setenv(variable, value)

    assert await keyferry(*argv) == 2
    out, err = capsys.readouterr()
    assert (out, said in err, "hunter2" in err) == ("", True, False)


async def test_an_identity_without_rights(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What NATS refuses ends in one line that says where the rights are listed."""
    monkeypatch.setenv("KEYFERRY_NATS_URL", site.url("nobody"))

    assert await keyferry("dead-letters", "list") == 2
    assert "docs/cli.md" in capsys.readouterr().err
