"""Writes Secrets: by server-side apply, only on change, and never into what somebody else made.

We may not read Secrets. What must be known of one that is there already, a dry run of the same apply tells: who owns
which of its fields (Kubernetes, "Server-Side Apply"). Its values are in that answer too, and are not looked at.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from keyferry.kube import Json, Kube, Rejected, object_path
from syncer.cluster import Owner
from syncer.desired import MANAGED_LABEL, Desired, SyncRefused

FIELD_MANAGER = "keyferry"
SECRETS = "/api/v1/secrets"
_CONFLICT, _INVALID = 409, 422


@dataclass(frozen=True, slots=True)
class _Written:
    digest: str
    owners: frozenset[Owner]


class Secrets:
    """The Secrets of the cluster that are ours, as far as this run has written them."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._written: dict[tuple[str, str], _Written] = {}

    async def write(self, namespace: str, desired: Desired, owners: Sequence[Owner]) -> bool:
        """Have a Secret be as desired.

        Args:
            namespace: Its own.
            desired: What it should be.
            owners: With the last of whom it goes; the API server's collector sees to that.

        Returns:
            Whether its type, labels, annotations or values are others than this run has written before.

        Raises:
            SyncRefused: it cannot be; the text says what to change.
            AccessDenied, KubernetesUnavailable: it may not be, or not now.
        """
        key, wanted = (namespace, desired.name), _Written(desired.digest(), frozenset(owners))
        before = self._written.get(key)
        if before == wanted:
            return False
        path = object_path(SECRETS, namespace, desired.name)
        if path is None:
            raise SyncRefused(f"secret {desired.name}: no object can have such a name")
        body = _manifest(namespace, desired, owners)
        if before is None:
            version = await self._look(path, body, desired.name)
            if version:  # what was looked at is what is written to
                body["metadata"]["resourceVersion"] = version
        await self._apply(path, body, desired.name)
        self._written[key] = wanted
        return before is None or before.digest != wanted.digest

    async def remove(self, namespace: str, name: str) -> None:
        """Delete a Secret that a class asks for no longer, if it is one of ours; there being none is success."""
        path = object_path(SECRETS, namespace, name)
        if path is None:
            return
        about = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}}
        # In another's name: an apply of ours without values would seem to give them up.
        query = {**_query(dry_run=True), "fieldManager": f"{FIELD_MANAGER}-look"}
        found = await self._kube.call("PATCH", path, query=query, body=about, content_type=_APPLY)
        metadata = (found or {}).get("metadata") or {}
        ours = FIELD_MANAGER in {entry.get("manager") for entry in _owning(metadata, "f:data")}
        if ours and metadata.get("resourceVersion"):
            preconditions = {"uid": metadata["uid"]}
            await self._kube.call("DELETE", path, body={"preconditions": preconditions})
        self.forget(namespace, name)

    def forget(self, namespace: str, name: str) -> None:
        """Look again, and write again, the next time."""
        self._written.pop((namespace, name), None)

    def forget_all(self) -> None:
        """As `forget`, of all: somebody may have changed or deleted what we wrote."""
        self._written.clear()

    async def _look(self, path: str, body: Json, name: str) -> str:
        """The version of the Secret that is there; empty if there is none.

        Raises:
            SyncRefused: it is not ours.
        """
        found = await self._apply(path, body, name, dry_run=True)
        metadata = found.get("metadata") or {}
        if not metadata.get("resourceVersion"):
            return ""
        others = sorted({str(e.get("manager")) for e in _owning(metadata, "f:data") if e["manager"] != FIELD_MANAGER})
        labelling = {str(entry.get("manager")) for entry in _owning(metadata, "f:metadata", "f:labels", _LABEL)}
        if others and not labelling & set(others):
            raise SyncRefused(
                f"secret {name} is there already and was made by {', '.join(others)}: nothing is merged into it; "
                "delete it, or use another secretName"
            )
        return str(metadata["resourceVersion"])

    async def _apply(self, path: str, body: Json, name: str, *, dry_run: bool = False) -> Json:
        try:
            found = await self._kube.call("PATCH", path, query=_query(dry_run=dry_run), body=body, content_type=_APPLY)
        except Rejected as error:
            self._written.pop((body["metadata"]["namespace"], name), None)
            raise _explained(error, name) from None
        if found is None:
            raise SyncRefused(f"secret {name}: there is no namespace {body['metadata']['namespace']} any more")
        return found


_APPLY = "application/apply-patch+yaml"
_LABEL = f"f:{MANAGED_LABEL}"


def _query(*, dry_run: bool) -> dict[str, str]:
    # Force: the fields of a Secret that upstream's driver made are still its own after a migration.
    return {"fieldManager": FIELD_MANAGER, "force": "true", **({"dryRun": "All"} if dry_run else {})}


def _manifest(namespace: str, desired: Desired, owners: Sequence[Owner]) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": desired.name,
            "namespace": namespace,
            "labels": dict(desired.labels),
            "annotations": dict(desired.annotations),
            "ownerReferences": [owner.reference() for owner in sorted(owners, key=lambda owner: owner.uid)],
        },
        "type": desired.type,
        "data": {key: base64.b64encode(value).decode() for key, value in desired.data.items()},
    }


def _owning(metadata: Json, *path: str) -> Iterator[dict[str, Any]]:
    """The entries of managedFields that own something below a field."""
    for entry in metadata.get("managedFields") or ():
        fields = entry.get("fieldsV1")
        for step in path:
            fields = fields.get(step) if isinstance(fields, dict) else None
        if fields is not None:
            yield entry


def _explained(error: Rejected, name: str) -> Exception:
    if error.status == _CONFLICT:
        return error
    if error.status == _INVALID and "type" in error.fields:
        return SyncRefused(
            f"secret {name} has another type, which cannot be changed: delete it, or use another secretName"
        )
    if error.status == _INVALID and {"data", "immutable"} & set(error.fields):
        return SyncRefused(f"secret {name} is immutable: delete it, so that it can be made anew")
    about = f" about {', '.join(error.fields)}" if error.fields else ""
    return SyncRefused(f"secret {name}: the API server answers {error.status} {error.cause}{about}")
