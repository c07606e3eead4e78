"""What the syncer keeps of the cluster: the classes, and those pods that mount any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keyferry.kube import Json
from keyferry.resources import DRIVER_NAME
from syncer.desired import SecretObject, read_secret_objects

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
        service_account: Its account.
        finished: Whether its containers have ended for good; its volumes stay mounted until it is deleted.
        leaving: Whether it is being deleted.
        owners: What made it; the pod itself where nothing did.
    """

    uid: str
    service_account: str
    finished: bool
    leaving: bool
    owners: tuple[Owner, ...]


@dataclass(frozen=True, slots=True)
class SyncClass:
    """A SecretProviderClass as far as syncing needs it.

    Attributes:
        uid: Its own, for Events.
        objects: Its ``secretObjects``.
        refresh_requested_at: Text of the annotation by which somebody asks for fresh secrets now.
    """

    uid: str
    objects: tuple[SecretObject, ...]
    refresh_requested_at: str


def project_class(told: Json) -> SyncClass:
    """A class; any shape that the CRD takes."""
    metadata = told["metadata"]
    requested = _mapping(metadata.get("annotations")).get(REFRESH_REQUESTED)
    objects = read_secret_objects(_mapping(told.get("spec")))
    return SyncClass(str(metadata.get("uid", "")), objects, requested if isinstance(requested, str) else "")


def project_pod(told: Json) -> MountingPod | None:
    """A pod that mounts a class; None for the others, which are most."""
    metadata, spec = told["metadata"], _mapping(told.get("spec"))
    volumes = spec.get("volumes") or ()
    if not any(_mapping(_mapping(volume).get("csi")).get("driver") == DRIVER_NAME for volume in volumes):
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
        service_account=str(spec.get("serviceAccountName") or "default"),
        finished=_mapping(told.get("status")).get("phase") in _FINISHED,
        leaving=bool(metadata.get("deletionTimestamp")),
        owners=owners or (Owner("v1", "Pod", str(metadata["name"]), uid),),
    )


def _mapping(told: Any) -> Mapping[str, Any]:
    return told if isinstance(told, dict) else {}
