"""What is changed in the chart's manifests, so that a cluster of kube-up takes them: all of it, each with its reason.

The cluster is Kubernetes 1.20 where the chart asks for 1.30, and it has neither kube-proxy nor DNS. Nothing that says
what a pod may do is touched: security contexts, service accounts, roles, volumes and mounts are the chart's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

RELEASE, NAMESPACE = "csi-secrets-store", "kube-system"
API_NAME = "kubernetes.default.svc"
STORAGE_CLASS = "local"
_ANY_VERSION = {"name": "KEYFERRY_REDIS_ANY_VERSION", "value": "true"}


@dataclass(frozen=True)
class Place:
    """Where the cluster's things are for pods.

    Attributes:
        host: The node's address on the pods' network, where `keyferry.testing.kube.endpoints` answers for Services.
        api_port: The API server's there.
        kubelet_root: What is /var/lib/kubelet elsewhere.
    """

    host: str
    api_port: int
    kubelet_root: str


def values(place: Place) -> Json:
    """What this cluster needs that the chart has a value for."""
    return {
        # ValidatingAdmissionPolicy is of 1.30.
        "admissionPolicies": {"enabled": False},
        # The cluster's kubelet has a folder of its own.
        "linux": {"kubeletRootDir": place.kubelet_root},
        # There is one node, and without DNS the servers of a NATS cluster do not find each other.
        "nats": {"replicas": 1, "persistence": {"storageClassName": STORAGE_CLASS}},
        # Debian's Valkey, which has TLS, is mended under its old version.
        "fetcher": {"env": [_ANY_VERSION]},
        "rotator": {"env": [_ANY_VERSION]},
    }


def _disruption_budgets(each: Json, _: Place) -> None:
    """policy/v1 is of 1.21, and unhealthyPodEvictionPolicy of 1.26."""
    if each["kind"] == "PodDisruptionBudget":
        each["apiVersion"] = "policy/v1beta1"
        each["spec"].pop("unhealthyPodEvictionPolicy")


def _cron_jobs(each: Json, _: Place) -> None:
    """batch/v1 has no CronJob before 1.21."""
    if each["kind"] == "CronJob":
        each["apiVersion"] = "batch/v1beta1"


def _names(each: Json, place: Place) -> None:
    """There is no DNS: names of Services, as the chart writes them, are in each pod's hosts file."""
    if (pod := pod_of(each)) is not None:
        services = [f"{RELEASE}-{name}.{NAMESPACE}.svc" for name in ("nats", "valkey")]
        pod["hostAliases"] = [{"ip": place.host, "hostnames": [*services, API_NAME]}]


def _api_server(each: Json, place: Place) -> None:
    """There is no kube-proxy: the variables that kubelet sets name an address that does not answer."""
    for container in (pod_of(each) or {}).get("containers", []):
        found = {"KUBERNETES_SERVICE_HOST": API_NAME, "KUBERNETES_SERVICE_PORT": str(place.api_port)}
        container["env"] = [
            *container.get("env", []),
            *({"name": name, "value": value} for name, value in found.items()),
        ]


def _protocols(each: Json, _: Place) -> None:
    """Helm applies on the server's side, which knows the protocol's default in a port's key since 1.21."""
    if each["kind"] == "Service":
        for port in each["spec"]["ports"]:
            port.setdefault("protocol", "TCP")


def _empty_defaults(each: Json, _: Place) -> None:
    """A 1.20 built with a Go newer than its own, as kube-assets builds it, takes an empty default for null."""
    if each["kind"] == "CustomResourceDefinition":
        _drop_empty_defaults(each)


def _drop_empty_defaults(node: Any) -> None:
    if isinstance(node, dict):
        if node.get("default") == "":
            del node["default"]
        for below in node.values():
            _drop_empty_defaults(below)
    elif isinstance(node, list):
        for below in node:
            _drop_empty_defaults(below)


PATCHES: tuple[Callable[[Json, Place], None], ...] = (
    _disruption_budgets,
    _cron_jobs,
    _names,
    _api_server,
    _protocols,
    _empty_defaults,
)


def fit(objects: list[Json], place: Place) -> None:
    """Change the chart's objects for this cluster."""
    for each in objects:
        for patch in PATCHES:
            patch(each, place)


def pod_of(each: Json) -> Json | None:
    """The pod specification of what makes pods, now or by Jobs."""
    maker = each.get("spec", {})
    spec: Json | None = maker.get("jobTemplate", {}).get("spec", maker).get("template", {}).get("spec")
    return spec
