"""create, replace and the patches."""

from typing import Any

import pytest

from .conftest import Api, pod_manifest

MAPS = "/api/v1/namespaces/{ns}/configmaps"


async def test_create_fills_in_what_the_server_owns(api: Api) -> None:
    """uid, creationTimestamp and resourceVersion are the server's, whatever was sent."""
    meta = {"name": "a", "uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z", "selfLink": "/x"}
    made = await api.make(MAPS, {"metadata": meta, "data": {"k": "v"}})

    assert made["metadata"]["uid"] != "mine"
    assert made["metadata"]["creationTimestamp"] > "2020"
    assert int(made["metadata"]["resourceVersion"]) > 0
    assert (made["kind"], made["apiVersion"], made["data"]) == ("ConfigMap", "v1", {"k": "v"})


async def test_generate_name_appends_five_letters(api: Api) -> None:
    """A generated name is the prefix and five random letters."""
    made = await api.make(MAPS, {"metadata": {"generateName": "made-"}})

    assert made["metadata"]["name"].startswith("made-")
    assert len(made["metadata"]["name"]) == len("made-") + 5


async def test_a_name_is_taken_once(api: Api) -> None:
    """A second create of the same name is 409 AlreadyExists."""
    await api.make(MAPS, {"metadata": {"name": "a"}})

    answer = await api.call("POST", MAPS, {"metadata": {"name": "a"}})

    assert (answer.status, answer.reason) == (409, "AlreadyExists")
    assert answer.message == 'configmaps "a" already exists'


async def test_a_namespace_must_be_there(api: Api) -> None:
    """Nothing is created in a namespace that does not exist."""
    answer = await api.call("POST", "/api/v1/namespaces/not-there/configmaps", {"metadata": {"name": "a"}})

    assert (answer.status, answer.message) == (404, 'namespaces "not-there" not found')


@pytest.mark.parametrize(
    ("metadata", "status", "part"),
    [
        ({}, 422, "metadata.name: Required value: name or generateName is required"),
        ({"name": "Bad_Name"}, 422, 'metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain must'),
        ({"name": "a" * 254}, 422, "must be no more than 253 characters"),
        ({"name": "a", "namespace": "other"}, 400, "the namespace of the provided object does not match"),
        ({"name": "a", "labels": {"x": "y" * 64}}, 422, "must be no more than 63 characters"),
        ({"name": "a", "labels": {"x": "no spaces"}}, 422, "metadata.labels: Invalid value"),
        ({"name": "a", "labels": {"bad key": ""}}, 422, "name part must consist of alphanumeric characters"),
        ({"name": "a", "labels": {"x": 1}}, 400, "cannot be handled as a ConfigMap"),
        ({"name": "a", "annotations": {"x": "y" * 262145}}, 422, "metadata.annotations: Too long"),
        ({"name": "a", "ownerReferences": [{}]}, 422, "uid must not be empty"),
        ({"name": "a", "finalizers": ["plain"]}, 422, "neither a standard finalizer name nor is it fully qualified"),
        ({"name": "a", "resourceVersion": "1"}, 500, "resourceVersion should not be set on objects to be created"),
    ],
)
async def test_metadata_has_rules(api: Api, metadata: dict[str, Any], status: int, part: str) -> None:
    """What is wrong with the metadata is told in the server's words."""
    answer = await api.call("POST", MAPS, {"metadata": metadata})

    assert answer.status == status
    assert part in answer.message


async def test_an_invalid_object_names_each_field(api: Api) -> None:
    """422 carries one cause for each broken field."""
    answer = await api.call("POST", MAPS, {"metadata": {"name": "B_"}, "data": {"k k": ""}})

    causes = answer.body["details"]["causes"]
    assert sorted(cause["field"] for cause in causes) == ["data[k k]", "metadata.name"]
    assert {cause["reason"] for cause in causes} == {"FieldValueInvalid"}


async def test_another_kind_is_refused(api: Api) -> None:
    """A body must be of the kind that the URL names."""
    answer = await api.call("POST", MAPS, {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a"}})

    assert (answer.status, answer.reason) == (400, "BadRequest")
    assert 'Secret in version "v1" cannot be handled as a ConfigMap' in answer.message


async def test_post_to_an_object_is_not_allowed(api: Api) -> None:
    """Verbs have their place."""
    answer = await api.call("POST", f"{MAPS}/a", {})

    assert (answer.status, answer.reason) == (405, "MethodNotAllowed")


async def test_replace_needs_the_latest_version(api: Api) -> None:
    """A stale resourceVersion is 409 Conflict; the latest, or none, goes through."""
    made = await api.make(MAPS, {"metadata": {"name": "a"}, "data": {"k": "1"}})
    fresh = await api.call("PUT", f"{MAPS}/a", made | {"data": {"k": "2"}})
    stale = await api.call("PUT", f"{MAPS}/a", made | {"data": {"k": "3"}})
    blind = await api.call("PUT", f"{MAPS}/a", {"metadata": {"name": "a"}, "data": {"k": "4"}})

    assert [fresh.status, stale.status, blind.status] == [200, 409, 200]
    assert stale.reason == "Conflict"
    assert stale.message == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to '
        "the latest version and try again"
    )
    assert int(blind.body["metadata"]["resourceVersion"]) > int(fresh.body["metadata"]["resourceVersion"])


async def test_replace_of_a_custom_object_names_its_version(api: Api, classes: str) -> None:
    """Without a resourceVersion a custom object is not replaced."""
    body = {"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass", "metadata": {"name": "a"}}
    await api.make(classes, body)

    answer = await api.call("PUT", f"{classes}/a", body)

    assert answer.status == 422
    assert "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update" in answer.message


async def test_replace_is_of_the_object_in_the_url(api: Api) -> None:
    """Name and uid must be those of the object."""
    await api.make(MAPS, {"metadata": {"name": "a"}})

    name = await api.call("PUT", f"{MAPS}/a", {"metadata": {"name": "b"}})
    uid = await api.call("PUT", f"{MAPS}/a", {"metadata": {"name": "a", "uid": "x"}})
    missing = await api.call("PUT", f"{MAPS}/none", {"metadata": {"name": "none"}})

    assert name.message == "the name of the object (b) does not match the name on the URL (a)"
    assert (name.status, uid.status, uid.reason, missing.status) == (400, 409, "Conflict", 404)
    assert "Precondition failed: UID in precondition: x, UID in object meta:" in uid.message


async def test_a_write_that_changes_nothing_is_none(api: Api) -> None:
    """No new resourceVersion, so no watch event, for the same content again."""
    made = await api.make(MAPS, {"metadata": {"name": "a"}, "data": {"k": "1"}})

    put = await api.call("PUT", f"{MAPS}/a", {"metadata": {"name": "a"}, "data": {"k": "1"}})
    merged = await api.merge(f"{MAPS}/a", {"data": {"k": "1"}})

    versions = {body["metadata"]["resourceVersion"] for body in (made, put.body, merged.body)}
    assert len(versions) == 1


async def test_dry_run_changes_nothing(api: Api) -> None:
    """dryRun=All answers as if, and stores nothing."""
    made = await api.make(MAPS, {"metadata": {"name": "a"}}, dryRun="All")

    assert made["metadata"]["uid"]
    assert (await api.call("GET", f"{MAPS}/a")).status == 404


async def test_merge_patch_removes_with_null(api: Api) -> None:
    """RFC 7386: null removes a key, everything else replaces or merges."""
    await api.make(MAPS, {"metadata": {"name": "a", "labels": {"x": "1"}}, "data": {"k": "1", "l": "2"}})

    answer = await api.merge(f"{MAPS}/a", {"metadata": {"labels": None}, "data": {"k": None, "m": "3"}})

    assert answer.body["data"] == {"l": "2", "m": "3"}
    assert "labels" not in answer.body["metadata"]


async def test_merge_patch_with_a_version_is_optimistic(api: Api) -> None:
    """A resourceVersion in a patch must be the latest."""
    made = await api.make(MAPS, {"metadata": {"name": "a"}})
    version = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}

    first = await api.merge(f"{MAPS}/a", version | {"data": {"k": "1"}})
    second = await api.merge(f"{MAPS}/a", version | {"data": {"k": "2"}})

    assert (first.status, second.status, second.reason) == (200, 409, "Conflict")


async def test_json_patch(api: Api) -> None:
    """RFC 6902: operations in order, all or none."""
    await api.make(MAPS, {"metadata": {"name": "a", "annotations": {"x/y": "2"}}, "data": {"k": "1"}})
    good = [
        {"op": "test", "path": "/data/k", "value": "1"},
        {"op": "replace", "path": "/data/k", "value": "9"},
        {"op": "remove", "path": "/metadata/annotations/x~1y"},
        {"op": "add", "path": "/metadata/labels", "value": {"l": "1"}},
        {"op": "copy", "from": "/data/k", "path": "/data/z"},
        {"op": "move", "from": "/data/z", "path": "/data/w"},
    ]
    bad = [{"op": "replace", "path": "/data/k", "value": "0"}, {"op": "remove", "path": "/data/none"}]

    applied = await api.call("PATCH", f"{MAPS}/a", good, content_type="application/json-patch+json")
    refused = await api.call("PATCH", f"{MAPS}/a", bad, content_type="application/json-patch+json")

    assert applied.body["data"] == {"k": "9", "w": "9"}
    assert applied.body["metadata"]["labels"] == {"l": "1"}
    assert "annotations" not in applied.body["metadata"]
    assert (refused.status, refused.reason) == (422, "Invalid")
    assert (await api.read(f"{MAPS}/a"))["data"]["k"] == "9"


async def test_strategic_merge_patch_merges_lists_by_key(api: Api) -> None:
    """A container is changed by its name, not replaced with the list."""
    await api.make("/api/v1/namespaces/{ns}/pods", pod_manifest("p"))
    patch = {"spec": {"containers": [{"name": "main", "image": "localhost/other:2"}]}}

    answer = await api.call(
        "PATCH", "/api/v1/namespaces/{ns}/pods/p", patch, content_type="application/strategic-merge-patch+json"
    )

    assert [c["image"] for c in answer.body["spec"]["containers"]] == ["localhost/other:2"]
    assert answer.body["spec"]["containers"][0]["terminationMessagePolicy"] == "File"


async def test_custom_objects_take_no_strategic_merge_patch(api: Api, classes: str) -> None:
    """A CRD has no merge keys, so the format is refused."""
    body = {"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass", "metadata": {"name": "a"}}
    await api.make(classes, body)

    answer = await api.call(
        "PATCH", f"{classes}/a", {"spec": {}}, content_type="application/strategic-merge-patch+json"
    )

    assert (answer.status, answer.reason) == (415, "UnsupportedMediaType")


async def test_generation_counts_changes_of_the_spec(api: Api, classes: str) -> None:
    """Labels do not make a new generation; content does."""
    body = {"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass", "metadata": {"name": "a"}}
    made = await api.make(classes, body | {"spec": {"provider": "fake"}})

    labelled = await api.merge(f"{classes}/a", {"metadata": {"labels": {"l": "1"}}})
    changed = await api.merge(f"{classes}/a", {"spec": {"provider": "other"}})

    generations = [body["metadata"]["generation"] for body in (made, labelled.body, changed.body)]
    assert generations == [1, 1, 2]
