"""What the Kubernetes API says of pods, their volumes and what these need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from keyferry.cli.clock import parsed
from keyferry.cli.lacking import Lacking
from keyferry.kube import Json, Kube, object_path
from keyferry.resources import DRIVER_NAME, Pod

CLASSES = "/apis/secrets-store.csi.x-k8s.io/v1/secretproviderclasses"
_DRIVERS = "/apis/storage.k8s.io/v1/csidrivers"
_NODES = "/apis/storage.k8s.io/v1/csinodes"


@dataclass(frozen=True, slots=True)
class PodVolume:
    """A volume of ours in a pod's spec.

    Attributes:
        name: In the pod.
        volume_id: Kubelet's handle of it.
        secret_provider_class: Name of the class; empty if the pod names none.
        secret_ref: Name of its nodePublishSecretRef; empty without.
        attributes: volumeAttributes.
    """

    name: str
    volume_id: str
    secret_provider_class: str
    secret_ref: str
    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class PodSeen:
    """A pod, as far as its secrets go."""

    pod: Pod
    node: str
    phase: str
    is_leaving: bool
    volumes: tuple[PodVolume, ...]


@dataclass(frozen=True, slots=True)
class EventSeen:
    """An Event about a pod or a class; `at` is when it last happened, Unix seconds."""

    kind: str
    reason: str
    message: str
    count: int
    at: float


@dataclass(frozen=True, slots=True)
class ClassSeen:
    """A SecretProviderClass as written: its shape is checked by who looks at it."""

    namespace: str
    name: str
    provider: Any
    parameters: Any
    annotations: Mapping[str, Any] = field(default_factory=dict)

    def text(self, parameter: str) -> str:
        """A parameter; empty where it is missing or no text."""
        value = self.parameters.get(parameter) if isinstance(self.parameters, dict) else None
        return value if isinstance(value, str) else ""


def named(text: str, namespace: str) -> tuple[str, str]:
    """Namespace and name, out of ``name`` or ``namespace/name``."""
    before, slash, after = text.partition("/")
    return (before, after) if slash else (namespace, text)


async def read_pod(kube: Kube, namespace: str, name: str) -> PodSeen | None:
    """A pod; None if there is none.

    Raises:
        Lacking: no pod can have this name.
        KeyferryError: it cannot be told.
    """
    told = await kube.get(_path("/api/v1/pods", namespace, name))
    return seen(told) if told else None


def seen(told: Json) -> PodSeen:
    """A pod of the API as it is here."""
    metadata, spec = told["metadata"], told.get("spec", {})
    account = spec.get("serviceAccountName") or "default"
    pod = Pod(metadata["namespace"], metadata["name"], metadata["uid"], account)
    volumes = [
        _volume(pod, each) for each in spec.get("volumes", []) if (each.get("csi") or {}).get("driver") == DRIVER_NAME
    ]
    phase = told.get("status", {}).get("phase") or "Pending"
    return PodSeen(pod, spec.get("nodeName", ""), phase, "deletionTimestamp" in metadata, tuple(volumes))


def _volume(pod: Pod, told: Json) -> PodVolume:
    csi = told["csi"]
    attributes = csi.get("volumeAttributes") or {}
    # Kubelet's handle of an inline volume (pkg/volume/csi/csi_plugin.go, makeVolumeHandle).
    handle = sha256(f"{pod.uid}{told['name']}".encode()).hexdigest()
    return PodVolume(
        name=told["name"],
        volume_id=f"csi-{handle}",
        secret_provider_class=attributes.get("secretProviderClass", ""),
        secret_ref=(csi.get("nodePublishSecretRef") or {}).get("name", ""),
        attributes=dict(attributes),
    )


async def read_class(kube: Kube, namespace: str, name: str) -> ClassSeen | None:
    """A class; None if there is none, or can be none of this name.

    Raises:
        KeyferryError: it cannot be told.
    """
    path = object_path(CLASSES, namespace, name)
    told = await kube.get(path) if path else None
    if told is None:
        return None
    spec = told.get("spec") or {}
    annotations = told["metadata"].get("annotations") or {}
    return ClassSeen(namespace, name, spec.get("provider"), spec.get("parameters"), annotations)


async def read_driver(kube: Kube) -> Json | None:
    """Our CSIDriver object's spec; None if there is none. Errors as of `read_pod`."""
    told = await kube.get(_path(_DRIVERS, None, DRIVER_NAME))
    return told.get("spec", {}) if told else None


async def read_registered(kube: Kube, node: str) -> bool | None:
    """Whether our driver is registered with a node's kubelet; None if nothing is known of the node."""
    told = await kube.get(_path(_NODES, None, node))
    if told is None:
        return None
    return any(each.get("name") == DRIVER_NAME for each in told.get("spec", {}).get("drivers") or [])


async def read_annotations(kube: Kube, namespace: str, account: str) -> Mapping[str, str] | None:
    """A service account's annotations; None if there is no such account. Errors as of `read_pod`."""
    told = await kube.get(_path("/api/v1/serviceaccounts", namespace, account))
    return told["metadata"].get("annotations") or {} if told else None


async def read_events(kube: Kube, namespace: str, kind: str, name: str) -> list[EventSeen]:
    """Events about one object, the newest first. Errors as of `read_pod`."""
    _path("/api/v1/events", namespace, name)
    query = {"fieldSelector": f"involvedObject.kind={kind},involvedObject.name={name}"}
    told = await kube.get(f"/api/v1/namespaces/{namespace}/events", query) or {}
    found = [_event(each) for each in told.get("items", [])]
    return sorted(found, key=lambda event: -event.at)


def _event(told: Json) -> EventSeen:
    times = (told.get("lastTimestamp"), (told.get("series") or {}).get("lastObservedTime"), told.get("eventTime"))
    at = max(parsed(each or "") for each in (*times, told["metadata"].get("creationTimestamp")))
    return EventSeen(
        told.get("type", ""), told.get("reason", ""), told.get("message") or "", told.get("count") or 1, at
    )


def _path(list_path: str, namespace: str | None, name: str) -> str:
    path = object_path(list_path, namespace, name)
    if path is None:
        raise Lacking(f"no object of Kubernetes can be called {f'{namespace}/' if namespace else ''}{name}")
    return path
