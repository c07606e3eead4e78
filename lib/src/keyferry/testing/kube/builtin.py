"""The built-in resources, one row each."""

from keyferry.testing.kube import access, crds, defaults, event_rules, secret_rules
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
    Resource(
        "",
        "v1",
        "events",
        "Event",
        short_names=("ev",),
        admit=event_rules.admit_core,
        validate=event_rules.validate_core,
    ),
    Resource(
        *(_EVENTS, "v1", "events", "Event"),
        short_names=("ev",),
        shared_storage="/events",
        renames=EVENT_NAMES,
        admit=event_rules.admit_events,
        validate=event_rules.validate_events,
    ),
    *(
        Resource(
            *(_APPS, "v1", plural, kind),
            short_names=(short,),
            categories=("all",),
            subresources=("status",),
            generation="spec",
            prepare=defaults.workload(given),
            admit=defaults.admitting_status(status),
            validate=defaults.validate_workload,
        )
        for plural, kind, short, given, status in (
            ("deployments", "Deployment", "deploy", defaults.DEPLOYMENT, {}),
            ("replicasets", "ReplicaSet", "rs", defaults.REPLICA_SET, {"replicas": 0}),
            ("statefulsets", "StatefulSet", "sts", defaults.STATEFUL_SET, {"replicas": 0}),
            ("daemonsets", "DaemonSet", "ds", defaults.DAEMON_SET, defaults.DAEMON_SET_STATUS),
        )
    ),
    Resource(
        *(_STORAGE, "v1", "csidrivers", "CSIDriver"),
        namespaced=False,
        prepare=defaults.prepare_csi_driver,
        returns_deleted=True,
    ),
    Resource("coordination.k8s.io", "v1", "leases", "Lease"),
    Resource(_AUTHENTICATION, "v1", "tokenreviews", "TokenReview", namespaced=False, verbs=("create",)),
    Resource(
        *("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview"),
        namespaced=False,
        verbs=("create",),
    ),
    Resource(access.GROUP, "v1", "roles", "Role"),
    Resource(access.GROUP, "v1", "clusterroles", "ClusterRole", namespaced=False),
    Resource(access.GROUP, "v1", "rolebindings", "RoleBinding", prepare=access.prepare_binding),
    Resource(
        *(access.GROUP, "v1", "clusterrolebindings", "ClusterRoleBinding"),
        namespaced=False,
        prepare=access.prepare_binding,
    ),
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
