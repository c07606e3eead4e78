"""What people who sync secrets see: Secrets that come with pods, change with classes, and go with their owners."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import nats
import pytest

from keyferry.changes import Due, PodFinished, RefreshRequested, RefreshVolumes, change_event
from keyferry.kube import Json
from keyferry.subjects import hint_subject
from keyferry.testing.azure.certificates import issue
from keyferry.testing.services import Service
from keyferry.testing.stack import Stack

from .conftest import Desk, entry, owners

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("syncer")]

MANAGED = "secrets-store.csi.k8s.io/managed"


async def refresh(bus: Stack, desk: Desk, pod: Json) -> None:
    """Have the node fetch a pod's volume anew, as the rotator does when it is due."""
    client = await nats.connect(bus.nats.url)
    handle = desk.world.kubelet.handle(pod, "secrets")
    due = RefreshVolumes((Due("", int(time.time() * 1000), (handle,)),))
    await client.publish(hint_subject(desk.world.node.node), due.to_bytes())
    await client.flush()
    await client.close()


async def test_a_secret_comes_with_the_first_pod(desk: Desk) -> None:
    """Type, label, values, labels of the class and owner are there; class and pod tell of it."""
    more = {"labels": {"environment": "test"}, "annotations": {"team": "shop"}}
    await desk.make_class("secrets", [entry(password="pw", user=" who ", more=more)], pw="db:password", who="db:user")
    workload = await desk.deploy("one")

    found = await desk.until_owners(workload)

    assert (found["type"], found["data"]) == ("Opaque", {"password": b"tiger", "user": b"app"})
    assert found["metadata"]["labels"] == {"environment": "test", MANAGED: "true"}
    assert found["metadata"]["annotations"] == {"team": "shop"}
    await desk.until_told("SecretCreated", "app-secrets", "Pod", "SecretProviderClass")


async def test_two_deployments_are_two_owners(desk: Desk) -> None:
    """The Secret has both, then the one that is left, and goes with the last."""
    await desk.make_class("secrets", [entry(password="pw")], pw="db:password")
    one, two = await desk.deploy("one"), await desk.deploy("two")
    await desk.until_owners(one, two)

    await desk.undeploy(one)
    await desk.until_owners(two)
    await desk.undeploy(two)

    await desk.until_gone()


async def test_a_rotated_secret_is_rotated_here_too(desk: Desk, breakable: Stack) -> None:
    """What the backend has now is in the Secret; the Events name what was rotated."""
    await desk.make_class("secrets", [entry(password="pw")], pw="db:password")
    workload = await desk.deploy("one")
    await desk.until_owners(workload)

    await desk.world.secret("db", password="lion", user="app")
    await refresh(breakable, desk, workload.pod)

    await desk.until_secret(lambda found: found["data"] == {"password": b"lion"})
    await desk.until_told(
        "SecretRotationComplete", "successfully rotated K8s secret app-secrets", "Pod", "SecretProviderClass"
    )
    await desk.until_told("MountRotationComplete", "successfully rotated mounted contents", "Pod")


async def test_what_a_class_drops_is_removed(desk: Desk) -> None:
    """A key and a whole entry that the class has no more are gone; what it still has stays."""
    await desk.make_class(
        "secrets",
        [entry(password="pw", user="who"), entry("other", user="who")],
        pw="db:password",
        who="db:user",
    )
    workload = await desk.deploy("one")
    await desk.until_owners(workload)
    await desk.until_owners(workload, name="other")

    await desk.change_class("secrets", spec={"secretObjects": [entry(password="pw")]})

    await desk.until_gone("other")
    assert (await desk.until_secret(lambda found: len(found["data"]) == 1))["data"] == {"password": b"tiger"}


async def test_what_a_class_gains_is_made(desk: Desk) -> None:
    """Entries that come later are made of what is mounted already."""
    await desk.make_class("secrets", [entry(password="pw")], pw="db:password", who="db:user")
    workload = await desk.deploy("one")
    await desk.until_owners(workload)

    await desk.change_class("secrets", spec={"secretObjects": [entry(password="pw"), entry("late", user="who")]})

    assert (await desk.until_owners(workload, name="late"))["data"] == {"user": b"app"}


async def test_certificate_and_key_are_split(desk: Desk) -> None:
    """A tls Secret of one PEM file in OpenBao."""
    issued = issue()
    await desk.world.secret("site", pem=issued.pem())
    tls = entry("site-tls", "kubernetes.io/tls", tls_crt="bundle", tls_key="bundle")
    await desk.make_class("secrets", [tls], bundle="site:pem")
    workload = await desk.deploy("one")

    found = await desk.until_owners(workload, name="site-tls")

    assert found["type"] == "kubernetes.io/tls"
    assert found["data"]["tls.crt"].startswith(b"-----BEGIN CERTIFICATE-----")
    assert b"PRIVATE KEY-----" in found["data"]["tls.key"]


@pytest.mark.parametrize(
    ("kind", "keys", "why"),
    [
        ("kubernetes.io/tls", {"tls.crt": "pw", "tls.key": "pw"}, "is neither PEM nor PKCS#12"),
        ("kubernetes.io/service-account-token", {"token": "pw"}, "is refused"),
        ("bootstrap.kubernetes.io/token", {"token": "pw"}, "is refused"),
        ("kubernetes.io/tls", {"cert": "pw"}, "key 'cert' is not supported"),
        ("Opaque", {"password": "nowhere"}, "file matching objectName nowhere not found in the pod"),
        ("", {"password": "pw"}, "secret type is empty"),
        ("Opaque", {}, "data is empty"),
    ],
)
async def test_what_cannot_be_made_is_told(desk: Desk, kind: str, keys: dict[str, str], why: str) -> None:
    """Class and pod say what is wrong; there is no Secret; the pod has its files all the same, and what can be is."""
    data = [{"objectName": file, "key": key} for key, file in keys.items()]
    await desk.make_class("secrets", [{**entry("bad", kind), "data": data}, entry(password="pw")], pw="db:password")
    workload = await desk.deploy("one")

    await desk.until_told("FailedToCreateSecret", why, "Pod", "SecretProviderClass")
    await desk.until_owners(workload)
    assert await desk.secret("bad") is None


async def test_a_secret_of_others_is_left_alone(desk: Desk) -> None:
    """The Event says who made it; when they take it away, ours is made."""
    body = {"metadata": {"name": "app-secrets"}, "data": {"own": "b3du"}}
    await desk.kube.call("POST", f"{desk.path}/secrets", body=body, query={"fieldManager": "helm"})
    await desk.make_class("secrets", [entry(password="pw")], pw="db:password")
    workload = await desk.deploy("one")

    await desk.until_told("FailedToCreateSecret", "was made by helm", "Pod", "SecretProviderClass")
    found = await desk.secret()
    assert found is not None
    assert (found["data"], owners(found)) == ({"own": b"own"}, set())

    await desk.kube.call("DELETE", f"{desk.path}/secrets/app-secrets")
    await desk.change_class("secrets", spec={"secretObjects": [entry(password="pw", more={"labels": {"a": "b"}})]})
    await desk.until_owners(workload)


async def test_two_classes_do_not_fight_for_a_secret(desk: Desk) -> None:
    """The older class has it; the other is told; when the older has no pods any more, the other takes over."""
    await desk.world.secret("web", password="lion")
    await desk.make_class("secrets", [entry(password="pw")], pw="db:password")
    await asyncio.sleep(1.1)  # the API server counts ages in seconds
    await desk.make_class("a-rival", [entry(password="pw")], pw="web:password")
    one, two = await desk.deploy("one"), await desk.deploy("two", "a-rival")

    await desk.until_told("FailedToCreateSecret", "/secrets makes it already", "Pod", "SecretProviderClass")
    assert (await desk.until_owners(one))["data"] == {"password": b"tiger"}
    await desk.undeploy(one)

    assert (await desk.until_owners(two))["data"] == {"password": b"lion"}


async def test_the_status_of_a_pod(desk: Desk) -> None:
    """It mirrors the volume while that is mounted, belongs to the pod, and notes the Secrets of the class."""
    await desk.make_class("secrets", [entry(password="pw")], pw="db:password")
    workload = await desk.deploy("one")
    await desk.until_owners(workload)

    async def noted() -> bool:
        told = [each["metadata"].get("annotations") for each in await desk.statuses()]
        return told == [{"keyferry.io/secrets": "app-secrets"}]

    await desk.until(noted)

    (status,) = await desk.statuses()
    pod = workload.pod["metadata"]
    assert status["metadata"]["name"] == f"{pod['name']}-{pod['namespace']}-secrets"
    assert status["metadata"]["ownerReferences"][0]["uid"] == pod["uid"]
    assert status["metadata"]["labels"] == {"internal.secrets-store.csi.k8s.io/node-name": desk.world.node.node}
    target = desk.world.kubelet.target(workload.pod, "secrets")
    assert (status["status"]["mounted"], status["status"]["targetPath"]) == (True, str(target))
    assert [each["id"] for each in status["status"]["objects"]] == ["pw"]

    await desk.undeploy(workload)
    async with asyncio.timeout(20):
        while await desk.statuses():  # noqa: ASYNC110 - the collector's work
            await asyncio.sleep(0.05)


async def test_the_rotator_is_told(desk: Desk, changes: Callable[[int], Awaitable[list[bytes]]]) -> None:
    """Of classes that somebody wants refreshed, and of pods that have ended."""
    await desk.make_class("secrets", [entry(password="pw")], pw="db:password")
    workload = await desk.deploy("one")
    await desk.until_owners(workload)

    await desk.change_class("secrets", metadata={"annotations": {"keyferry.io/refresh-requested-at": "now"}})
    (wish,) = [change_event(each) for each in await changes(1)]
    ended = {"status": {"phase": "Succeeded"}}
    path = f"{desk.path}/pods/{workload.pod['metadata']['name']}/status"
    await desk.kube.call("PATCH", path, body=ended, content_type="application/merge-patch+json")
    _, finished = [change_event(each) for each in await changes(2)]

    assert isinstance(wish, RefreshRequested)
    assert (wish.namespace, wish.secret_provider_class) == (desk.world.namespace, "secrets")
    assert isinstance(finished, PodFinished)
    assert finished.pod.uid == workload.pod["metadata"]["uid"]


async def test_a_finished_job_owns_its_secret_still(desk: Desk, syncer: Service) -> None:
    """A pod that has ended counts no more, but what goes with its owner is not taken from it."""
    assert syncer.process.is_running
    await desk.make_class("secrets", [entry(password="pw")], pw="db:password")
    workload = await desk.deploy("one")
    await desk.until_owners(workload)

    path = f"{desk.path}/pods/{workload.pod['metadata']['name']}/status"
    await desk.kube.call(
        "PATCH", path, body={"status": {"phase": "Failed"}}, content_type="application/merge-patch+json"
    )
    other = await desk.deploy("two")

    await desk.until_owners(other)
