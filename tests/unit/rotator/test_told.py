from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyferry.changes import BackendChanged, RefreshRequested
from keyferry.errors import KeyferryError, UntrustedMessage
from keyferry.events import RefreshFailed, VolumePublished, VolumeRefreshed, VolumeUnpublished
from keyferry.resources import Pod
from keyferry.settings import interval
from keyferry.subjects import volume_subject
from rotator.words import LEAST_INTERVAL_MS, Change, Word, volume_id

HELD = VolumePublished(
    volume_id="csi-1",
    node="node.a",
    pod=Pod("shop", "web-0", "u-1", "web"),
    secret_provider_class="db",
    target_path="/t",
    provider="vault",
    content_key="k",
    digest=b"d",
    fetched_at_ms=1_000,
    versions=(),
    sources=("b", "a", "b"),
)
SUBJECT = volume_subject("node.a", "csi-1")


@pytest.mark.parametrize(
    "event",
    [
        HELD,
        VolumeRefreshed(HELD, changed=True),
        RefreshFailed(HELD, 5, "UNAVAILABLE", "ProviderUnavailable", "away"),
        VolumeUnpublished("csi-1", "node.a"),
    ],
)
def test_each_event_is_heard(event: VolumePublished | VolumeRefreshed | RefreshFailed | VolumeUnpublished) -> None:
    """From its own subject every event is a word on its volume, told when the stream took it."""
    word = Word.heard(SUBJECT, event.to_bytes(), 7)
    assert (word.event, word.told()["volume"], word.told()["at"]) == (event, "node.a csi-1", 7)
    assert volume_id(word.name) == "csi-1"


@pytest.mark.parametrize(
    "subject",
    [volume_subject("node.b", "csi-1"), volume_subject("node.a", "csi-2"), "keyferry.volume", ""],
)
def test_a_node_speaks_for_its_own_volumes(subject: str) -> None:
    """What its subject does not say it may not say: the bus allows a node its own subjects only."""
    with pytest.raises(UntrustedMessage):
        Word.heard(subject, HELD.to_bytes(), 7)


@given(st.binary(max_size=300))
def test_foreign_bytes_are_refused(payload: bytes) -> None:
    """Whatever comes is a word or is refused as ours to refuse."""
    try:
        Word.heard(SUBJECT, payload, 7).told()
    except KeyferryError as error:
        assert isinstance(error, UntrustedMessage)  # noqa: PT017 - most bytes are no word


@pytest.mark.parametrize(
    ("rotation_ms", "told"), [(None, -1), (0, 0), (-5, 0), (1, LEAST_INTERVAL_MS), (60_000, 60_000)]
)
def test_intervals(rotation_ms: int | None, told: int) -> None:
    """Absent is the rotator's own, zero is never, and nobody is asked more than once a second."""
    assert Word(dataclasses.replace(HELD, rotation_ms=rotation_ms), 7).told()["interval"] == told


@pytest.mark.parametrize(
    ("code", "hopeless"),
    [
        ("PERMISSION_DENIED", True),
        ("NOT_FOUND", True),
        ("UNAVAILABLE", False),
        ("RESOURCE_EXHAUSTED", False),
        ("", False),
    ],
)
def test_which_failures_another_try_may_mend(code: str, hopeless: bool) -> None:
    """What somebody must change first is not repeated in between."""
    assert Word(RefreshFailed(HELD, 5, code, "Why", "why"), 7).told()["hopeless"] is hopeless


def test_sources_are_a_set() -> None:
    """Named twice is named once, and their order is of no meaning."""
    assert Word(HELD, 7).told()["sources"] == ["a", "b"]


def test_a_change_is_looked_for_by_its_sources() -> None:
    """Each is a set of contents, and a name under which the change is remembered for a while."""
    change = Change.of(BackendChanged("aws", ("x", "y"), 5, "e"))
    assert (change.sets, change.recent, change.is_broad) == (
        ("sources:aws/x", "sources:aws/y"),
        ("aws/x", "aws/y"),
        False,
    )


def test_a_change_of_everything_is_broad() -> None:
    """It concerns all contents of its provider."""
    change = Change.of(BackendChanged("aws", (), 5, ""))
    assert (change.sets, change.is_broad, change.event_id) == (("provider:aws",), True, "")


def test_event_ids_are_a_providers_own() -> None:
    """Two backends may number their events alike; an id is kept short whatever it is."""
    ids = [Change.of(BackendChanged(provider, ("x",), 5, "1" * 9_999)).event_id for provider in ("aws", "gcp", "aws")]
    assert ids[0] != ids[1]
    assert ids[0] == ids[2]
    assert len(ids[0]) == 32


def test_a_wish_is_for_a_class() -> None:
    """RefreshRequested names one in its namespace; it counts every time."""
    change = Change.of(RefreshRequested("shop", "db", 5))
    assert (change.sets, change.recent, change.event_id) == (("classes:shop/db",), ("class:shop/db",), "")


@pytest.mark.parametrize(("changed_at", "ask"), [(0, 101), (101, 101), (1_000, 1_000), (99_999, 2_100)])
def test_nothing_older_than_the_news_will_do(changed_at: int, ask: int) -> None:
    """Asked for is what was fetched after it was heard of; a clock that is far ahead is not waited for."""
    assert Change.of(BackendChanged("aws", ("x",), changed_at, "")).told(100)["ask"] == ask


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("off", 0.0), ("OFF", 0.0), ("0s", 0.0), ("2m", 120.0)])
def test_rotation_can_be_switched_off(text: str, seconds: float) -> None:
    """In the ways that people write it."""
    assert interval(text) == seconds
