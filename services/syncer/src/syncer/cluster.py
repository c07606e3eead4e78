"""What the syncer keeps of the cluster: the classes, and those pods that mount any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keyferry.kube import Json
from keyferry.resources import DRIVER_NAME
from syncer.desired import SecretObject, read_secret_objects
from syncer.needs import NOTHING, POLICY, WHEN_NEEDED, Needs, needs

CLASSES = "/apis/secrets-store.csi.x-k8s.io/v1/secretproviderclasses"
PODS = "/api/v1/pods"
REFRESH_REQUESTED = "keyferry.io/refresh-requested-at"
_FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whoever an object goes with (Kubernetes, ownerReferences)."""

    api_version: str
    kind: str
    name: str
    uid: str

    def reference(self) -> Json:
        """As manifests have it."""
        return {"apiVersion": self.api_version, "kind": self.kind, "name": self.name, "uid": self.uid}


@dataclass(frozen=True, slots=True)
class MountingPod:
    """A pod with volumes of ours.

    Attributes:
        uid: Its own.
        node: Where it runs; empty while it runs nowhere.
        classes: Names of the classes that its volumes name.
        finished: Whether its containers have ended for good; its volumes stay mounted until it is deleted.
        leaving: Whether it is being deleted.
        needs: Where it reads secrets that do not change under it.
        owners: What made it; the pod itself where nothing did.
    """

    uid: str
    node: str
    classes: frozenset[str]
    finished: bool
    leaving: bool
    owners: tuple[Owner, ...]
    needs: Needs = NOTHING

    @property
    def living(self) -> bool:
        """Whether its volumes are of any use to it."""
        return not self.finished and not self.leaving


@dataclass(frozen=True, slots=True)
class SyncClass:
    """A SecretProviderClass as far as syncing needs it.

    Attributes:
        uid: Its own, for Events.
        created_at: RFC 3339; of two classes that ask for the same Secret, the older one has it.
        objects: Its ``secretObjects``.
        refresh_requested_at: Text of the annotation by which somebody asks for fresh secrets now.
        restarts: Whether workloads are to be rolled for secrets that their pods cannot see.
    """

    uid: str
    created_at: str
    objects: tuple[SecretObject, ...]
    refresh_requested_at: str
    restarts: bool = False


def project_class(told: Json) -> SyncClass:
    """A class; any shape that the CRD takes."""
    metadata = told["metadata"]
    annotations = _mapping(metadata.get("annotations"))
    requested = annotations.get(REFRESH_REQUESTED)
    objects = read_secret_objects(_mapping(told.get("spec")))
    return SyncClass(
        uid=str(metadata.get("uid", "")),
        created_at=str(metadata.get("creationTimestamp", "")),
        objects=objects,
        refresh_requested_at=requested if isinstance(requested, str) else "",
        restarts=annotations.get(POLICY) == WHEN_NEEDED,
    )


def project_pod(told: Json) -> MountingPod | None:
    """A pod that mounts a class; None for the others, which are most."""
    metadata, spec = told["metadata"], _mapping(told.get("spec"))
    csi = [_mapping(_mapping(volume).get("csi")) for volume in spec.get("volumes") or ()]
    ours = [_mapping(each.get("volumeAttributes")) for each in csi if each.get("driver") == DRIVER_NAME]
    if not ours:
        return None
    owners = tuple(
        Owner(str(owner["apiVersion"]), str(owner["kind"]), str(owner["name"]), str(owner["uid"]))
        for owner in metadata.get("ownerReferences") or ()
        # The kubelet's mirror of a static pod is owned by its Node: what goes with the node would stay for years.
        if owner.get("kind") != "Node"
    )
    uid = str(metadata["uid"])
    return MountingPod(
        uid=uid,
        node=str(spec.get("nodeName") or ""),
        classes=frozenset(str(each["secretProviderClass"]) for each in ours if each.get("secretProviderClass")),
        finished=_mapping(told.get("status")).get("phase") in _FINISHED,
        leaving=bool(metadata.get("deletionTimestamp")),
        owners=owners or (Owner("v1", "Pod", str(metadata["name"]), uid),),
        needs=needs(spec),
    )


def _mapping(told: Any) -> Mapping[str, Any]:
    return told if isinstance(told, dict) else {}
