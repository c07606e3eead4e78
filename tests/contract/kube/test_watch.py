"""watch: from a version on, through selectors, with bookmarks and an end."""

import asyncio
from typing import Any

from .conftest import Api

MAPS = "/api/v1/namespaces/{ns}/configmaps"


def seen(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"]["name"]) for event in events]


async def story(api: Api) -> str:
    """Two maps come, trade labels, and one goes; the version before it all."""
    start = await api.revision(MAPS)
    for name, label in (("a", "1"), ("b", "2")):
        await api.make(MAPS, {"metadata": {"name": name, "labels": {"l": label}}, "data": {"k": "0"}})
    await api.merge(f"{MAPS}/a", {"metadata": {"labels": {"l": "2"}}, "data": {"k": "1"}})
    await api.merge(f"{MAPS}/b", {"metadata": {"labels": {"l": "1"}}})
    await api.call("DELETE", f"{MAPS}/b")
    return start


async def test_a_watch_tells_what_happened_since(api: Api) -> None:
    """Every change after the version, in order, whole objects, and the last state of what was deleted."""
    start = await story(api)

    events = await api.watch(MAPS, resourceVersion=start)

    assert seen(events) == [
        ("ADDED", "a"),
        ("ADDED", "b"),
        ("MODIFIED", "a"),
        ("MODIFIED", "b"),
        ("DELETED", "b"),
    ]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))
    assert events[0]["object"]["kind"] == "ConfigMap"
    assert events[2]["object"]["data"] == {"k": "1"}
    assert events[4]["object"]["metadata"]["labels"] == {"l": "1"}


async def test_a_selection_changes_as_objects_move_in_and_out(api: Api) -> None:
    """What leaves the selection is DELETED as it last looked inside, what enters is ADDED."""
    start = await story(api)

    events = await api.watch(MAPS, resourceVersion=start, labelSelector="l=1")

    assert seen(events) == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "b"), ("DELETED", "b")]
    assert events[1]["object"]["metadata"]["labels"] == {"l": "1"}
    assert events[1]["object"]["data"] == {"k": "0"}
    assert int(events[1]["object"]["metadata"]["resourceVersion"]) > int(
        events[0]["object"]["metadata"]["resourceVersion"]
    )


async def test_one_object_is_watched_by_name(api: Api) -> None:
    """FieldSelector works as in a list."""
    start = await story(api)

    events = await api.watch(MAPS, resourceVersion=start, fieldSelector="metadata.name=b")

    assert seen(events) == [("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "b")]


async def test_a_watch_without_version_begins_with_what_is_there(api: Api) -> None:
    """No version, or 0: the present objects come as ADDED."""
    await story(api)

    unset = await api.watch(MAPS, labelSelector="l")
    zero = await api.watch(MAPS, labelSelector="l", resourceVersion="0")

    assert seen(unset) == seen(zero) == [("ADDED", "a")]


async def test_a_watch_goes_on_until_its_timeout(api: Api) -> None:
    """Changes made while the watch runs come too, and timeoutSeconds ends it without an error."""
    start = await api.revision(MAPS)
    watching = asyncio.create_task(api.watch(MAPS, 3, resourceVersion=start))
    await asyncio.sleep(0.5)
    await api.make(MAPS, {"metadata": {"name": "late"}})

    assert ("ADDED", "late") in seen(await watching)


async def test_a_watch_of_every_namespace(api: Api) -> None:
    """Without a namespace in the path all of them are watched."""
    start = await api.revision("/api/v1/configmaps")
    await api.make(MAPS, {"metadata": {"name": "a", "labels": {"in": api.namespace}}})

    events = await api.watch("/api/v1/configmaps", resourceVersion=start, labelSelector=f"in={api.namespace}")

    assert seen(events) == [("ADDED", "a")]


async def test_custom_objects_are_watched_in_every_version(api: Api, classes: str) -> None:
    """A watch through the old version shows objects in the old version."""
    start = await api.revision(classes)
    kind = {"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass"}
    await api.make(classes, kind | {"metadata": {"name": "a"}, "spec": {"provider": "fake"}})

    events = await api.watch(classes.replace("/v1/", "/v1alpha1/"), resourceVersion=start)

    assert seen(events) == [("ADDED", "a")]
    assert events[0]["object"]["apiVersion"] == "secrets-store.csi.x-k8s.io/v1alpha1"


async def test_a_bookmark_tells_how_far_a_quiet_watch_has_come(api: Api) -> None:
    """Before its end a watch gets the version of changes that it was not shown."""
    start = await api.revision(MAPS)
    query = {"resourceVersion": start, "allowWatchBookmarks": "true", "labelSelector": "none=here"}
    watching = asyncio.create_task(api.watch(MAPS, 5, **query))
    await asyncio.sleep(1)
    made = await api.make(MAPS, {"metadata": {"name": "unseen"}})

    bookmarks = await watching

    assert {event["type"] for event in bookmarks} == {"BOOKMARK"}
    marked = bookmarks[-1]["object"]
    assert (marked["kind"], marked["apiVersion"]) == ("ConfigMap", "v1")
    assert int(marked["metadata"]["resourceVersion"]) >= int(made["metadata"]["resourceVersion"])


async def test_a_quiet_watch_gets_no_bookmark_unasked(api: Api) -> None:
    """Bookmarks come only to who allows them."""
    start = await api.revision(MAPS)
    watching = asyncio.create_task(api.watch(MAPS, 4, resourceVersion=start, labelSelector="none=here"))
    await asyncio.sleep(1)
    await api.make(MAPS, {"metadata": {"name": "unseen"}})

    assert await watching == []
