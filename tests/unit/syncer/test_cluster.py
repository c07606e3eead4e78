from __future__ import annotations

import time
from typing import Any

import pytest

from syncer.cluster import Owner, project_class, project_pod
from syncer.sync import _is_recent
from syncer.view import Groups


def pod(**about: Any) -> dict[str, Any]:
    csi = {"driver": "secrets-store.csi.k8s.io", "volumeAttributes": {"secretProviderClass": "db"}}
    usual: dict[str, Any] = {
        "metadata": {"namespace": "shop", "name": "web", "uid": "u"},
        "spec": {"nodeName": "n", "volumes": [{"name": "s", "csi": csi}]},
        "status": {"phase": "Running"},
    }
    return {part: {**usual[part], **about.get(part, {})} for part in usual}


def owned(*owners: dict[str, str]) -> dict[str, Any]:
    return pod(metadata={"ownerReferences": list(owners)})


REPLICA_SET = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "r"}
NODE = {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "n"}


def test_a_pod_without_our_volumes_is_not_kept() -> None:
    """Most pods are none of our business."""
    assert project_pod(pod(spec={"volumes": [{"name": "x", "csi": {"driver": "other"}}, {"name": "y"}]})) is None
    assert project_pod(pod(spec={"volumes": None})) is None


@pytest.mark.parametrize(
    ("told", "owners"),
    [
        (owned(REPLICA_SET), (Owner("apps/v1", "ReplicaSet", "web-1", "r"),)),
        (pod(), (Owner("v1", "Pod", "web", "u"),)),
        (owned(NODE), (Owner("v1", "Pod", "web", "u"),)),
    ],
)
def test_owners(told: dict[str, Any], owners: tuple[Owner, ...]) -> None:
    """What made the pod; the pod itself where nothing did, or only its Node (a static pod's mirror)."""
    found = project_pod(told)
    assert found is not None
    assert found.owners == owners


@pytest.mark.parametrize(
    ("told", "living"),
    [
        (pod(), True),
        (pod(status={"phase": "Pending"}), True),
        (pod(status={"phase": "Succeeded"}), False),
        (pod(status={"phase": "Failed"}), False),
        (pod(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}), False),
    ],
)
def test_who_uses_secrets(told: dict[str, Any], *, living: bool) -> None:
    """A pod does until it has ended or is on its way out."""
    found = project_pod(told)
    assert found is not None
    assert (found.living, found.node, found.classes) == (living, "n", frozenset({"db"}))


@pytest.mark.parametrize("spec", [None, {}, {"secretObjects": None}, {"secretObjects": {}}, {"secretObjects": [7]}])
def test_a_class_of_any_shape(spec: Any) -> None:
    """What the CRD takes is never a defect of ours; odd annotations neither."""
    metadata = {"namespace": "shop", "name": "db", "uid": "u", "annotations": None}
    assert project_class({"metadata": metadata, "spec": spec}).objects == ()


def test_groups() -> None:
    """Members come, move and go; what was left is told with what was joined."""
    groups: Groups[str] = Groups()
    a, b = ("shop", "a"), ("shop", "b")

    assert groups.put("x", [a]) == {a}
    assert groups.put("x", [b]) == {a, b}
    assert (groups.of(a), groups.of(b)) == (set(), {"x"})
    assert groups.put("x", ()) == {b}
    assert groups.of(b) == set()


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("requested", "recent"),
    [
        (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW - 60)), True),
        (time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(NOW - 60)), True),
        (str(int(NOW - 60)), True),
        (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW - 3600)), False),
        ("", False),
        ("now", False),
        ("9" * 400, False),
    ],
)
def test_requests_from_before_our_time(requested: str, *, recent: bool) -> None:
    """Only those that nobody may have acted upon yet; what is no time is acted upon when it is seen to change."""
    assert _is_recent(requested, NOW) is recent
