"""Mirrors volumes into SecretProviderClassPodStatus, where `kubectl` and today's tools look for them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from keyferry.events import VolumePublished
from keyferry.kube import Json, Kube, object_path

STATUSES = "/apis/secrets-store.csi.x-k8s.io/v1/secretproviderclasspodstatuses"
SECRETS_ANNOTATION = "keyferry.io/secrets"
NODE_LABEL = "internal.secrets-store.csi.k8s.io/node-name"
_LONGEST_NAME, _LONGEST_LABEL = 253, 63
_FIELD_MANAGER = "keyferry"


def names(volumes: Iterable[VolumePublished]) -> dict[str, str]:
    """The name of each volume's status, by volume id: ``<pod>-<namespace>-<class>``, as upstream has it.

    Args:
        volumes: All volumes of one pod. Where two mount the same class, which upstream cannot tell apart, the first by
            its path has that name and the others have a suffix.
    """
    taken: dict[str, str] = {}
    for volume in sorted(volumes, key=lambda each: (each.target_path, each.volume_id)):
        plain = bounded(f"{volume.pod.name}-{volume.pod.namespace}-{volume.secret_provider_class}", _LONGEST_NAME)
        used = plain in taken.values()
        taken[volume.volume_id] = bounded(f"{plain}-{_hash(volume.target_path)}", _LONGEST_NAME) if used else plain
    return taken


def manifest(name: str, volume: VolumePublished, secrets: Iterable[str] = ()) -> Json:
    """The status of a volume.

    Args:
        name: From `names`.
        volume: What it mirrors.
        secrets: Names of the Secrets that its class makes, so that whoever comes after us knows which to remove.
    """
    pod = volume.pod
    made = ",".join(sorted(secrets))
    return {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClassPodStatus",
        "metadata": {
            "name": name,
            "namespace": pod.namespace,
            "labels": {NODE_LABEL: bounded(volume.node, _LONGEST_LABEL)},
            **({"annotations": {SECRETS_ANNOTATION: made}} if made else {}),
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid}],
        },
        "status": {
            "podName": pod.name,
            "secretProviderClassName": volume.secret_provider_class,
            "mounted": True,
            "targetPath": volume.target_path,
            "objects": [{"id": each.id, "version": each.version} for each in volume.versions],
        },
    }


class PodStatuses:
    """The statuses as far as this run has written them."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._written: dict[tuple[str, str], Json] = {}

    async def secrets(self, namespace: str, name: str) -> frozenset[str]:
        """The Secrets that were noted with a status, by us or by a replica before us.

        Raises:
            KeyferryError: it cannot be told now.
        """
        path = object_path(STATUSES, namespace, name)
        found = await self._kube.get(path) if path else None
        noted = ((found or {}).get("metadata") or {}).get("annotations") or {}
        return frozenset(each for each in str(noted.get(SECRETS_ANNOTATION, "")).split(",") if each)

    async def write(self, name: str, volume: VolumePublished, secrets: Iterable[str] = ()) -> None:
        """Have the status of a volume be what it is; nothing is written that was written before.

        Raises:
            KeyferryError: not now, or not at all.
        """
        key, body = (volume.pod.namespace, name), manifest(name, volume, secrets)
        path = object_path(STATUSES, *key)
        if path is None or self._written.get(key) == body:
            return
        query = {"fieldManager": _FIELD_MANAGER, "force": "true"}
        await self._kube.call("PATCH", path, query=query, body=body, content_type="application/apply-patch+yaml")
        self._written[key] = body

    async def remove(self, namespace: str, name: str) -> None:
        """Delete the status of a volume that is gone while its pod may be there; there being none is success."""
        path = object_path(STATUSES, namespace, name)
        if path is not None:
            await self._kube.call("DELETE", path)
        self._written.pop((namespace, name), None)

    def forget(self, namespace: str, name: str) -> None:
        """Its pod is gone, and so is the status, or will be."""
        self._written.pop((namespace, name), None)


def bounded(text: str, longest: int) -> str:
    """A name within its limit: the end of one that is too long gives way to a hash of the whole."""
    return text if len(text) <= longest else f"{text[: longest - 11].rstrip('-.')}-{_hash(text)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]
