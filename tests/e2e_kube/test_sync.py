"""Classes keep Kubernetes Secrets: cases 14 to 19, 23 and 25 of the existing driver's own suite."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from keyferry.kube import Json
from keyferry.testing.kube.pods import Namespace, until
from keyferry.testing.services import Service

pytestmark = pytest.mark.usefixtures("syncer")


def kept(name: str, file: str = "password") -> dict[str, Any]:
    """What a class says that keeps a file in a Secret, under the key `username`."""
    data = [{"objectName": file, "key": "username"}]
    wanted = {"secretName": name, "type": "Opaque", "labels": {"environment": "test"}, "data": data}
    return {"secretObjects": [wanted]}


def env(name: str, secret: str) -> Json:
    """An environment variable from that Secret."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": "username"}}}


async def secret(ns: Namespace, name: str) -> Json | None:
    """A Secret of the namespace."""
    return await ns.kube.get(ns.path(f"secrets/{name}"))


def value(found: Json | None) -> str:
    """What a Secret has under `username`."""
    return base64.b64decode(found["data"]["username"]).decode() if found else ""


async def owners_are(ns: Namespace, name: str, count: int) -> None:
    """Wait until a Secret has so many owners; zero is no Secret."""

    async def so_many() -> bool:
        found = await secret(ns, name)
        return len((found or {"metadata": {}})["metadata"].get("ownerReferences", [])) == count and (
            (found is None) == (count == 0)
        )

    await until(so_many)


async def test_two_deployments(ns: Namespace) -> None:
    """Two deployments share one Secret, with its labels and both as owners; it goes when the last of them goes."""
    await ns.vault_class("sync", **kept("foosecret"))
    for name in ("one", "two"):
        await ns.deployment(name, "sync", env=[env("SECRET_USERNAME", "foosecret")])
    await owners_are(ns, "foosecret", 2)
    found = await secret(ns, "foosecret")

    assert found is not None
    assert value(found) == "tiger"
    assert found["metadata"]["labels"] == {"environment": "test", "secrets-store.csi.k8s.io/managed": "true"}
    assert {each["kind"] for each in found["metadata"]["ownerReferences"]} == {"ReplicaSet"}
    assert await ns.run_in("deployment/one", "sh", "-c", "echo $SECRET_USERNAME") == "tiger\n"
    assert await ns.run_in("deployment/two", "cat", "/mnt/sync/password") == "tiger"
    await ns.node.kubectl("-n", ns.name, "delete", "deployment", "one", "--wait=false")
    await owners_are(ns, "foosecret", 1)
    await ns.node.kubectl("-n", ns.name, "delete", "deployment", "two", "--wait=false")
    await owners_are(ns, "foosecret", 0)


async def test_namespaced(ns: Namespace, make: Any) -> None:
    """Classes of one name in two namespaces keep a Secret of one name in each; the end of one leaves the other."""
    other = await make()
    await other.secret(password="leopard")
    for each in (ns, other):
        await each.vault_class("sync", **kept("foosecret"))
        await each.deployment("app", "sync", env=[env("SECRET_USERNAME", "foosecret")])
        await owners_are(each, "foosecret", 1)

    assert value(await secret(other, "foosecret")) == "leopard"
    assert await other.run_in("deployment/app", "sh", "-c", "echo $SECRET_USERNAME") == "leopard\n"
    await other.node.kubectl("-n", other.name, "delete", "deployment", "app", "--wait=false")
    await owners_are(other, "foosecret", 0)
    assert value(await secret(ns, "foosecret")) == "tiger"


async def test_two_classes(ns: Namespace) -> None:
    """Two classes of one pod keep two Secrets, each with the pod as its one owner and in its environment."""
    await ns.secret("api", token="bear")
    await ns.vault_class("spc-0", "foo=db:password", **kept("foosecret-0", "foo"))
    await ns.vault_class("spc-1", "foo=api:token", **kept("foosecret-1", "foo"))
    variables = [env("USERNAME_0", "foosecret-0"), env("USERNAME_1", "foosecret-1")]
    pod = await ns.running("app", "spc-0", "spc-1", env=variables)
    for name in ("foosecret-0", "foosecret-1"):
        await owners_are(ns, name, 1)

    assert value(await secret(ns, "foosecret-0")) == "tiger"
    assert value(await secret(ns, "foosecret-1")) == "bear"
    assert await ns.run(pod, "sh", "-c", "echo $USERNAME_0 $USERNAME_1") == "tiger bear\n"


async def test_secret_rotated(ns: Namespace, rotator: Service) -> None:
    """A new value appears in the file and in the Secret of a running pod."""
    assert rotator.process.is_running
    often = {"keyferry.io/rotation-interval": "5s"}
    await ns.vault_class("often", annotations=often, **kept("foosecret"))
    pod = await ns.running("app", "often", env=[env("SECRET_USERNAME", "foosecret")])
    assert value(await secret(ns, "foosecret")) == "tiger"
    await ns.secret(password="leopard")

    async def changed() -> bool:
        return await ns.read(pod, "often/password") == value(await secret(ns, "foosecret")) == "leopard"

    await until(changed)


async def test_pod_status(ns: Namespace) -> None:
    """A pod's volume has a SecretProviderClassPodStatus with its class, target and versions while it is mounted."""
    pod = await ns.running("app")
    name = f"app-{ns.name}-secrets"
    where = ns.path(f"secretproviderclasspodstatuses/{name}", "/apis/secrets-store.csi.x-k8s.io/v1")

    async def mounted() -> bool:
        return await ns.kube.get(where) is not None

    await until(mounted)
    found = await ns.kube.get(where)
    assert found is not None
    told = found["status"]
    assert (told["podName"], told["secretProviderClassName"], told["mounted"]) == ("app", "secrets", True)
    assert told["targetPath"] == str(ns.target(pod))
    assert [each["id"] for each in told["objects"]] != []
    await ns.delete(pod)

    async def gone() -> bool:
        return not await mounted()

    await until(gone)
