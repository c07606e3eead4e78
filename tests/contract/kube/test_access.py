"""SubjectAccessReview, by RBAC objects."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Api

REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
RULES = [{"apiGroups": ["ferry.io"], "resources": ["things"], "verbs": ["list"]}]


async def review(api: Api, user: str, verb: str = "list", **about: Any) -> dict[str, Any]:
    """The answer to whether somebody may do something to things, in the test's namespace unless told another."""
    groups = about.pop("groups", [])
    resource = {"verb": verb, "group": "ferry.io", "resource": "things", "namespace": api.namespace} | about
    made = await api.make(REVIEWS, {"spec": {"user": user, "groups": groups, "resourceAttributes": resource}})
    status: dict[str, Any] = made["status"]
    return status


async def bind(api: Api, kind: str, *subjects: dict[str, str]) -> None:
    """A role of this kind, and a binding of the same scope to it."""
    name, where = f"{kind.lower()}-{api.namespace}", "" if kind == "ClusterRole" else "/namespaces/{ns}"
    await api.make(f"{RBAC}{where}/{kind.lower()}s", {"metadata": {"name": name}, "rules": RULES})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
    body = {"metadata": {"name": name}, "roleRef": reference, "subjects": list(subjects)}
    await api.make(f"{RBAC}{where}/{kind.lower()}bindings", body)


async def test_nobody_may_do_what_no_role_says(api: Api) -> None:
    """Without a binding the answer is no, without a reason."""
    assert await review(api, "eve") == {"allowed": False}


async def test_masters_may_do_everything(api: Api) -> None:
    """The group of administrators needs no role, and no reason is given."""
    assert await review(api, "root", groups=["system:masters"]) == {"allowed": True}


async def test_a_role_holds_in_its_namespace(api: Api) -> None:
    """A user bound in a namespace may list there; not elsewhere, not everywhere, and nothing else."""
    await bind(api, "Role", {"kind": "User", "name": "bob"})

    name = f"role-{api.namespace}"
    reason = f'RBAC: allowed by RoleBinding "{name}/{api.namespace}" of Role "{name}" to User "bob"'
    assert await review(api, "bob") == {"allowed": True, "reason": reason}
    assert (await review(api, "bob", namespace="default"))["allowed"] is False
    assert (await review(api, "bob", namespace=""))["allowed"] is False
    assert (await review(api, "bob", "get"))["allowed"] is False
    assert (await review(api, "bob", resource="others"))["allowed"] is False


async def test_a_cluster_role_holds_everywhere(api: Api) -> None:
    """A group bound in the cluster may list in each namespace, and in all of them."""
    group = f"g-{api.namespace}"
    await bind(api, "ClusterRole", {"kind": "Group", "name": group})

    name = f"clusterrole-{api.namespace}"
    reason = f'RBAC: allowed by ClusterRoleBinding "{name}" of ClusterRole "{name}" to Group "{group}"'
    assert await review(api, "eve", groups=[group]) == {"allowed": True, "reason": reason}
    assert (await review(api, "eve", groups=[group], namespace=""))["allowed"] is True
    assert (await review(api, "eve"))["allowed"] is False


async def test_a_service_account_is_a_subject(api: Api) -> None:
    """An account is meant by its namespace and name."""
    await bind(api, "Role", {"kind": "ServiceAccount", "name": "default", "namespace": api.namespace})

    assert (await review(api, f"system:serviceaccount:{api.namespace}:default"))["allowed"] is True
    assert (await review(api, f"system:serviceaccount:{api.namespace}:other"))["allowed"] is False


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({}, ["spec.resourceAttributes", "spec.user"]),
        ({"user": "a"}, ["spec.resourceAttributes"]),
        ({"resourceAttributes": {"verb": "list"}}, ["spec.user"]),
        (
            {
                "user": "a",
                "resourceAttributes": {"verb": "list"},
                "nonResourceAttributes": {"path": "/", "verb": "get"},
            },
            ["spec.nonResourceAttributes"],
        ),
    ],
)
async def test_who_and_what_must_be_said(api: Api, spec: dict[str, Any], fields: list[str]) -> None:
    """A review without somebody, or without one thing to do, is invalid."""
    answer = await api.call("POST", REVIEWS, {"spec": spec})

    assert (answer.status, answer.reason) == (422, "Invalid")
    assert [cause["field"] for cause in answer.body["details"]["causes"]] == fields
