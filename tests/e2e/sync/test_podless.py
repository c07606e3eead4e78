"""SecretSync objects: Secrets without a pod, fetched as a service account."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from keyferry.kube import Json
from keyferry.testing.services import NodeDriver, Service
from keyferry.testing.stack import Stack

from .conftest import LEASE, Desk, entry, owners

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("syncer")]

KIND = {"apiVersion": "secret-sync.x-k8s.io/v1alpha1", "kind": "SecretSync"}


@pytest.fixture(scope="module")
def syncer(breakable: Stack, services: tuple[Service, NodeDriver]) -> Iterator[Service]:
    """A syncer that keeps SecretSync objects too, and fetches often."""
    assert services[0].process.is_running
    env = {"KEYFERRY_SECRET_SYNCS": "true", "KEYFERRY_SECRET_SYNC_INTERVAL": "1s"}
    with breakable.syncer(**LEASE, **env) as running:
        yield running


def path(desk: Desk, name: str = "") -> str:
    """Of the namespace's SecretSync objects, or of one."""
    listed = f"/apis/secret-sync.x-k8s.io/v1alpha1/namespaces/{desk.world.namespace}/secretsyncs"
    return f"{listed}/{name}" if name else listed


async def make(desk: Desk, name: str = "app-secrets", *, account: str = "app", **more: Json) -> Json:
    """Make one of the class `synced`."""
    spec = {
        "secretProviderClassName": "synced",
        "serviceAccountName": account,
        "secretObject": {"data": [{"sourcePath": "pw", "targetKey": "password"}], **more},
    }
    made = await desk.kube.post(path(desk), {**KIND, "metadata": {"name": name}, "spec": spec})
    assert made is not None
    return made


async def until_said(desk: Desk, kind: str, status: str, reason: str, name: str = "app-secrets") -> Json:
    """The status, as soon as a condition says so."""
    found: list[Json] = []

    async def said() -> bool:
        found[:] = [((await desk.kube.get(path(desk, name))) or {}).get("status") or {}]
        conditions = {each["type"]: (each["status"], each["reason"]) for each in found[0].get("conditions", [])}
        return conditions.get(kind) == (status, reason)

    await desk.until(said)
    return found[0]


async def test_a_secret_without_a_pod(desk: Desk) -> None:
    """It is made, owned by its SecretSync, rotated as the backend rotates, and goes with its SecretSync."""
    await desk.make_class("synced", [], pw="db:password")
    await make(desk, labels={"environment": "test"})

    found = await desk.until_secret(lambda found: found["data"] == {"password": b"tiger"})
    assert owners(found) == {"app-secrets"}
    assert found["metadata"]["labels"]["environment"] == "test"
    assert found["metadata"]["labels"]["secrets-store.csi.k8s.io/managed"] == "true"
    first = await until_said(desk, "SecretCreated", "True", "CreateSuccessful")
    assert first["syncHash"].startswith("v1:")
    assert first["lastSuccessfulSyncTime"].endswith("Z")

    await desk.world.secret("db", password="lion", user="app")
    await desk.until_secret(lambda found: found["data"] == {"password": b"lion"})
    second = await until_said(desk, "SecretUpdated", "True", "SecretUpToDate")
    assert second["syncHash"] != first["syncHash"]

    await desk.kube.call("DELETE", path(desk, "app-secrets"))
    await desk.until_gone()


async def test_a_class_that_comes_later(desk: Desk) -> None:
    """Until then the condition says that it is not there."""
    await make(desk)
    status = await until_said(desk, "SecretCreated", "False", "SecretProviderClassMisconfigured")
    assert "not found" in str(status["conditions"])

    await desk.make_class("synced", [], pw="db:password")

    await until_said(desk, "SecretCreated", "True", "CreateSuccessful")


async def test_a_backend_that_has_no_such_secret(desk: Desk) -> None:
    """The condition carries the backend's own words; the Event as well."""
    await desk.make_class("synced", [], pw="absent:password")
    await make(desk)

    await until_said(desk, "SecretCreated", "False", "RemoteSecretStoreFetchFailed")
    await desk.until_told("FailedToCreateSecret", "", "SecretSync")
    assert await desk.secret() is None


async def test_an_account_that_is_not_there(desk: Desk) -> None:
    """Nobody is asked in its name."""
    await desk.make_class("synced", [], pw="db:password")
    await make(desk, account="nobody")

    status = await until_said(desk, "SecretCreated", "False", "ControllerSyncError")

    assert "there is no service account nobody" in str(status["conditions"])


async def test_an_account_that_the_backend_does_not_know(desk: Desk) -> None:
    """An account may read what the backend lets it, and no more: not what others of the namespace's class may."""
    await desk.make_class("synced", [], pw="db:password")
    await desk.change_class("synced", spec={"parameters": {"roleName": "no-such-role"}})
    await make(desk)

    await until_said(desk, "SecretCreated", "False", "RemoteSecretStoreFetchFailed")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"type": "kubernetes.io/service-account-token"}, "ControllerPatchError"),
        ({"labels": {"a": "not a label!"}}, "InvalidClusterSecretLabelError"),
        ({"annotations": {"not an annotation!": "a"}}, "InvalidClusterSecretAnnotationError"),
    ],
)
async def test_what_cannot_be_made_is_said(desk: Desk, more: Json, reason: str) -> None:
    """With upstream's reason; there is no Secret."""
    await desk.make_class("synced", [], pw="db:password")
    await make(desk, **more)

    await until_said(desk, "SecretCreated", "False", reason)
    assert await desk.secret() is None


async def test_a_class_of_pods_goes_before(desk: Desk) -> None:
    """A Secret that pods' class makes is not fought for; nor is one of others."""
    await desk.make_class("synced", [entry(password="pw")], pw="db:password")
    workload = await desk.deploy("one", "synced")
    await desk.until_owners(workload)
    body = {"metadata": {"name": "taken"}, "data": {"a": "YQ=="}}
    await desk.kube.call("POST", f"{desk.path}/secrets", body=body, query={"fieldManager": "helm"})

    await make(desk)
    await make(desk, "taken")

    await until_said(desk, "SecretCreated", "False", "ControllerSyncError")
    await until_said(desk, "SecretCreated", "False", "ControllerPatchError", "taken")
    await desk.until_owners(workload)


async def test_those_of_other_controllers_are_left_to_them(desk: Desk) -> None:
    """Nothing is said of them, and nothing made."""
    await desk.make_class("synced", [], pw="db:password")
    spec = {
        "secretSyncControllerName": "another",
        "secretProviderClassName": "synced",
        "serviceAccountName": "app",
        "secretObject": {"data": [{"sourcePath": "pw", "targetKey": "password"}]},
    }
    await desk.kube.post(path(desk), {**KIND, "metadata": {"name": "theirs"}, "spec": spec})
    await make(desk)
    await until_said(desk, "SecretCreated", "True", "CreateSuccessful")

    assert "status" not in (await desk.kube.get(path(desk, "theirs")) or {})
    assert await desk.secret("theirs") is None


async def test_without_the_secrets_of_classes(desk: Desk, breakable: Stack, syncer: Service) -> None:
    """The one can be had without the other: what classes ask for is not made where that is switched off."""
    await desk.make_class("synced", [entry("of-class", password="pw")], pw="db:password")
    await asyncio.to_thread(syncer.process.stop)
    env = {"KEYFERRY_SECRET_SYNCS": "true", "KEYFERRY_SYNC_SECRETS": "false"}
    with breakable.syncer(**LEASE, **env):
        await desk.deploy("one", "synced")
        await make(desk)

        await until_said(desk, "SecretCreated", "True", "CreateSuccessful")
        assert await desk.secret("of-class") is None
    await asyncio.to_thread(syncer.process.start)
