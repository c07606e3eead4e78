"""Mirrors volumes into SecretProviderClassPodStatus, where `kubectl` and today's tools look for them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from keyferry.events import VolumePublished
from keyferry.kube import Json, Kube, object_path
from syncer.volumes import Name, pod_of

STATUSES = "/apis/secrets-store.csi.x-k8s.io/v1/secretproviderclasspodstatuses"
SECRETS_ANNOTATION = "keyferry.io/secrets"
NODE_LABEL = "internal.secrets-store.csi.k8s.io/node-name"
_LONGEST_NAME, _LONGEST_LABEL = 253, 63
_FIELD_MANAGER = "keyferry"
_PAGE = "200"


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
            "objects": [
                {"id": each.id, "version": each.version} for each in sorted(volume.versions, key=lambda each: each.id)
            ],
        },
    }


class PodStatuses:
    """The statuses, as this run has read or written them."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._known: dict[Name, Json] = {}
        self._of_pod: defaultdict[Name, set[Name]] = defaultdict(set)

    async def load(self) -> dict[Name, frozenset[str]]:
        """Read them all: what is as it should be is not written again.

        Returns:
            The Secrets that were noted with them, by class, by this run or one before it.

        Raises:
            KeyferryError: not now, or not at all.
        """
        known: dict[Name, Json] = {}
        noted: dict[Name, frozenset[str]] = {}
        query = {"limit": _PAGE}
        while True:
            page = await self._kube.get(STATUSES, query) or {}
            for told in page.get("items") or ():
                name, body = (told["metadata"]["namespace"], told["metadata"]["name"]), _relevant(told)
                known[name] = body
                made = frozenset(each for each in body["secrets"].split(",") if each)
                of_class = (name[0], str(body["status"].get("secretProviderClassName")))
                noted[of_class] = noted.get(of_class, frozenset()) | made
            more = (page.get("metadata") or {}).get("continue")
            if not more:
                break
            query["continue"] = more
        self._known = known
        return noted

    async def keep(self, pod: Name, volumes: Iterable[VolumePublished], made: Mapping[Name, frozenset[str]]) -> None:
        """Have the statuses of a pod be those of its volumes; nothing is written that is there already.

        Args:
            pod: A pod that is there. Those statuses of it that this run kept before and whose volumes are gone go too.
            volumes: All of its volumes.
            made: The Secrets of classes.

        Raises:
            KeyferryError: not now, or not at all.
        """
        kept = {volume.volume_id: volume for volume in volumes}
        named = {(pod[0], name): kept[volume_id] for volume_id, name in names(kept.values()).items()}
        for name, volume in named.items():
            await self._write(name, volume, made.get((pod[0], volume.secret_provider_class), frozenset()))
        for gone in self._of_pod.get(pod, set()) - named.keys():
            await self._remove(gone, pod)

    def forget(self, pod: Name) -> None:
        """A pod is gone, and its statuses are, or will be: the API server's collector sees to that."""
        for name in self._of_pod.pop(pod, ()):
            self._known.pop(name, None)

    async def _write(self, name: Name, volume: VolumePublished, secrets: frozenset[str]) -> None:
        body, path = manifest(name[1], volume, secrets), object_path(STATUSES, *name)
        if path is None:
            return
        self._of_pod[pod_of(volume)].add(name)
        if self._known.get(name) == _relevant(body):
            return
        query = {"fieldManager": _FIELD_MANAGER, "force": "true"}
        await self._kube.call("PATCH", path, query=query, body=body, content_type="application/apply-patch+yaml")
        self._known[name] = _relevant(body)

    async def _remove(self, name: Name, pod: Name) -> None:
        path = object_path(STATUSES, *name)
        if path is not None:
            await self._kube.call("DELETE", path)
        self._known.pop(name, None)
        self._of_pod[pod].discard(name)


def bounded(text: str, longest: int) -> str:
    """A name within its limit: the end of one that is too long gives way to a hash of the whole."""
    return text if len(text) <= longest else f"{text[: longest - 11].rstrip('-.')}-{_hash(text)}"


def _relevant(told: Json) -> dict[str, Any]:
    """What of a status must be as we would write it."""
    metadata = told["metadata"]
    return {
        "node": (metadata.get("labels") or {}).get(NODE_LABEL, ""),
        "secrets": str((metadata.get("annotations") or {}).get(SECRETS_ANNOTATION, "")),
        "owners": [owner.get("uid") for owner in metadata.get("ownerReferences") or ()],
        "status": told.get("status") or {},
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]
