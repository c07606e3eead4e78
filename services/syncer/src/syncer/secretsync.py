"""SecretSync objects (secret-sync.x-k8s.io/v1alpha1): what they ask for, and what their status says. Pure.

Names, conditions and reasons are those of kubernetes-sigs/secrets-store-sync-controller.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from keyferry.errors import AccessDenied, InvalidSecretProviderClass, KeyferryError, SecretProviderClassNotFound
from keyferry.kube import Json, Rejected
from syncer.cluster import Owner
from syncer.desired import Desired, SecretObject, SyncRefused

GROUP = "secret-sync.x-k8s.io/v1alpha1"
SECRET_SYNCS = f"/apis/{GROUP}/secretsyncs"
CREATED, UPDATED = "SecretCreated", "SecretUpdated"
TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"
_CONTROLLERS = ("", "keyferry")
_ROUNDS = 100_000


class Stage(Enum):
    """Where on its way a sync has failed."""

    IDENTITY = "identity"
    FETCH = "fetch"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class SecretSync:
    """One that is ours to keep.

    Attributes:
        uid: Its own.
        generation: Of its spec.
        class_name: Which class.
        account: Which service account, in its namespace.
        force: Any other text than before forces a fetch.
        wanted: The Secret, which has its name.
    """

    uid: str
    generation: int
    class_name: str
    account: str
    force: str
    wanted: SecretObject

    def owner(self) -> Owner:
        """As the owner of its Secret."""
        return Owner(GROUP, "SecretSync", self.wanted.name, self.uid)


def project_secret_sync(told: Json) -> SecretSync | None:
    """One that is ours; None for those of other controllers and those that are being deleted."""
    metadata, spec = told["metadata"], told.get("spec") or {}
    wanted = spec.get("secretObject") or {}
    if metadata.get("deletionTimestamp") or spec.get("secretSyncControllerName", "") not in _CONTROLLERS:
        return None
    return SecretSync(
        uid=str(metadata["uid"]),
        generation=int(metadata.get("generation") or 0),
        class_name=str(spec.get("secretProviderClassName", "")),
        account=str(spec.get("serviceAccountName", "")),
        force=str(spec.get("forceSynchronization", "")),
        wanted=SecretObject(
            place="secretObject",
            name=str(metadata["name"]),
            type=str(wanted.get("type") or "Opaque"),
            labels=dict(wanted.get("labels") or {}),
            annotations=dict(wanted.get("annotations") or {}),
            data=tuple((str(each["sourcePath"]), str(each["targetKey"])) for each in wanted.get("data") or ()),
        ),
    )


def reason_of(error: Exception, stage: Stage) -> str:
    """Upstream's reason for a failure."""
    if isinstance(error, SecretProviderClassNotFound | InvalidSecretProviderClass):
        return "SecretProviderClassMisconfigured"
    if stage is Stage.FETCH:
        backend = isinstance(error, KeyferryError) and error.provider
        return "RemoteSecretStoreFetchFailed" if backend else "ProviderError"
    if stage is Stage.WRITE:
        text = str(error)
        if "metadata.labels" in text:
            return "InvalidClusterSecretLabelError"
        if "metadata.annotations" in text:
            return "InvalidClusterSecretAnnotationError"
        if isinstance(error, SyncRefused | AccessDenied | Rejected):
            return "ControllerPatchError"
    return "ControllerSyncError"


def starting() -> dict[str, tuple[str, str, str]]:
    """What is said before the first try."""
    return {
        CREATED: (UNKNOWN, "SyncStarting", "the secrets are being fetched for the first time"),
        UPDATED: (UNKNOWN, "NoUpdatesAttemptedYet", "the Secret has not been made yet"),
    }


def succeeded(before: Sequence[Json]) -> dict[str, tuple[str, str, str]]:
    """What is said of a Secret that is as it should be."""
    made = (TRUE, "CreateSuccessful", "the Secret has been made")
    if not is_created(before):
        return {CREATED: made, UPDATED: (UNKNOWN, "NoUpdatesAttemptedYet", "the Secret has just been made")}
    return {CREATED: made, UPDATED: (TRUE, "SecretUpToDate", "the Secret is as the backend has it")}


def failed(before: Sequence[Json], reason: str, message: str) -> dict[str, tuple[str, str, str]]:
    """What is said of a Secret that could not be made or brought up to date."""
    if is_created(before):
        return {UPDATED: (FALSE, reason, message)}
    return {CREATED: (FALSE, reason, message)}


def is_created(conditions: Sequence[Json]) -> bool:
    """Whether the Secret has been made at some time."""
    return any(each.get("type") == CREATED and each.get("status") == TRUE for each in conditions)


def merged(
    before: Sequence[Json], said: Mapping[str, tuple[str, str, str]], *, generation: int, now: str
) -> list[Json]:
    """The conditions with what is said now; one whose status is as before keeps the time of its transition."""
    known = {str(each.get("type")): each for each in before}
    for kind, (status, reason, message) in said.items():
        was: Mapping[str, Any] = known.get(kind, {})
        known[kind] = {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "observedGeneration": generation,
            "lastTransitionTime": was["lastTransitionTime"] if was.get("status") == status else now,
        }
    return [known[kind] for kind in sorted(known)]


def sync_hash(desired: Desired, uid: str) -> str:
    """What stands for a Secret in the status: slow on purpose (some 50 ms), since everybody may read it."""
    hashed = hashlib.pbkdf2_hmac("sha512", desired.digest().encode(), uid.encode(), _ROUNDS)
    return f"v1:{hashed.hex()}"
