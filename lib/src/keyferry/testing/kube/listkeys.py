"""Which lists and maps of the built-in kinds are merged item by item, and by which keys.

Source: the `x-kubernetes-list-type`, `-list-map-keys`, `-map-type` and `patchMergeKey` marks of k8s.io/api. Lists not
named here are atomic, as every list of our two CRDs is.
"""

from typing import Any, Literal

Json = dict[str, Any]
ListType = tuple[str, ...] | Literal["set", "atomic"]

_OWNED_BY_METADATA: dict[str, ListType] = {"ownerReferences": ("uid",), "finalizers": "set"}

_BUILT_IN: dict[str, ListType] = {
    "addresses": ("type",),
    "conditions": ("type",),
    "containerStatuses": "atomic",
    "containers": ("name",),
    "env": ("name",),
    "ephemeralContainers": ("name",),
    "hostAliases": ("ip",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "podCIDRs": "set",
    "podIPs": ("ip",),
    "ports": ("containerPort", "protocol"),
    "secrets": ("name",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "volumeDevices": ("devicePath",),
    "volumeLifecycleModes": "set",
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}

_ATOMIC_MAPS = frozenset(
    {
        "configMapKeyRef",
        "fieldRef",
        "involvedObject",
        "nodePublishSecretRef",
        "nodeSelector",
        "regarding",
        "related",
        "resourceFieldRef",
        "secretKeyRef",
        "secretRef",
        "selector",
    }
)

KEY_DEFAULTS = {"protocol": "TCP"}
"""What an item that leaves out a key is taken to say."""


def list_type(path: tuple[str, ...], *, custom: bool) -> ListType:
    """The merge keys of the list at `path` (field names only), or "set" or "atomic"."""
    if path[:1] == ("metadata",):
        return _OWNED_BY_METADATA.get(path[-1], "atomic")
    return "atomic" if custom else _BUILT_IN.get(path[-1], "atomic")


def map_is_atomic(path: tuple[str, ...], *, custom: bool) -> bool:
    """Whether the map at `path` is replaced whole."""
    return not custom and path[-1:] != () and path[-1] in _ATOMIC_MAPS


def key_of(item: Any, keys: tuple[str, ...]) -> Json:
    """The key fields of a list's item."""
    fields = item if isinstance(item, dict) else {}
    return {key: fields.get(key, KEY_DEFAULTS.get(key)) for key in keys if key in fields or key in KEY_DEFAULTS}
