"""What a class's annotations say to fetchers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from fetcher.classes import Classes
from fetcher.policy import Policy, read_policy

ROTATION, STALE = "keyferry.io/rotation-interval", "keyferry.io/stale-if-error"
HOUR = 3_600_000
HOW = "write a duration such as 90s, 2m or 1h30m"

GOOD: list[tuple[dict[str, str], Policy]] = [
    ({}, Policy(None, 0)),
    ({ROTATION: "10m"}, Policy(600_000, 0)),
    ({ROTATION: "0"}, Policy(0, 0)),
    ({ROTATION: "off"}, Policy(0, 0)),
    ({ROTATION: "0s"}, Policy(0, 0)),
    ({STALE: "24h"}, Policy(None, 24 * HOUR)),
    ({STALE: "off", ROTATION: "1h30m"}, Policy(5_400_000, 0)),
]


@pytest.mark.parametrize(("annotations", "policy"), GOOD)
def test_what_is_written_is_read(annotations: Mapping[str, str], policy: Policy) -> None:
    """Durations as Kubernetes writes them; 0 and off for never."""
    assert read_policy(annotations) == (policy, [])


@pytest.mark.parametrize("text", ["", "soon", "-5m", "10", "1ms", "721h", "9" * 400 + "h", "1h 5m"])
def test_what_is_malformed_is_as_if_not_there(text: str) -> None:
    """And is told, with the annotation's name."""
    policy, problems = read_policy({ROTATION: text, STALE: "1h"})

    assert policy == Policy(None, HOUR)
    assert [problem.startswith(f"annotation {ROTATION} ") for problem in problems] == [True]


@given(st.dictionaries(st.sampled_from([ROTATION, STALE]), st.text()))
def test_no_text_breaks_it(annotations: dict[str, str]) -> None:
    """Whoever writes classes cannot stop fetching, nor have anything kept for ever."""
    policy, _ = read_policy(annotations)

    assert HOUR <= policy.keep_ms <= 90 * 24 * HOUR


def test_contents_are_kept_for_some_intervals() -> None:
    """At least an hour, three intervals, and as long as they may be handed out stale."""
    assert [Policy(ms, stale).keep_ms for ms, stale in [(None, 0), (2 * HOUR, 0), (2 * HOUR, 24 * HOUR)]] == [
        HOUR,
        6 * HOUR,
        24 * HOUR,
    ]


def manifest(version: str) -> dict[str, Any]:
    metadata = {
        "name": "db",
        "namespace": "shop",
        "uid": "u",
        "resourceVersion": version,
        "annotations": {ROTATION: "soon"},
    }
    return {"metadata": metadata, "spec": {"provider": "vault", "parameters": {"objects": "x"}}}


def test_a_malformed_annotation_is_told_once_a_version(caplog: pytest.LogCaptureFixture) -> None:
    """Not at every mount, nor at every new list; the class works on."""
    caplog.set_level(logging.WARNING)
    before = REGISTRY.get_sample_value("keyferry_annotations_ignored_total") or 0.0
    classes = Classes(None)  # type: ignore[arg-type] # nothing is read here
    for version in ("1", "1", "2"):
        assert not isinstance(classes._project(manifest(version)), str)

    assert [record.getMessage() for record in caplog.records] == [
        f'secretproviderclass shop/db: annotation {ROTATION} is "soon": {HOW}; it is ignored'
    ] * 2
    assert REGISTRY.get_sample_value("keyferry_annotations_ignored_total") == before + 2
