"""What the API server fills into built-in kinds, and the few rules on them that our services could break.

Source: kubernetes `pkg/apis/*/v1/defaults.go` and `validation.go`. Only what is named here is checked: a manifest with
a misspelt field is stored as it stands, where a real server drops the field.
"""

import copy
from collections.abc import Callable
from typing import Any

from keyferry.testing.kube.status import FieldError, forbidden_value, invalid_value, required

Json = dict[str, Any]
Prepare = Callable[[Json, Json | None], None]

_POD_SPEC: Json = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "securityContext": {},
    "schedulerName": "default-scheduler",
}
_CONTAINER: Json = {
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
_SURGE = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
_ROLLING = {"type": "RollingUpdate"}
_KEPT = 10  # old revisions

DEPLOYMENT: Json = {"replicas": 1, "strategy": _SURGE, "revisionHistoryLimit": _KEPT, "progressDeadlineSeconds": 600}
REPLICA_SET: Json = {"replicas": 1}
STATEFUL_SET: Json = {
    "replicas": 1,
    "podManagementPolicy": "OrderedReady",
    "revisionHistoryLimit": _KEPT,
    "updateStrategy": _ROLLING | {"rollingUpdate": {"partition": 0}},
}
DAEMON_SET: Json = {
    "revisionHistoryLimit": _KEPT,
    "updateStrategy": _ROLLING | {"rollingUpdate": {"maxUnavailable": 1}},
}
DAEMON_SET_STATUS = dict.fromkeys(
    ("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady"), 0
)
_CSI_DRIVER: Json = {
    "spec": {
        "attachRequired": True,
        "podInfoOnMount": False,
        "volumeLifecycleModes": ["Persistent"],
        "requiresRepublish": False,
        "storageCapacity": False,
        "fsGroupPolicy": "ReadWriteOnceWithFSType",
    }
}


def fill(item: Json, defaults: Json) -> None:
    """Sets what is missing, in place, level by level."""
    for name, value in defaults.items():
        if item.get(name) is None:
            item[name] = copy.deepcopy(value)
        elif isinstance(value, dict) and isinstance(item[name], dict):
            fill(item[name], value)


def filling(defaults: Json) -> Prepare:
    """A `prepare` that does no more than fill in."""
    return lambda new, _old: fill(new, defaults)


prepare_csi_driver = filling(_CSI_DRIVER)


def prepare_namespace(new: Json, _old: Json | None) -> None:
    """A namespace is Active and labelled with its own name."""
    fill(new, {"status": {"phase": "Active"}})
    labels = new["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = new["metadata"].get("name", "")


def admit_namespace(new: Json, old: Json | None) -> None:
    """A namespace is held by the namespace controller until it is empty."""
    if old is None:
        new["spec"] = {"finalizers": ["kubernetes"]}
        new["status"] = {"phase": "Active"}


def prepare_pod(new: Json, _old: Json | None) -> None:
    """A pod's spec has a value for nearly everything."""
    fill(new, {"spec": {"enableServiceLinks": True}})
    _fill_pod_spec(new["spec"])
    status = new.get("status") or {}
    if status.get("podIP") and "podIPs" not in status:
        status["podIPs"] = [{"ip": status["podIP"]}]


def admit_pod(new: Json, old: Json | None) -> None:
    """A new pod gets a service account, a priority and tolerations, and is Pending."""
    if old is not None:
        return
    spec = new["spec"]
    fill(spec, {"serviceAccountName": "default", "priority": 0, "preemptionPolicy": "PreemptLowerPriority"})
    spec["serviceAccount"] = spec["serviceAccountName"]
    tolerations = spec.setdefault("tolerations", [])
    given = {toleration.get("key") for toleration in tolerations}
    tolerations += [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
        if key not in given
    ]
    new["status"] = {"phase": "Pending", "qosClass": "BestEffort"}


def _fill_pod_spec(spec: Json) -> None:
    fill(spec, _POD_SPEC)
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        fill(container, _CONTAINER)
        tag = str(container.get("image", "")).rpartition("/")[2].rpartition(":")
        fill(container, {"imagePullPolicy": "Always" if not tag[1] or tag[2] == "latest" else "IfNotPresent"})


def workload(spec: Json) -> Prepare:
    """A `prepare` for kinds with a pod template, given the defaults of their spec."""

    def prepare(new: Json, _old: Json | None) -> None:
        fill(new, {"spec": spec | {"template": {"metadata": {}, "spec": {}}}})
        for name in ("strategy", "updateStrategy"):
            if new["spec"].get(name, {}).get("type") not in {None, "RollingUpdate"}:
                new["spec"][name].pop("rollingUpdate", None)
        _fill_pod_spec(new["spec"]["template"]["spec"])

    return prepare


def admitting_status(status: Json) -> Prepare:
    """An `admit` that gives a new object its first status."""

    def admit(new: Json, old: Json | None) -> None:
        if old is None:
            new["status"] = dict(status)

    return admit


_MUTABLE_POD_FIELDS = frozenset({"containers", "initContainers", "activeDeadlineSeconds", "tolerations"})
_POD_RULE = (
    "pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, "
    "`spec.activeDeadlineSeconds` or `spec.tolerations` (only additions to existing tolerations)"
)


def validate_pod(new: Json, old: Json | None) -> list[FieldError]:
    """A pod has containers with a name and an image; once made, little of its spec may change."""
    containers = new["spec"].get("containers") or []
    found = [] if containers else [required("spec.containers")]
    for index, container in enumerate(containers):
        found += [required(f"spec.containers[{index}].{f}") for f in ("name", "image") if not container.get(f)]
    if old is not None and _frozen(new["spec"]) != _frozen(old["spec"]):
        found.append(forbidden_value("spec", _POD_RULE))
    return found


def _frozen(spec: Json) -> Json:
    fixed = {name: value for name, value in spec.items() if name not in _MUTABLE_POD_FIELDS}
    for kind in ("containers", "initContainers"):
        fixed[kind] = [{k: v for k, v in c.items() if k != "image"} for c in spec.get(kind) or []]
    return fixed


def validate_workload(new: Json, old: Json | None) -> list[FieldError]:
    """A workload selects its own pods, and goes on selecting the same ones."""
    spec = new["spec"]
    selector, labels = spec.get("selector"), spec["template"]["metadata"].get("labels") or {}
    found = [] if selector else [required("spec.selector")]
    wanted = (selector or {}).get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        detail = "`selector` does not match template `labels`"
        found.append(invalid_value("spec.template.metadata.labels", labels, detail))
    if old is not None and selector != old["spec"].get("selector"):
        found.append(invalid_value("spec.selector", selector, "field is immutable"))
    return found
