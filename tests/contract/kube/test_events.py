"""Events, which two API groups show in different words."""

from typing import Any

import pytest

from .conftest import Api

CORE = "/api/v1/namespaces/{ns}/events"
EVENTS = "/apis/events.k8s.io/v1/namespaces/{ns}/events"
WHEN = "2026-01-01T00:00:00.000000Z"


def new_style(api: Api, **more: Any) -> dict[str, Any]:
    about = {"kind": "Pod", "namespace": api.namespace, "name": "app", "apiVersion": "v1"}
    who = {"reportingController": "keyferry.example/syncer", "reportingInstance": "syncer-0", "action": "Sync"}
    text = {"reason": "SecretSynced", "note": "wrote it", "type": "Normal"}
    return {"metadata": {"name": "e"}, "eventTime": WHEN, "regarding": about, **who, **text} | more


def old_style(api: Api, **more: Any) -> dict[str, Any]:
    about = {"kind": "Pod", "namespace": api.namespace, "name": "app"}
    return {"metadata": {"name": "e"}, "involvedObject": about, "reason": "R", "message": "m", "type": "Normal"} | more


async def test_a_new_event_is_seen_in_both_groups(api: Api) -> None:
    """What events.k8s.io calls note and regarding, core calls message and involvedObject."""
    made = await api.make(EVENTS, new_style(api))

    core = await api.read(f"{CORE}/e")

    assert (made["note"], made["regarding"]["name"]) == ("wrote it", "app")
    assert (core["message"], core["involvedObject"]["name"]) == ("wrote it", "app")
    assert core["reportingComponent"] == "keyferry.example/syncer"
    assert (core["apiVersion"], made["apiVersion"]) == ("v1", "events.k8s.io/v1")


async def test_an_old_event_is_seen_in_both_groups(api: Api) -> None:
    """Source, count and times of the old kind are called deprecated in the new one."""
    source = {"component": "c"}
    await api.make(CORE, old_style(api, source=source, count=2, firstTimestamp="2026-01-01T00:00:00Z"))

    new = await api.read(f"{EVENTS}/e")

    assert (new["deprecatedSource"], new["deprecatedCount"]) == (source, 2)
    assert new["deprecatedFirstTimestamp"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ({"eventTime": None}, "eventTime: Required value"),
        ({"action": ""}, "action: Required value"),
        ({"reportingInstance": ""}, "reportingInstance: Required value"),
        ({"reportingController": ""}, "reportingController: Required value"),
        ({"reason": ""}, "reason: Required value"),
        ({"type": "Odd"}, "type: Invalid value"),
        ({"note": "x" * 1025}, "can have at most 1024 characters"),
        ({"reason": "x" * 129}, "can have at most 128 characters"),
    ],
)
async def test_a_new_event_is_complete(api: Api, more: dict[str, Any], part: str) -> None:
    """events.k8s.io says who did what when, in bounded words."""
    answer = await api.call("POST", EVENTS, new_style(api, **more))

    assert answer.status == 422
    assert part in answer.message


async def test_an_event_lies_with_its_object(api: Api) -> None:
    """An event about another namespace's object is refused; about a cluster's object it lies in default."""
    other = old_style(api, involvedObject={"kind": "Pod", "namespace": "other", "name": "x"})
    node = old_style(api, involvedObject={"kind": "Node", "name": "n"}, metadata={"generateName": "kf-"})
    refused = [await api.call("POST", CORE, body) for body in (other, node)]
    accepted = await api.make("/api/v1/namespaces/default/events", node)
    await api.call("DELETE", f"/api/v1/namespaces/default/events/{accepted['metadata']['name']}")

    assert [answer.status for answer in refused] == [422, 422]
    assert "does not match event.namespace" in refused[0].message


async def test_events_are_selected_by_what_they_are_about(api: Api) -> None:
    """involvedObject.name and reason are field selectors."""
    await api.make(CORE, old_style(api))
    await api.make(EVENTS, new_style(api, metadata={"name": "f"}))

    assert await api.names(CORE, fieldSelector="involvedObject.name=app") == ["e", "f"]
    assert await api.names(CORE, fieldSelector="involvedObject.name=app,reason=R") == ["e"]


async def test_a_series_counts_on(api: Api) -> None:
    """A repeated event is patched, not made again."""
    await api.make(EVENTS, new_style(api))
    series = {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}

    answer = await api.merge(f"{EVENTS}/e", {"series": series})

    assert answer.body["series"] == series
