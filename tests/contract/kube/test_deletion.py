"""delete: preconditions, finalizers, grace, owners and namespaces."""

from typing import Any

import pytest

from .conftest import Api, pod_manifest

MAPS = "/api/v1/namespaces/{ns}/configmaps"
PODS = "/api/v1/namespaces/{ns}/pods"


def owner(item: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": item["metadata"]["name"],
        "uid": item["metadata"]["uid"],
    } | more


async def make(api: Api, name: str, *owners: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    references = {"ownerReferences": list(owners)} if owners else {}
    return await api.make(MAPS, {"metadata": {"name": name, **references, **metadata}})


async def test_delete_answers_with_a_status(api: Api) -> None:
    """Success names what was deleted, by uid; a second delete finds nothing."""
    made = await make(api, "a")
    first = await api.call("DELETE", f"{MAPS}/a")
    second = await api.call("DELETE", f"{MAPS}/a")

    assert first.status == 200
    assert first.body["status"] == "Success"
    assert first.body["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    assert second.status == 404


@pytest.mark.parametrize("path", ["serviceaccounts", "pods"])
async def test_some_kinds_answer_with_the_object(api: Api, path: str) -> None:
    """A deleted pod or service account comes back whole."""
    manifest = pod_manifest("x") if path == "pods" else {"metadata": {"name": "x"}}
    await api.make(f"/api/v1/namespaces/{{ns}}/{path}", manifest)

    answer = await api.call("DELETE", f"/api/v1/namespaces/{{ns}}/{path}/x")

    assert answer.body["metadata"]["name"] == "x"


async def test_preconditions(api: Api) -> None:
    """Only the object with that uid and that version is deleted."""
    made = await make(api, "a")
    uid = await api.call("DELETE", f"{MAPS}/a", {"preconditions": {"uid": "x"}})
    version = await api.call("DELETE", f"{MAPS}/a", {"preconditions": {"resourceVersion": "1"}})
    right = await api.call("DELETE", f"{MAPS}/a", {"preconditions": {"uid": made["metadata"]["uid"]}})

    assert [uid.status, version.status, right.status] == [409, 409, 200]
    assert "the UID in the precondition (x) does not match the UID in record" in uid.message
    assert "the ResourceVersion in the precondition (1) does not match" in version.message
    assert uid.body["details"]["kind"] == "ConfigMap"


async def test_a_finalizer_holds_an_object(api: Api) -> None:
    """It is marked, takes no new finalizers, and goes with the last one."""
    await make(api, "a", finalizers=["example.com/x"])
    deleted = await api.call("DELETE", f"{MAPS}/a")
    more = await api.merge(f"{MAPS}/a", {"metadata": {"finalizers": ["example.com/x", "example.com/y"]}})
    released = await api.merge(f"{MAPS}/a", {"metadata": {"finalizers": []}})

    assert deleted.body["metadata"]["deletionTimestamp"]
    assert deleted.body["metadata"]["deletionGracePeriodSeconds"] == 0
    assert more.status == 422
    assert "no new finalizers can be added if the object is being deleted" in more.message
    assert released.status == 200
    assert (await api.call("GET", f"{MAPS}/a")).status == 404


async def test_being_deleted_is_a_generation(api: Api, classes: str) -> None:
    """The mark counts as a change for kinds that have generations."""
    kind = {"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass"}
    await api.make(classes, kind | {"metadata": {"name": "a", "finalizers": ["example.com/x"]}})

    answer = await api.call("DELETE", f"{classes}/a")
    await api.merge(f"{classes}/a", {"metadata": {"finalizers": []}})

    assert answer.body["metadata"]["generation"] == 2


async def test_a_pod_on_a_node_waits_for_its_kubelet(api: Api, pod: dict[str, Any]) -> None:
    """Deleting marks it; later deletions may only hurry; with no grace it is gone."""
    first = await api.call("DELETE", f"{PODS}/app", {"gracePeriodSeconds": 7})
    second = await api.call("DELETE", f"{PODS}/app")
    third = await api.call("DELETE", f"{PODS}/app", gracePeriodSeconds=0)

    grace = [answer.body["metadata"]["deletionGracePeriodSeconds"] for answer in (first, second)]
    assert grace == [7, 7]
    assert first.body["metadata"]["uid"] == pod["metadata"]["uid"]
    assert third.status == 200
    assert (await api.call("GET", f"{PODS}/app")).status == 404


@pytest.mark.usefixtures("pod")
@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
async def test_an_ended_pod_is_deleted_at_once(api: Api, phase: str) -> None:
    """Nobody is waited for when no container runs."""
    await api.merge(f"{PODS}/app/status", {"status": {"phase": phase}})
    await api.call("DELETE", f"{PODS}/app")

    assert (await api.call("GET", f"{PODS}/app")).status == 404


async def test_a_pod_on_no_node_is_deleted_at_once(api: Api) -> None:
    """A pending pod has no kubelet to wait for."""
    await api.make(PODS, pod_manifest("p"))
    await api.call("DELETE", f"{PODS}/p")

    assert (await api.call("GET", f"{PODS}/p")).status == 404


async def test_a_collection_is_deleted_by_selector(api: Api) -> None:
    """Deletecollection takes the selectors of a list and answers with what it deleted."""
    await make(api, "a", labels={"go": "1"})
    await make(api, "b", labels={"go": "1"})
    await make(api, "c", labels={"go": "0"})

    answer = await api.call("DELETE", MAPS, labelSelector="go=1")

    assert (answer.status, answer.body["kind"]) == (200, "ConfigMapList")
    assert await api.names(MAPS, labelSelector="go") == ["c"]


@pytest.mark.usefixtures("controllers")
async def test_what_has_lost_its_owner_is_collected(api: Api) -> None:
    """Owners are told by uid: when the last one is gone the object goes; a lost one of two is taken off the list."""
    one, two = await make(api, "one"), await make(api, "two")
    await make(api, "alone", owner(one))
    await make(api, "shared", owner(one), owner(two))
    await api.call("DELETE", f"{MAPS}/one")

    await api.gone(f"{MAPS}/alone")
    shared = await api.until(f"{MAPS}/shared", lambda a: len(a.body["metadata"]["ownerReferences"]) == 1)

    assert shared["metadata"]["ownerReferences"] == [owner(two)]


@pytest.mark.usefixtures("controllers")
async def test_an_owner_that_never_was_is_no_owner(api: Api) -> None:
    """An object made with the uid of nothing is collected: the race of a syncer that is late."""
    one = await make(api, "one")
    await make(api, "orphan", owner(one, uid="00000000-0000-0000-0000-000000000000"))

    await api.gone(f"{MAPS}/orphan")


@pytest.mark.usefixtures("controllers")
async def test_a_new_object_of_the_same_name_is_another_owner(api: Api) -> None:
    """A pod of a StatefulSet comes back under its name with another uid: what the old one owned still goes."""
    one = await make(api, "one")
    await make(api, "owned", owner(one))
    await api.call("DELETE", f"{MAPS}/one")
    await make(api, "one")

    await api.gone(f"{MAPS}/owned")


@pytest.mark.usefixtures("controllers")
async def test_orphans_stay_without_owner(api: Api) -> None:
    """PropagationPolicy Orphan takes the reference off and lets the dependents be."""
    one = await make(api, "one")
    await make(api, "left", owner(one))
    await api.call("DELETE", f"{MAPS}/one", {"propagationPolicy": "Orphan"})

    await api.gone(f"{MAPS}/one")

    assert "ownerReferences" not in (await api.read(f"{MAPS}/left"))["metadata"]


@pytest.mark.usefixtures("controllers")
async def test_in_the_foreground_dependents_go_first(api: Api) -> None:
    """The owner stays, marked, while a dependent that blocks it is held by a finalizer."""
    one = await make(api, "one")
    await make(api, "held", owner(one, blockOwnerDeletion=True), finalizers=["example.com/x"])
    deleted = await api.call("DELETE", f"{MAPS}/one", {"propagationPolicy": "Foreground"})
    held = await api.until(f"{MAPS}/held", lambda a: "deletionTimestamp" in a.body["metadata"])
    waiting = await api.call("GET", f"{MAPS}/one")
    await api.merge(f"{MAPS}/held", {"metadata": {"finalizers": []}})

    await api.gone(f"{MAPS}/one")

    assert deleted.body["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert held["metadata"]["finalizers"] == ["example.com/x"]
    assert waiting.status == 200


@pytest.mark.usefixtures("controllers")
async def test_a_namespace_ends_with_its_content(api: Api) -> None:
    """It is Terminating, takes nothing new, and is gone when it is empty."""
    name = f"{api.namespace}-end"
    path = f"/api/v1/namespaces/{name}"
    await api.make("/api/v1/namespaces", {"metadata": {"name": name}})
    held = {"metadata": {"name": "held", "finalizers": ["example.com/x"]}}
    await api.make(f"{path}/configmaps", held)

    deleted = await api.call("DELETE", path)
    refused = await api.call("POST", f"{path}/configmaps", {"metadata": {"name": "late"}})
    await api.until(f"{path}/configmaps/held", lambda a: "deletionTimestamp" in a.body["metadata"])
    await api.merge(f"{path}/configmaps/held", {"metadata": {"finalizers": []}})
    await api.gone(path)

    assert deleted.body["status"]["phase"] == "Terminating"
    assert (refused.status, refused.reason) == (403, "Forbidden")
    assert f"unable to create new content in namespace {name} because it is being terminated" in refused.message


@pytest.mark.usefixtures("controllers")
async def test_a_namespace_begins_with_an_account_and_the_authority(api: Api) -> None:
    """Every namespace gets the default ServiceAccount and the ConfigMap kube-root-ca.crt."""
    await api.until("/api/v1/namespaces/{ns}/serviceaccounts/default", lambda answer: answer.status == 200)
    authority = await api.until(f"{MAPS}/kube-root-ca.crt", lambda answer: answer.status == 200)

    assert authority["data"]["ca.crt"].startswith("-----BEGIN CERTIFICATE-----")
