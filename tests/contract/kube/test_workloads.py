"""Pods, workloads and CSIDrivers: what is particular about them."""

from typing import Any

import pytest

from .conftest import Api, pod_manifest


async def test_the_status_subresource_is_apart(api: Api, pod: dict[str, Any]) -> None:
    """A pod's status is written through /status alone, and its spec not through it."""
    path = "/api/v1/namespaces/{ns}/pods/app"
    plain = await api.merge(path, {"status": {"phase": "Running"}})
    status = await api.merge(f"{path}/status", {"status": {"phase": "Running"}, "spec": {"nodeName": "other"}})

    assert plain.body["status"]["phase"] == "Pending"
    assert status.body["status"]["phase"] == "Running"
    assert status.body["spec"]["nodeName"] == pod["spec"]["nodeName"]


@pytest.mark.usefixtures("pod")
async def test_a_running_pod_is_fixed(api: Api) -> None:
    """Most of a pod's spec cannot change."""
    answer = await api.merge("/api/v1/namespaces/{ns}/pods/app", {"spec": {"nodeName": "other"}})

    assert answer.status == 422
    assert "pod updates may not change fields other than" in answer.message


async def test_a_pod_needs_its_service_account(api: Api) -> None:
    """Admission refuses a pod of an account that is not there."""
    answer = await api.call("POST", "/api/v1/namespaces/{ns}/pods", pod_manifest("p", serviceAccountName="none"))

    assert (answer.status, answer.reason) == (403, "Forbidden")
    assert 'pods "p" is forbidden: error looking up service account' in answer.message
    assert 'serviceaccount "none" not found' in answer.message


async def test_a_pod_gets_defaults(pod: dict[str, Any]) -> None:
    """What a manifest leaves out is filled in."""
    spec, container = pod["spec"], pod["spec"]["containers"][0]

    assert (spec["serviceAccountName"], spec["restartPolicy"], spec["dnsPolicy"]) == (
        "default",
        "Always",
        "ClusterFirst",
    )
    assert (container["imagePullPolicy"], container["resources"]) == ("IfNotPresent", {})
    assert (pod["status"]["phase"], pod["status"]["qosClass"]) == ("Pending", "BestEffort")


async def test_a_pod_is_bound_to_a_node_once(api: Api, node: dict[str, Any]) -> None:
    """The scheduler's call sets the node; a second one fails."""
    await api.make("/api/v1/namespaces/{ns}/pods", pod_manifest("p"))
    target = {"apiVersion": "v1", "kind": "Node", "name": node["metadata"]["name"]}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": target}

    first = await api.call("POST", "/api/v1/namespaces/{ns}/pods/p/binding", binding)
    second = await api.call("POST", "/api/v1/namespaces/{ns}/pods/p/binding", binding)

    assert (first.status, second.status) == (201, 409)
    assert (await api.read("/api/v1/namespaces/{ns}/pods/p"))["spec"]["nodeName"] == node["metadata"]["name"]


WORKLOADS = ["deployments", "replicasets", "statefulsets", "daemonsets"]


@pytest.mark.parametrize("plural", WORKLOADS)
async def test_workloads_have_generations_and_defaults(api: Api, plural: str) -> None:
    """A workload is stored with its template defaulted, and its selector must match."""
    path = f"/apis/apps/v1/namespaces/{{ns}}/{plural}"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod_manifest("x", nodeSelector={"no": "node"})["spec"]}
    spec: dict[str, Any] = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    made = await api.make(path, {"metadata": {"name": "w"}, "spec": spec | _service(plural)})
    wrong = spec | _service(plural) | {"selector": {"matchLabels": {"a": "c"}}}
    refused = await api.call("POST", path, {"metadata": {"name": "w2"}, "spec": wrong})

    assert made["metadata"]["generation"] == 1
    assert made["spec"]["template"]["spec"]["restartPolicy"] == "Always"
    assert refused.status == 422
    assert "`selector` does not match template `labels`" in refused.message


def _service(plural: str) -> dict[str, str]:
    return {"serviceName": "s"} if plural == "statefulsets" else {}


async def test_a_csi_driver_gets_defaults(api: Api) -> None:
    """AttachRequired is true unless said otherwise."""
    name = f"driver.{api.namespace}"
    path = "/apis/storage.k8s.io/v1/csidrivers"
    made = await api.make(path, {"metadata": {"name": name}, "spec": {"volumeLifecycleModes": ["Ephemeral"]}})
    deleted = await api.call("DELETE", f"{path}/{name}")

    assert made["spec"]["attachRequired"] is True
    assert made["spec"]["podInfoOnMount"] is False
    assert deleted.body["kind"] == "CSIDriver"
