"""A namespace whose workloads mount classes with secretObjects, and the eyes of a person with kubectl."""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nats
import pytest
import yaml
from nats.aio.msg import Msg

from keyferry.kube import Json, Kube
from keyferry.testing.kubelet import pod_manifest
from keyferry.testing.services import NodeDriver, Service
from keyferry.testing.stack import Stack
from keyferry.testing.world import World

if TYPE_CHECKING:
    from tests.e2e.conftest import Settle

LEASE = {"KEYFERRY_LEASE_DURATION": "3s"}
_PATIENCE_SECONDS = 20.0
_APPS = "/apis/apps/v1/namespaces"


@dataclass(frozen=True)
class Workload:
    """A Deployment with its ReplicaSet and one pod."""

    name: str
    pod: Json
    replica_set: str


@dataclass(frozen=True)
class Desk:
    """What a person sees and does in the namespace of a test."""

    world: World

    @property
    def kube(self) -> Kube:
        """The administrator's client."""
        return self.world.kube

    @property
    def path(self) -> str:
        """Of the namespace."""
        return f"/api/v1/namespaces/{self.world.namespace}"

    @property
    def classes(self) -> str:
        """Path of the namespace's classes."""
        return f"/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{self.world.namespace}/secretproviderclasses"

    async def make_class(self, name: str, secret_objects: Sequence[Json], **files: str) -> None:
        """Make a class of the vault provider; each file is ``secret:key``."""
        objects = [
            {"objectName": file, "secretPath": self.world.path(where.partition(":")[0]), "secretKey": key}
            for file, where in files.items()
            for key in [where.partition(":")[2]]
        ]
        parameters = {
            "vaultAddress": self.world.servers.openbao.address,
            "roleName": self.world.namespace,
            "vaultAuthMountPath": self.world.auth_mount,
            "objects": yaml.safe_dump(objects),
        }
        await self.world.make_class(name, "vault", parameters, secretObjects=list(secret_objects))

    async def change_class(self, name: str, **changes: Any) -> None:
        """Merge something into a class."""
        kind = "application/merge-patch+json"
        assert await self.kube.call("PATCH", f"{self.classes}/{name}", body=changes, content_type=kind)

    async def deploy(self, name: str, class_name: str = "secrets") -> Workload:
        """Make a Deployment as its controllers would, and mount its pod's volume."""
        kind = {"spec": {"selector": {"matchLabels": {"app": name}}, "template": _template(name)}}
        deployment = await self._make("deployments", {"metadata": {"name": name}, **kind})
        owner = {"metadata": {"name": f"{name}-{uuid.uuid4().hex[:6]}", "ownerReferences": [_owner(deployment)]}}
        replica_set = await self._make("replicasets", {**owner, **kind})
        plain = pod_manifest(
            self.world.namespace,
            f"{name}-{uuid.uuid4().hex[:6]}",
            node=self.world.node.node,
            secret_provider_class=class_name,
            account="app",
        )
        plain["metadata"]["ownerReferences"] = [_owner(replica_set)]
        pod = await self.kube.post(f"{self.path}/pods", plain)
        assert pod is not None
        await self.world.mounted(pod, class_name)
        return Workload(name, pod, replica_set["metadata"]["name"])

    async def _make(self, plural: str, body: Json) -> Json:
        made = await self.kube.post(f"{_APPS}/{self.world.namespace}/{plural}", body)
        assert made is not None
        return made

    async def undeploy(self, workload: Workload) -> None:
        """Delete a Deployment; kubelet and the collector do the rest."""
        await self.world.kubelet.unpublish(workload.pod)
        name = workload.pod["metadata"]["name"]
        await self.kube.call("DELETE", f"{self.path}/pods/{name}", query={"gracePeriodSeconds": "0"})
        await self.kube.call("DELETE", f"{_APPS}/{self.world.namespace}/deployments/{workload.name}")

    async def secret(self, name: str = "app-secrets") -> Json | None:
        """A Secret with its values decoded; None where there is none."""
        found = await self.kube.get(f"{self.path}/secrets/{name}")
        if found is not None:
            found["data"] = {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
        return found

    async def until(self, claim: Callable[[], Awaitable[bool]]) -> None:
        """Wait until something is true.

        Raises:
            AssertionError: it does not become true; shows what was told meanwhile.
        """
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while not await claim():  # noqa: ASYNC110 - it is in other processes
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{await self.secret()}; events: {await self.events()}") from None

    async def until_secret(self, holds: Callable[[Json], bool], name: str = "app-secrets") -> Json:
        """The Secret, as soon as something holds of it."""
        found: list[Json] = []

        async def held() -> bool:
            found[:] = [secret] if (secret := await self.secret(name)) else []
            return bool(found and holds(found[0]))

        await self.until(held)
        return found[0]

    async def until_owners(self, *workloads: Workload, name: str = "app-secrets") -> Json:
        """The Secret, as soon as it has just these owners."""
        names = {workload.replica_set for workload in workloads}
        return await self.until_secret(lambda found: owners(found) == names, name)

    async def until_gone(self, name: str = "app-secrets") -> None:
        """Wait until there is no such Secret."""

        async def gone() -> bool:
            return await self.secret(name) is None

        await self.until(gone)

    async def events(self, *reasons: str) -> list[tuple[str, str, str]]:
        """Kind of object, reason and message of the namespace's Events."""
        told = await self.kube.get(f"{self.path}/events") or {}
        found = [(each["involvedObject"]["kind"], each["reason"], each["message"]) for each in told["items"]]
        return [each for each in found if not reasons or each[1] in reasons]

    async def until_told(self, reason: str, text: str, *kinds: str) -> None:
        """Wait until Events of a reason, with a text, are there about objects of each of these kinds."""

        async def told() -> bool:
            return {kind for kind, _, message in await self.events(reason) if text in message} == set(kinds)

        await self.until(told)

    async def statuses(self) -> list[Json]:
        """The namespace's SecretProviderClassPodStatuses."""
        path = f"/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{self.world.namespace}/secretproviderclasspodstatuses"
        found: list[Json] = (await self.kube.get(path) or {})["items"]
        return found


def owners(secret: Json) -> set[str]:
    """Names of a Secret's owners."""
    return {owner["name"] for owner in secret["metadata"].get("ownerReferences", [])}


def entry(name: str = "app-secrets", kind: str = "Opaque", *, more: Json | None = None, **keys: str) -> Json:
    """An entry of secretObjects: key to file."""
    data = [{"objectName": file, "key": key.replace("_", ".")} for key, file in keys.items()]
    return {"secretName": name, "type": kind, "data": data, **(more or {})}


def _owner(made: Json) -> Json:
    metadata = made["metadata"]
    kind = "ReplicaSet" if metadata.get("ownerReferences") else "Deployment"
    return {"apiVersion": "apps/v1", "kind": kind, "name": metadata["name"], "uid": metadata["uid"]}


def _template(name: str) -> Json:
    return {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    }


@pytest.fixture(scope="module")
def services(breakable: Stack) -> Iterator[tuple[Service, NodeDriver]]:
    """A fetcher and a node of a file's own bus."""
    with breakable.fetcher(KEYFERRY_VAULT_TIMEOUT="3s") as fetcher, breakable.node_driver() as node:
        yield fetcher, node


@pytest.fixture(scope="module")
def syncer(breakable: Stack, services: tuple[Service, NodeDriver]) -> Iterator[Service]:
    """A syncer beside them."""
    assert services[0].process.is_running
    with breakable.syncer(**LEASE) as running:
        yield running


@pytest.fixture
async def desk(services: tuple[Service, NodeDriver], settle: Settle) -> Desk:
    """A namespace with a secret `db` in OpenBao."""
    world = await settle(services[1])
    await world.secret("db", password="tiger", user="app")
    return Desk(world)


@pytest.fixture
async def changes(breakable: Stack) -> AsyncIterator[Callable[[int], Awaitable[list[bytes]]]]:
    """Waits until the rotator was told so many things since the test began; gives them."""
    heard: list[bytes] = []

    async def hear(message: Msg) -> None:
        heard.append(message.data)

    async def told(count: int) -> list[bytes]:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while len(heard) < count:  # noqa: ASYNC110 - it is in another process
                await asyncio.sleep(0.02)
        return list(heard)

    client = await nats.connect(breakable.nats.url)
    await client.subscribe("keyferry.change.kubernetes", cb=hear)
    await client.flush()
    yield told
    await client.close()
