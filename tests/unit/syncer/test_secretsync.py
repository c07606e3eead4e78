from __future__ import annotations

from typing import Any

import pytest

from keyferry.errors import (
    AccessDenied,
    BusUnavailable,
    InvalidSecretProviderClass,
    KubernetesUnavailable,
    ProviderUnavailable,
    SecretProviderClassNotFound,
)
from syncer.desired import Desired, SyncRefused
from syncer.secretsync import (
    Stage,
    failed,
    merged,
    project_secret_sync,
    reason_of,
    starting,
    succeeded,
    sync_hash,
)


def told(**about: Any) -> dict[str, Any]:
    spec = {
        "secretProviderClassName": "db",
        "serviceAccountName": "app",
        "secretObject": {"data": [{"sourcePath": "a/pw", "targetKey": "password"}]},
    }
    metadata = {"namespace": "shop", "name": "web", "uid": "u", "generation": 3}
    return {"metadata": {**metadata, **about.get("metadata", {})}, "spec": {**spec, **about.get("spec", {})}}


def test_what_it_asks_for() -> None:
    """A Secret of its own name, Opaque unless it says otherwise, which it owns."""
    found = project_secret_sync(told())

    assert found is not None
    assert (found.class_name, found.account, found.generation) == ("db", "app", 3)
    assert (found.wanted.name, found.wanted.type, found.wanted.data) == ("web", "Opaque", (("a/pw", "password"),))
    assert found.owner().reference() == {
        "apiVersion": "secret-sync.x-k8s.io/v1alpha1",
        "kind": "SecretSync",
        "name": "web",
        "uid": "u",
    }


@pytest.mark.parametrize(
    "other",
    [
        told(spec={"secretSyncControllerName": "another"}),
        told(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
    ],
)
def test_those_that_are_not_ours(other: dict[str, Any]) -> None:
    """Other controllers' and such as are being deleted are left alone."""
    assert project_secret_sync(other) is None


def from_backend() -> AccessDenied:
    error = AccessDenied("no")
    error.provider = "vault"
    return error


@pytest.mark.parametrize(
    ("error", "stage", "reason"),
    [
        (SecretProviderClassNotFound.named("shop", "db"), Stage.FETCH, "SecretProviderClassMisconfigured"),
        (InvalidSecretProviderClass("x"), Stage.FETCH, "SecretProviderClassMisconfigured"),
        (from_backend(), Stage.FETCH, "RemoteSecretStoreFetchFailed"),
        (BusUnavailable("x"), Stage.FETCH, "ProviderError"),
        (ProviderUnavailable("x"), Stage.FETCH, "ProviderError"),
        (AccessDenied("x"), Stage.IDENTITY, "ControllerSyncError"),
        (SyncRefused("x"), Stage.IDENTITY, "ControllerSyncError"),
        (SyncRefused("x"), Stage.WRITE, "ControllerPatchError"),
        (AccessDenied("x"), Stage.WRITE, "ControllerPatchError"),
        (KubernetesUnavailable("x"), Stage.WRITE, "ControllerSyncError"),
        (SyncRefused("422 about metadata.labels"), Stage.WRITE, "InvalidClusterSecretLabelError"),
        (SyncRefused("422 about metadata.annotations"), Stage.WRITE, "InvalidClusterSecretAnnotationError"),
    ],
)
def test_reasons_are_upstreams(error: Exception, stage: Stage, reason: str) -> None:
    """Each kind of failure, where it happened, has one."""
    assert reason_of(error, stage) == reason


def test_a_life_in_conditions() -> None:
    """First nothing is known; then a failure; then it is made; then up to date; then an update fails."""

    def said(conditions: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
        return {each["type"]: (each["status"], each["reason"]) for each in conditions}

    one = merged([], starting(), generation=1, now="1")
    two = merged(one, failed(one, "ProviderError", "m"), generation=1, now="2")
    three = merged(two, succeeded(two), generation=1, now="3")
    four = merged(three, succeeded(three), generation=1, now="4")
    five = merged(four, failed(four, "ProviderError", "m"), generation=2, now="5")

    assert said(one) == {
        "SecretCreated": ("Unknown", "SyncStarting"),
        "SecretUpdated": ("Unknown", "NoUpdatesAttemptedYet"),
    }
    assert said(two)["SecretCreated"] == ("False", "ProviderError")
    assert said(three) == {
        "SecretCreated": ("True", "CreateSuccessful"),
        "SecretUpdated": ("Unknown", "NoUpdatesAttemptedYet"),
    }
    assert said(four)["SecretUpdated"] == ("True", "SecretUpToDate")
    assert said(five) == {"SecretCreated": ("True", "CreateSuccessful"), "SecretUpdated": ("False", "ProviderError")}
    times = {each["type"]: each["lastTransitionTime"] for each in five}
    assert times == {"SecretCreated": "3", "SecretUpdated": "5"}


def test_the_hash_stands_for_the_secret_and_its_owner() -> None:
    """Others for other values and for other objects; no value can be read off it."""
    one = Desired("web", "Opaque", {}, {}, {"password": b"tiger"})
    two = Desired("web", "Opaque", {}, {}, {"password": b"lion"})

    hashes = {sync_hash(one, "u"), sync_hash(two, "u"), sync_hash(one, "v")}

    assert len(hashes) == 3
    assert all(each.startswith("v1:") and len(each) == 3 + 128 for each in hashes)
