"""Writes Secrets: by server-side apply, only on change, and never into what somebody else made.

We may not read Secrets. What must be known of one that is there already, a dry run of an apply without values tells:
who owns which of its fields (Kubernetes, "Server-Side Apply"). Its values are in that answer too; nobody looks at them.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from keyferry.kube import Json, Kube, Rejected, object_path
from syncer.cluster import Owner
from syncer.desired import MANAGED_LABEL, Desired, SyncRefused

FIELD_MANAGER = "keyferry"
SECRETS = "/api/v1/secrets"
_LOOK_MANAGER = "keyferry-look"  # an apply of ours without values would seem to give them up
_APPLY = "application/apply-patch+yaml"
_LABEL = f"f:{MANAGED_LABEL}"
_CONFLICT, _INVALID = 409, 422
_CONFLICT_SECONDS = 1.0
_BELIEVED_SECONDS = 300.0  # after which what we wrote is looked at again: others may have changed or deleted it


class Outcome(Enum):
    """What came of a write, as far as a person cares."""

    SAME = "same"
    CREATED = "created"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class _Written:
    digest: str
    owners: frozenset[Owner]
    at: float


@dataclass(frozen=True, slots=True)
class _Found:
    version: str
    uid: str
    ours: bool
    makers: tuple[str, ...]
    handed_over: bool


class Secrets:
    """The Secrets of the cluster that are ours, as far as this run has written them.

    Args:
        kube: The API server.
        clock: Seconds, monotonic.
    """

    def __init__(self, kube: Kube, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._clock = clock
        self._written: dict[tuple[str, str], _Written] = {}

    def knows(self, namespace: str, name: str) -> bool:
        """Whether this run has written it."""
        return (namespace, name) in self._written

    async def write(self, namespace: str, desired: Desired, owners: Sequence[Owner]) -> Outcome:
        """Have a Secret be as desired.

        Args:
            namespace: Its own.
            desired: What it should be.
            owners: With the last of whom it goes; the API server's collector sees to that.

        Returns:
            Whether it was made, or its type, labels, annotations or values changed; other owners alone are no change.

        Raises:
            SyncRefused: it cannot be; the text says what to change.
            AccessDenied, KubernetesUnavailable, Rejected: it may not be, or not now.
        """
        key, wanted = (namespace, desired.name), _Written(desired.digest(), frozenset(owners), self._clock())
        before = self._written.get(key)
        same = before is not None and (before.digest, before.owners) == (wanted.digest, wanted.owners)
        if before and same and wanted.at - before.at < _BELIEVED_SECONDS:
            return Outcome.SAME
        body = _manifest(namespace, desired, owners)
        found = await self._look(namespace, desired.name)
        if found is not None:
            _check_ours(found, desired.name)
            body["metadata"]["resourceVersion"] = found.version  # what was looked at is what is written to
        applied = await self._apply(namespace, desired.name, body)
        self._written[key] = wanted
        if found is None:
            return Outcome.CREATED
        untouched = applied["metadata"]["resourceVersion"] == found.version
        return Outcome.SAME if untouched or (before and before.digest == wanted.digest) else Outcome.CHANGED

    async def remove(self, namespace: str, name: str) -> bool:
        """Delete a Secret that is wanted no longer, if it is one of ours; there being none is no error.

        Returns:
            Whether one was deleted.

        Raises:
            AccessDenied, KubernetesUnavailable, Rejected: it may not be, or not now.
        """
        path = object_path(SECRETS, namespace, name)
        found = await self._look(namespace, name) if path else None
        deleted = False
        if path and found and found.ours:
            preconditions = {"uid": found.uid, "resourceVersion": found.version}
            deleted = await self._call("DELETE", path, body={"preconditions": preconditions}) is not None
        self.forget(namespace, name)
        return deleted

    def forget(self, namespace: str, name: str) -> None:
        """Look again, and write again, the next time."""
        self._written.pop((namespace, name), None)

    async def _look(self, namespace: str, name: str) -> _Found | None:
        """What there is under a name, without a look at its values."""
        # With our label, since an admission policy may let us make none without it, dry run or not.
        metadata: Json = {"name": name, "namespace": namespace, "labels": {MANAGED_LABEL: "true"}}
        body: Json = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
        path = _path(namespace, name)
        query = {"fieldManager": _LOOK_MANAGER, "force": "true", "dryRun": "All"}
        answer = await self._call("PATCH", path, query=query, body=body, content_type=_APPLY)
        if answer is None:
            raise SyncRefused(f"secret {name}: there is no namespace {namespace} any more")
        metadata = answer.get("metadata") or {}
        if not metadata.get("resourceVersion"):
            return None  # the dry run would have made it
        makers = {str(entry.get("manager")) for entry in _owning(metadata, "f:data")}
        labelling = {str(entry.get("manager")) for entry in _owning(metadata, "f:metadata", "f:labels", _LABEL)}
        return _Found(
            version=str(metadata["resourceVersion"]),
            uid=str(metadata.get("uid")),
            ours=FIELD_MANAGER in makers,
            makers=tuple(sorted(makers)),
            handed_over=bool(makers & labelling),
        )

    async def _apply(self, namespace: str, name: str, body: Json) -> Json:
        # Force: the fields of a Secret that upstream's driver made are still its own after a migration.
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        try:
            path = _path(namespace, name)
            found = await self._call("PATCH", path, query=query, body=body, content_type=_APPLY)
        except Rejected as error:
            if error.status == _CONFLICT:
                raise
            raise _explained(error, name) from None
        if found is None:
            raise SyncRefused(f"secret {name}: there is no namespace {namespace} any more")
        return found

    async def _call(self, method: str, path: str, **about: Any) -> Json | None:
        try:
            return await self._kube.call(method, path, **about)
        except Rejected as error:
            if error.status == _CONFLICT:
                error.retry_after = _CONFLICT_SECONDS  # it has changed since we looked
            raise


def _path(namespace: str, name: str) -> str:
    path = object_path(SECRETS, namespace, name)
    if path is None:
        raise SyncRefused(f"secret {name}: no object can have such a name")
    return path


def _check_ours(found: _Found, name: str) -> None:
    """A Secret is ours if we wrote values of it, or if those who did labelled it for our kind (a migration).

    Raises:
        SyncRefused: it is not.
    """
    if not found.ours and not found.handed_over:
        who = ", ".join(found.makers) or "somebody who gave it no values"
        raise SyncRefused(
            f"secret {name} is there already and was made by {who}: nothing is merged into it; "
            "delete it, or use another secretName"
        )


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


def _explained(error: Rejected, name: str) -> SyncRefused:
    if error.status == _INVALID and "type" in error.fields:
        return SyncRefused(
            f"secret {name} has another type, which cannot be changed: delete it, or use another secretName"
        )
    if error.status == _INVALID and {"data", "immutable"} & set(error.fields):
        return SyncRefused(f"secret {name} is immutable: delete it, so that it can be made anew")
    about = f" about {', '.join(error.fields)}" if error.fields else ""
    return SyncRefused(f"secret {name}: the API server answers {error.status} {error.cause}{about}")
