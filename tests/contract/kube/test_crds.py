"""Our two CRDs: what they accept, drop and refuse, and how they are shown."""

from typing import Any

import pytest

from keyferry.testing.kube import crds

from .conftest import CLASSES, CRDS, DEFINITIONS, Api

KIND = {"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass"}
STATUSES = CLASSES + "/namespaces/{ns}/secretproviderclasspodstatuses"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

# No empty strings here: a 1.20 built with a Go newer than its own takes them for null, as no released one does.
FULL = {
    "provider": "azure",
    "parameters": {"objects": "array:\n  - |\n    objectName: a\n", "tenantId": "t"},
    "secretObjects": [
        {
            "secretName": "synced",
            "type": "kubernetes.io/tls",
            "labels": {"l": "1"},
            "annotations": {"a": "1"},
            "data": [{"objectName": "dir/file", "key": "tls.crt"}],
        }
    ],
}


def spc(name: str = "a", **more: Any) -> dict[str, Any]:
    return KIND | {"metadata": {"name": name}} | more


async def test_every_field_of_today_is_kept(api: Api, classes: str) -> None:
    """A full class comes back as it was sent."""
    made = await api.make(classes, spc(spec=FULL, status={}))

    assert made["spec"] == FULL
    assert made["status"] == {}


@pytest.mark.parametrize("more", [{}, {"spec": {}}, {"spec": {"provider": "x"}}, {"spec": {"secretObjects": [{}]}}])
async def test_nothing_is_required(api: Api, classes: str, more: dict[str, Any]) -> None:
    """The schema has no required field: what is missing is told at the mount."""
    made = await api.make(classes, spc(**more))

    assert made.get("spec") == more.get("spec")


async def test_unknown_fields_are_dropped(api: Api, classes: str) -> None:
    """At every level, silently, metadata included; null is as good as absent."""
    sent = spc(
        junk=1, status={"x": 1}, spec={"provider": None, "junk": 1, "secretObjects": [{"secretName": "s", "x": 1}]}
    )
    sent["metadata"]["junk"] = "x"

    made = await api.make(classes, sent)

    assert made["spec"] == {"secretObjects": [{"secretName": "s"}]}
    assert made["status"] == {}
    assert "junk" not in made
    assert "junk" not in made["metadata"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"provider": 1}, 'spec.provider in body must be of type string: "integer"'),
        ({"parameters": {"a": True}}, 'spec.parameters.a in body must be of type string: "boolean"'),
        ({"parameters": []}, 'spec.parameters in body must be of type object: "array"'),
        ({"secretObjects": {}}, 'spec.secretObjects in body must be of type array: "object"'),
        ({"secretObjects": [{"data": [{"key": 1}]}]}, 'must be of type string: "integer"'),
        ("x", 'spec in body must be of type object: "string"'),
    ],
)
async def test_types_are_checked(api: Api, classes: str, spec: Any, message: str) -> None:
    """A value of another type is refused, and the message says where."""
    answer = await api.call("POST", classes, spc(spec=spec))

    assert (answer.status, answer.reason) == (422, "Invalid")
    assert message in answer.message
    assert 'SecretProviderClass.secrets-store.csi.x-k8s.io "a" is invalid' in answer.message


async def test_every_mistake_is_a_cause(api: Api, classes: str) -> None:
    """Two wrong fields, two causes."""
    answer = await api.call("POST", classes, spc(spec={"provider": 1, "secretObjects": {}}))

    assert {cause["field"] for cause in answer.body["details"]["causes"]} == {"spec.provider", "spec.secretObjects"}


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"metadata": {"name": "a"}}, "Object 'Kind' is missing"),
        (
            spc() | {"apiVersion": "secrets-store.csi.x-k8s.io/v1alpha1"},
            "the API version in the data (secrets-store.csi.x-k8s.io/v1alpha1) does not match",
        ),
    ],
)
async def test_a_custom_object_says_what_it_is(api: Api, classes: str, body: dict[str, Any], part: str) -> None:
    """Kind and version are in the body, and those of the URL."""
    answer = await api.call("POST", classes, body)

    assert answer.status == 400
    assert part in answer.message


async def test_the_old_version_shows_the_same_objects(api: Api, classes: str) -> None:
    """v1alpha1 is served, warns, and converts nothing but the version."""
    await api.make(classes, spc(spec=FULL))

    answer = await api.call("GET", classes.replace("/v1/", "/v1alpha1/") + "/a")

    assert answer.body["apiVersion"] == "secrets-store.csi.x-k8s.io/v1alpha1"
    assert answer.body["spec"] == FULL
    assert answer.headers["Warning"] == (
        '299 - "secrets-store.csi.x-k8s.io/v1alpha1 is deprecated. Use secrets-store.csi.x-k8s.io/v1 instead."'
    )


async def test_a_pod_status_is_written_whole(api: Api, classes: str) -> None:
    """There is no status subresource: create and replace write the status."""
    assert classes
    status = {
        "podName": "app",
        "secretProviderClassName": "a",
        "mounted": True,
        "targetPath": "/var/lib/kubelet/x",
        "objects": [{"id": "a", "version": "1"}],
    }
    body = KIND | {"kind": "SecretProviderClassPodStatus", "metadata": {"name": "s"}, "status": status}
    made = await api.make(STATUSES, body)
    subresource = await api.call("GET", f"{STATUSES}/s/status")
    changed = await api.merge(f"{STATUSES}/s", {"status": {"mounted": False}})

    assert made["status"] == status
    assert subresource.status == 404
    assert changed.body["status"]["mounted"] is False


@pytest.mark.parametrize(
    ("plural", "columns"),
    [
        ("secretproviderclasses", ["Name", "Provider", "Age"]),
        ("secretproviderclasspodstatuses", ["Name", "Pod", "Class", "Mounted", "Age"]),
    ],
)
async def test_lists_have_columns(api: Api, classes: str, plural: str, columns: list[str]) -> None:
    """What kubectl get shows."""
    table = await api.read(classes.replace("secretproviderclasses", plural), accept=TABLE)

    assert table["kind"] == "Table"
    assert [column["name"] for column in table["columnDefinitions"]] == columns


async def test_rows_show_the_values(api: Api, classes: str) -> None:
    """A row has the column's values and the object's metadata."""
    await api.make(classes, spc(spec=FULL))
    await api.make(classes, spc("empty"))

    rows = (await api.read(classes, accept=TABLE))["rows"]

    assert [row["cells"][:2] for row in rows] == [["a", "azure"], ["empty", None]]
    assert rows[0]["object"]["kind"] == "PartialObjectMetadata"
    assert rows[0]["object"]["metadata"]["name"] == "a"


def definition(group: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size"],
                "properties": {
                    "size": {"type": "integer", "minimum": 1, "maximum": 3},
                    "mode": {"type": "string", "enum": ["fast", "slow"], "default": "slow"},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                },
            },
            "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
        },
    }
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "things", "kind": "Thing", "shortNames": ["th"]}
    spec = {
        "group": group,
        "scope": "Cluster",
        "names": names,
        "versions": [version | {"subresources": {"status": {}}}],
    }
    return {"metadata": {"name": f"things.{group}"}, "spec": spec}


async def test_any_definition_becomes_a_resource(api: Api) -> None:
    """Created: served, defaulted, validated, with a status of its own; deleted: gone with its objects."""
    group = f"{api.namespace}.example.com"
    path, thing = f"/apis/{group}/v1/things", {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "a"}}
    await api.make(DEFINITIONS, definition(group))
    await api.until(path, lambda answer: answer.status == 200)

    made = await api.make(path, thing | {"spec": {"size": 2, "free": {"x": 1}, "junk": 1}, "status": {"ready": True}})
    wrong = await api.call("POST", path, thing | {"spec": {"size": 4, "mode": "odd"}})
    missing = await api.call("POST", path, thing | {"spec": {}})
    status = await api.merge(f"{path}/a/status", {"status": {"ready": True}, "spec": {"size": 3}})
    await api.call("DELETE", f"{DEFINITIONS}/things.{group}")
    await api.gone(path)

    assert made["spec"] == {"size": 2, "mode": "slow", "free": {"x": 1}}
    assert "status" not in made
    assert {cause["field"] for cause in wrong.body["details"]["causes"]} == {"spec.size", "spec.mode"}
    assert "spec.size: Required value" in missing.message
    assert status.body["status"] == {"ready": True}
    assert status.body["spec"]["size"] == 2
    assert status.body["metadata"]["generation"] == 1


async def test_a_definition_is_established(api: Api, classes: str) -> None:
    """The conditions that clients wait for become true."""
    assert classes
    name = "secretproviderclasses.secrets-store.csi.x-k8s.io"
    found = await api.read(f"{DEFINITIONS}/{name}")

    conditions = {condition["type"]: condition["status"] for condition in found["status"]["conditions"]}
    assert conditions["Established"] == conditions["NamesAccepted"] == "True"
    assert found["status"]["storedVersions"] == ["v1"]


async def test_a_definition_has_the_name_of_its_resource(api: Api) -> None:
    """metadata.name is plural.group."""
    body = definition("x.example.com") | {"metadata": {"name": "wrong.x.example.com"}}

    answer = await api.call("POST", DEFINITIONS, body)

    assert answer.status == 422
    assert 'must be spec.names.plural+"."+spec.group' in answer.message


def test_our_definitions_ask_for_nothing_new() -> None:
    """They apply on Kubernetes 1.20: no CEL; today's have no required fields, both versions served, v1 stored."""
    assert all("x-kubernetes-validations" not in str(found) for found in crds.load(CRDS))
    for found in (each for each in crds.load(CRDS) if each["spec"]["group"] == "secrets-store.csi.x-k8s.io"):
        versions = {version["name"]: version for version in found["spec"]["versions"]}

        assert {name: version["storage"] for name, version in versions.items()} == {"v1": True, "v1alpha1": False}
        assert all(version["served"] for version in versions.values())
        assert versions["v1alpha1"]["deprecated"]
        assert "required" not in str(found)
