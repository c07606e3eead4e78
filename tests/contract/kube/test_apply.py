"""Server-side apply: who owns which field, and what happens when two want the same."""

from typing import Any

import pytest

from .conftest import Api

SECRETS = "/api/v1/namespaces/{ns}/secrets"
KIND = {"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass"}


def secret(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": "Opaque", "data": data}


def spc(**spec: Any) -> dict[str, Any]:
    return KIND | {"metadata": {"name": "s"}, "spec": spec}


def owners(body: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(e["manager"], e["operation"]): e["fieldsV1"] for e in body["metadata"].get("managedFields", [])}


async def test_apply_creates(api: Api) -> None:
    """The first apply is a create, answered with 201, and owns what it named."""
    answer = await api.apply(f"{SECRETS}/s", secret(a="MQ=="), "me")

    entry = answer.body["metadata"]["managedFields"][0]
    assert answer.status == 201
    assert {name: entry[name] for name in ("manager", "operation", "apiVersion", "fieldsType")} == {
        "manager": "me",
        "operation": "Apply",
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
    }
    assert entry["fieldsV1"] == {"f:data": {"f:a": {}}, "f:type": {}}
    assert entry["time"]


async def test_apply_twice_changes_nothing(api: Api) -> None:
    """The same configuration again is answered with 200 and the same version."""
    first = await api.apply(f"{SECRETS}/s", secret(a="MQ=="), "me")
    second = await api.apply(f"{SECRETS}/s", secret(a="MQ=="), "me")

    assert second.status == 200
    assert second.body["metadata"]["resourceVersion"] == first.body["metadata"]["resourceVersion"]
    assert second.body == first.body


async def test_a_field_no_longer_applied_is_removed(api: Api) -> None:
    """What the manager owned alone and leaves out disappears; the rest stays."""
    labelled = secret(a="MQ==", b="Mg==") | {"metadata": {"name": "s", "labels": {"l": "1"}}}
    await api.apply(f"{SECRETS}/s", labelled, "me")

    answer = await api.apply(f"{SECRETS}/s", secret(a="MQ=="), "me")

    assert answer.body["data"] == {"a": "MQ=="}
    assert "labels" not in answer.body["metadata"]


async def test_a_field_owned_by_two_stays_until_both_let_go(api: Api) -> None:
    """Applying the same value shares it; it goes with its last owner."""
    await api.apply(f"{SECRETS}/s", secret(a="MQ=="), "one")
    shared = await api.apply(f"{SECRETS}/s", secret(a="MQ=="), "two")
    left = await api.apply(f"{SECRETS}/s", secret(), "one")
    gone = await api.apply(f"{SECRETS}/s", secret(), "two")

    assert {("one", "Apply"), ("two", "Apply")} == set(owners(shared.body))
    assert left.body["data"] == {"a": "MQ=="}
    assert "data" not in gone.body


async def test_a_conflict_names_the_other_manager_and_the_field(api: Api) -> None:
    """Changing somebody else's field is 409 with one cause for each field."""
    await api.apply(f"{SECRETS}/s", secret(a="MQ=="), "one")

    answer = await api.apply(f"{SECRETS}/s", secret(a="Mg=="), "two")

    assert (answer.status, answer.reason) == (409, "Conflict")
    assert answer.message == 'Apply failed with 1 conflict: conflict with "one": .data.a'
    assert answer.body["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.a"}
    ]


async def test_a_conflict_with_an_update_names_its_version(api: Api) -> None:
    """Fields written by create, replace and patch are owned too."""
    await api.make(SECRETS, secret(a="MQ==", b="MQ=="), fieldManager="creator")

    answer = await api.apply(f"{SECRETS}/s", secret(a="Mg==", b="Mg=="), "me")

    assert answer.message == ('Apply failed with 2 conflicts: conflicts with "creator" using v1:\n- .data.a\n- .data.b')


async def test_force_takes_the_field(api: Api) -> None:
    """With force the field changes its value and its owner."""
    await api.apply(f"{SECRETS}/s", secret(a="MQ==", b="MQ=="), "one")

    answer = await api.apply(f"{SECRETS}/s", secret(a="Mg=="), "two", force="true")

    assert answer.body["data"] == {"a": "Mg==", "b": "MQ=="}
    assert owners(answer.body)["one", "Apply"] == {"f:data": {"f:b": {}}, "f:type": {}}
    assert owners(answer.body)["two", "Apply"] == {"f:data": {"f:a": {}}, "f:type": {}}


async def test_an_update_takes_what_it_changes(api: Api) -> None:
    """A patch never conflicts: it takes the fields from those who applied them."""
    await api.apply(f"{SECRETS}/s", secret(a="MQ==", b="MQ=="), "one")

    answer = await api.merge(f"{SECRETS}/s", {"data": {"a": "Mg=="}}, fieldManager="patcher")

    assert owners(answer.body)["one", "Apply"] == {"f:data": {"f:b": {}}, "f:type": {}}
    assert owners(answer.body)["patcher", "Update"] == {"f:data": {"f:a": {}}}


async def test_what_an_update_removes_belongs_to_nobody(api: Api) -> None:
    """A removed field is taken off every manager's list; applying it again brings it back."""
    await api.apply(f"{SECRETS}/s", secret(a="MQ==", b="MQ=="), "one")
    removed = await api.merge(f"{SECRETS}/s", {"data": {"a": None}})
    again = await api.apply(f"{SECRETS}/s", secret(a="MQ==", b="MQ=="), "one")

    assert owners(removed.body)["one", "Apply"] == {"f:data": {"f:b": {}}, "f:type": {}}
    assert again.body["data"] == {"a": "MQ==", "b": "MQ=="}


async def test_string_data_is_owned_as_string_data(api: Api) -> None:
    """An applied stringData is stored in data but not owned there: it overwrites silently, and is never removed."""
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "x"}}
    applied = await api.apply(f"{SECRETS}/s", body, "me")
    await api.merge(f"{SECRETS}/s", {"data": {"a": "enp6"}}, fieldManager="other")
    again = await api.apply(f"{SECRETS}/s", body, "me")
    dropped = await api.apply(f"{SECRETS}/s", body | {"stringData": {}}, "me")

    assert owners(applied.body)["me", "Apply"] == {"f:stringData": {"f:a": {}}}
    assert again.body["data"] == {"a": "eA=="}
    assert dropped.body["data"] == {"a": "eA=="}


async def test_owner_references_are_merged_by_uid(api: Api) -> None:
    """Two managers each keep their own owner; a finalizer is an item of a set."""
    reference = {"apiVersion": "v1", "kind": "Namespace", "name": api.namespace}
    uid = (await api.read("/api/v1/namespaces/{ns}"))["metadata"]["uid"]
    account = (await api.read("/api/v1/namespaces/{ns}/serviceaccounts/default"))["metadata"]["uid"]
    other = {"apiVersion": "v1", "kind": "ServiceAccount", "name": "default", "uid": account}
    meta = {"name": "s", "finalizers": ["example.com/x"], "ownerReferences": [reference | {"uid": uid}]}

    first = await api.apply(f"{SECRETS}/s", secret() | {"metadata": meta}, "one")
    second = await api.apply(f"{SECRETS}/s", secret() | {"metadata": {"name": "s", "ownerReferences": [other]}}, "two")
    third = await api.apply(f"{SECRETS}/s", secret(), "one")

    mine = owners(first.body)["one", "Apply"]["f:metadata"]
    item: dict[str, Any] = {".": {}, "f:apiVersion": {}, "f:kind": {}, "f:name": {}, "f:uid": {}}
    assert mine["f:ownerReferences"] == {f'k:{{"uid":"{uid}"}}': item}
    assert mine["f:finalizers"] == {'v:"example.com/x"': {}}
    assert {owner["uid"] for owner in second.body["metadata"]["ownerReferences"]} == {uid, account}
    assert [owner["uid"] for owner in third.body["metadata"]["ownerReferences"]] == [account]
    assert "finalizers" not in third.body["metadata"]


async def test_custom_objects_are_applied_field_by_field(api: Api, classes: str) -> None:
    """Maps of a custom kind merge by key; its lists are replaced whole."""
    one = spc(provider="aws", parameters={"a": "1", "b": "2"}, secretObjects=[{"secretName": "x"}])
    first = await api.apply(f"{classes}/s", one, "one")
    second = await api.apply(f"{classes}/s", spc(parameters={"c": "3"}), "two")
    third = await api.apply(f"{classes}/s", spc(provider="aws", parameters={"a": "1"}), "one")
    clash = await api.apply(f"{classes}/s", spc(secretObjects=[], provider="gcp", parameters={"a": "9"}), "two")

    assert owners(first.body)["one", "Apply"] == {
        "f:spec": {"f:parameters": {"f:a": {}, "f:b": {}}, "f:provider": {}, "f:secretObjects": {}}
    }
    assert second.body["spec"]["parameters"] == {"a": "1", "b": "2", "c": "3"}
    assert third.body["spec"] == {"provider": "aws", "parameters": {"a": "1", "c": "3"}}
    assert clash.message == (
        'Apply failed with 2 conflicts: conflicts with "one":\n- .spec.provider\n- .spec.parameters.a'
    )
    assert [body["metadata"]["generation"] for body in (first.body, second.body, third.body)] == [1, 2, 3]


async def test_the_last_key_of_a_custom_map_cannot_be_dropped(api: Api, classes: str) -> None:
    """A map that an apply empties becomes null, which its schema refuses (kubernetes#103011)."""
    await api.apply(f"{classes}/s", spc(provider="aws", parameters={"a": "1"}), "one")

    answer = await api.apply(f"{classes}/s", spc(provider="aws"), "one")

    assert answer.status == 422
    assert 'spec.parameters in body must be of type object: "null"' in answer.message


async def test_custom_objects_keep_who_updated_them(api: Api, classes: str) -> None:
    """A map that an update adds is owned itself, as ".", beside its keys."""
    made = await api.make(classes, spc(provider="aws", parameters={"a": "1"}), fieldManager="creator")

    assert owners(made)["creator", "Update"] == {
        "f:spec": {".": {}, "f:parameters": {".": {}, "f:a": {}}, "f:provider": {}}
    }


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ({"provider": 1}, ".spec.provider: expected string"),
        ({"unknown": "x"}, ".spec.unknown: field not declared in schema"),
    ],
)
async def test_an_apply_must_fit_the_schema(api: Api, classes: str, spec: dict[str, Any], part: str) -> None:
    """What the schema does not know is an error in an apply, where a create drops it."""
    answer = await api.apply(f"{classes}/s", spc(**spec), "me")

    assert answer.status == 500
    assert part in answer.message


@pytest.mark.parametrize(
    ("body", "query", "status", "part"),
    [
        (secret(), {}, 422, "fieldManager: Required value: is required for apply patch"),
        ({"kind": "Secret"}, {"fieldManager": "m"}, 400, "Incorrect version specified in apply patch"),
        (secret() | {"metadata": {"managedFields": [{}]}}, {"fieldManager": "m"}, 400, "managedFields must be nil"),
        (secret() | {"metadata": {"name": "t"}}, {"fieldManager": "m"}, 400, "does not match the name on the URL"),
        (
            secret() | {"metadata": {"name": "s", "uid": "x"}},
            {"fieldManager": "m"},
            409,
            "no existing object was found",
        ),
    ],
)
async def test_an_apply_is_complete(
    api: Api, body: dict[str, Any], query: dict[str, str], status: int, part: str
) -> None:
    """An apply names its manager, its version and its object."""
    answer = await api.call("PATCH", f"{SECRETS}/s", body, content_type="application/apply-patch+yaml", **query)

    assert answer.status == status
    assert part in answer.message


async def test_an_apply_may_name_the_version_it_has_seen(api: Api) -> None:
    """A resourceVersion in the configuration must be the latest."""
    await api.apply(f"{SECRETS}/s", secret(a="MQ=="), "me")

    answer = await api.apply(f"{SECRETS}/s", secret() | {"metadata": {"name": "s", "resourceVersion": "1"}}, "me")

    assert (answer.status, answer.reason) == (409, "Conflict")


async def test_only_a_new_object_needs_a_name(api: Api) -> None:
    """For one that is there the URL names it well enough."""
    nameless = {"apiVersion": "v1", "kind": "Secret", "data": {"a": "MQ=="}}
    refused = await api.apply(f"{SECRETS}/s", nameless, "me")
    await api.apply(f"{SECRETS}/s", secret(), "me")
    accepted = await api.apply(f"{SECRETS}/s", nameless, "me")

    assert refused.message == "the name of the object (s based on URL) was undeterminable: name must be provided"
    assert (refused.status, accepted.status) == (400, 200)
