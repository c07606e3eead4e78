"""The built-in resources, one row each."""

from keyferry.testing.kube import crds, defaults, secret_rules
from keyferry.testing.kube.catalog import READ_WRITE, Resource

_APPS, _STORAGE, _AUTHENTICATION, _EVENTS = "apps", "storage.k8s.io", "authentication.k8s.io", "events.k8s.io"

EVENT_NAMES = (
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
)
"""Fields of an events.k8s.io/v1 Event, and what core/v1 calls them."""

ROWS = (
    Resource(
        *("", "v1", "namespaces", "Namespace"),
        namespaced=False,
        short_names=("ns",),
        verbs=tuple(v for v in READ_WRITE if v != "deletecollection"),
        subresources=("status", "finalize"),
        prepare=defaults.prepare_namespace,
        admit=defaults.admit_namespace,
        returns_deleted=True,
    ),
    Resource(
        *("", "v1", "pods", "Pod"),
        short_names=("po",),
        categories=("all",),
        subresources=("status", "binding"),
        prepare=defaults.prepare_pod,
        admit=defaults.admit_pod,
        validate=defaults.validate_pod,
        returns_deleted=True,
    ),
    Resource("", "v1", "nodes", "Node", namespaced=False, short_names=("no",), subresources=("status",)),
    Resource(
        *("", "v1", "serviceaccounts", "ServiceAccount"),
        short_names=("sa",),
        subresources=("token",),
        returns_deleted=True,
    ),
    Resource(
        *("", "v1", "secrets", "Secret"),
        prepare=secret_rules.prepare_secret,
        validate=secret_rules.validate_secret,
    ),
    Resource(
        *("", "v1", "configmaps", "ConfigMap"),
        short_names=("cm",),
        validate=secret_rules.validate_config_map,
    ),
    Resource("", "v1", "events", "Event", short_names=("ev",), validate=defaults.validate_event),
    Resource(
        *(_EVENTS, "v1", "events", "Event"),
        short_names=("ev",),
        shared_storage="/events",
        renames=EVENT_NAMES,
        validate=defaults.validate_new_event,
    ),
    Resource(
        *(_APPS, "v1", "deployments", "Deployment"),
        short_names=("deploy",),
        categories=("all",),
        subresources=("status",),
        generation="spec",
        prepare=defaults.prepare_deployment,
        validate=defaults.validate_workload,
    ),
    *(
        Resource(
            *(_APPS, "v1", plural, kind),
            short_names=(short,),
            categories=("all",),
            subresources=("status",),
            generation="spec",
            prepare=defaults.workload(given),
            validate=defaults.validate_workload,
        )
        for plural, kind, short, given in (
            ("replicasets", "ReplicaSet", "rs", {"spec": {"replicas": 1}, "status": {"replicas": 0}}),
            ("statefulsets", "StatefulSet", "sts", {"spec": {"replicas": 1}, "status": {"replicas": 0}}),
            ("daemonsets", "DaemonSet", "ds", {"spec": {"revisionHistoryLimit": 10}}),
        )
    ),
    Resource(
        *(_STORAGE, "v1", "csidrivers", "CSIDriver"),
        namespaced=False,
        prepare=defaults.prepare_csi_driver,
        returns_deleted=True,
    ),
    Resource(_AUTHENTICATION, "v1", "tokenreviews", "TokenReview", namespaced=False, verbs=("create",)),
    Resource(
        *("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"),
        namespaced=False,
        short_names=("crd", "crds"),
        categories=("api-extensions",),
        subresources=("status",),
        generation="spec",
        prepare=crds.prepare,
        validate=crds.validate,
    ),
)
