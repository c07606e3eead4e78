"""A cluster of real servers with our services on it, and namespaces in it, seen as the kubelet of a node sees them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import grpc.aio
import pytest
import yaml

from keyferry.kube import Json, Kube, connect
from keyferry.testing import services
from keyferry.testing.kube import KubeAPI, crds
from keyferry.testing.kubelet import Kubelet, csi_driver, pod_manifest
from keyferry.testing.nats import nats_server
from keyferry.testing.services import NodeDriver, Service
from keyferry.testing.stack import CRDS, KubeProcess, Stack, stack
from node_driver import mounts

NOT_FINAL = {"CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"}
AUDIENCES = ("keyferry", "vault", "sts.amazonaws.com")


@dataclass(frozen=True)
class World:
    """A namespace of one test, in Kubernetes and in OpenBao, and the node that its pods run on.

    The service accounts of the namespace may read the secrets below ``secret/data/<namespace>/``.
    """

    servers: Stack
    kube: Kube
    node: NodeDriver
    namespace: str
    auth_mount: str = "kubernetes"

    @property
    def kubelet(self) -> Kubelet:
        """The node's kubelet."""
        return Kubelet(self.node.endpoint, self.node.kubelet_root, self.kube, AUDIENCES)

    def on(self, node: NodeDriver) -> World:
        """The same namespace, seen from another node."""
        return replace(self, node=node)

    async def account(self, name: str, **annotations: str) -> None:
        """Make a service account."""
        account = {"metadata": {"name": name, "annotations": annotations}}
        await self.kube.post(f"/api/v1/namespaces/{self.namespace}/serviceaccounts", account)

    async def pod(self, class_name: str = "secrets", *, account: str = "app") -> Json:
        """Make a pod that runs on the node and mounts a class."""
        name = f"pod-{uuid.uuid4().hex[:8]}"
        pod = pod_manifest(
            self.namespace,
            name,
            node=self.node.node,
            secret_provider_class=class_name,
            account=account,
        )
        made = await self.kube.post(f"/api/v1/namespaces/{self.namespace}/pods", pod)
        assert made is not None
        return made

    def path(self, secret: str) -> str:
        """API path in OpenBao of a secret of this namespace."""
        return f"secret/data/{self.namespace}/{secret}"

    async def secret(self, name: str = "db", **values: Any) -> None:
        """Write a secret."""
        await self.servers.openbao.put(f"{self.namespace}/{name}", values)

    async def make_class(self, name: str, provider: Any, parameters: Any, **spec: Any) -> str:
        """Make a SecretProviderClass, as sensible as it is told."""
        body = {
            "apiVersion": "secrets-store.csi.x-k8s.io/v1",
            "kind": "SecretProviderClass",
            "metadata": {"name": name},
            "spec": {"provider": provider, "parameters": parameters, **spec},
        }
        path = f"/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{self.namespace}/secretproviderclasses"
        await self.kube.post(path, body)
        return name

    async def vault_class(self, name: str = "secrets", *objects: Mapping[str, Any] | str, **parameters: str) -> str:
        """Make a class of the vault provider.

        Args:
            name: Of the class.
            objects: Each an entry of ``objects``, or a text for one secret's key: ``file=secret:key``. Without any, the
                file ``password`` is the key ``password`` of the secret ``db``.
            parameters: More of them, or other ones.
        """
        entries = [self._entry(each) for each in objects or ("password=db:password",)]
        usual = {
            "vaultAddress": self.servers.openbao.address,
            "roleName": self.namespace,
            "vaultAuthMountPath": self.auth_mount,
            "objects": yaml.safe_dump(entries),
        }
        return await self.make_class(name, "vault", {**usual, **parameters})

    def _entry(self, told: Mapping[str, Any] | str) -> Mapping[str, Any]:
        if not isinstance(told, str):
            return told
        file, _, where = told.partition("=")
        secret, _, key = where.partition(":")
        return {"objectName": file, "secretPath": self.path(secret), "secretKey": key}

    async def mounted(self, pod: Json, class_name: str = "secrets", *, seconds: float = 120.0) -> Path:
        """Mount as kubelet does, which asks again for as long as the error is not final (design.md, section 3)."""
        async with asyncio.timeout(60.0):
            while True:
                try:
                    return await self.kubelet.publish(pod, class_name, seconds=seconds)
                except grpc.aio.AioRpcError as error:
                    if error.code().name not in NOT_FINAL:
                        raise
                await asyncio.sleep(0.2)

    async def refused(self, attempt: Awaitable[Any], pod: Json) -> tuple[str, str]:
        """The code and text that an attempt to mount fails with, after making sure that it left nothing."""
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await attempt
        assert self.left(pod) == []
        return raised.value.code().name, str(raised.value.details())

    def left(self, pod: Json) -> list[str]:
        """What there is of a pod's volume on the node: target, mount, record."""
        target = self.kubelet.target(pod, "secrets")
        mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        record = self.records / f"{hashlib.sha256(self.kubelet.handle(pod, 'secrets').encode()).hexdigest()}.json"
        found = [f"mount {place}" for place in mounted if place == str(target)]
        return found + [f"path {path}" for path in (target, record) if path.exists()]

    @property
    def records(self) -> Path:
        """The folder of the node's records."""
        return self.node.kubelet_root / "plugins" / "csi-secrets-store" / "volumes"


Until = Callable[..., Awaitable[None]]


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A folder with a short name, for sockets lie below it; in the end nothing is mounted there."""
    made = Path(tempfile.mkdtemp(prefix="kf-"))
    yield made
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target = line.split()[4]
        if target.startswith(f"{made}/"):
            mounts.unmount(target)
    shutil.rmtree(made)


async def introduce(servers: Stack, auth_mount: str) -> None:
    """Let OpenBao ask the Kubernetes API who a token speaks for."""
    token = json.loads(servers.kube.kubeconfig.read_text())["users"][0]["user"]["token"]
    await servers.openbao.enable_kubernetes(
        host=servers.kube.url, ca_pem=servers.kube.ca_pem, reviewer_token=token, mount=auth_mount
    )


@pytest.fixture(scope="session")
def servers(place: Path) -> Iterator[Stack]:
    """All servers of a cluster; a test that breaks one starts its own."""

    async def furnish(running: Stack) -> None:
        await introduce(running, "kubernetes")
        async with connect(running.kube.kubeconfig, user_agent="e2e") as kube:
            await kube.post("/apis/storage.k8s.io/v1/csidrivers", csi_driver(*AUDIENCES))

    with stack(place, aws_auth=True) as running:
        asyncio.run(furnish(running))
        yield running


@pytest.fixture(scope="session")
def fetcher(servers: Stack) -> Iterator[Service]:
    """A fetcher."""
    with servers.fetcher(KEYFERRY_VAULT_TIMEOUT="3s", AWS_REGION="us-west-2") as running:
        yield running


@pytest.fixture(scope="session")
def node(servers: Stack, fetcher: Service) -> Iterator[NodeDriver]:
    """A node with its driver, and a fetcher that answers it."""
    assert fetcher.process.is_running
    with servers.node_driver() as running:
        yield running


@contextmanager
def another_bus(servers: Stack, place: Path) -> Iterator[Stack]:
    """The same servers around another bus: what runs on it, and what is in it, is for one test alone."""
    directory = place / uuid.uuid4().hex[:6]
    with nats_server(directory / "nats") as nats:
        services.prepare(nats.url, directory / "keys")
        yield replace(servers, directory=directory, nats=nats)


@pytest.fixture
def own(servers: Stack, place: Path) -> Iterator[Stack]:
    """A bus without services, for a test to start and break them."""
    with another_bus(servers, place) as stack:
        yield stack


@pytest.fixture(scope="module")
def breakable(servers: Stack, place: Path) -> Iterator[Stack]:
    """A bus for the tests of a file, each of which leaves it as it found it."""
    with another_bus(servers, place) as stack:
        yield stack


@pytest.fixture
async def kube(servers: Stack) -> AsyncIterator[Kube]:
    """The administrator's client."""
    async with connect(servers.kube.kubeconfig, user_agent="e2e") as kube:
        yield kube


async def until(claim: Callable[[], bool | Awaitable[bool]], *, within: float = 10.0) -> None:
    """Wait for something to become true.

    Raises:
        TimeoutError: it does not.
    """
    async with asyncio.timeout(within):
        while True:
            told = claim()
            if told if isinstance(told, bool) else await told:
                return
            await asyncio.sleep(0.02)


@pytest.fixture(name="until")
def waits() -> Until:
    """Waits for something that another process does."""
    return until


Settle = Callable[..., Awaitable[World]]


@pytest.fixture
def settle(servers: Stack, kube: Kube) -> Settle:
    """Makes a namespace, with a service account `app` that may log in to OpenBao, for pods on the given node."""

    async def make(node: NodeDriver, *, kube: Kube = kube, api: KubeProcess | None = None) -> World:
        namespace = f"ns-{uuid.uuid4().hex[:8]}"
        world = World(servers, kube, node, namespace)
        if api is not None:
            world = replace(world, servers=replace(servers, kube=api), auth_mount=namespace)
            await introduce(world.servers, namespace)
        await kube.post("/api/v1/namespaces", {"metadata": {"name": namespace}})
        await world.account("app")
        await servers.openbao.allow_read(namespace, f"secret/data/{namespace}/*")
        await servers.openbao.kubernetes_role(
            namespace,
            accounts=["*"],
            namespaces=[namespace],
            policies=[namespace],
            audience="vault",
            mount=world.auth_mount,
        )
        return world

    return make


@dataclass(frozen=True)
class Apart:
    """A world whose bus, fetcher, node and Kubernetes API are its own; the API runs in the test's event loop."""

    api: KubeAPI
    world: World
    fetcher: Service


@pytest.fixture
async def apart(own: Stack, settle: Settle) -> AsyncIterator[Apart]:
    """A cluster whose Kubernetes API a test may break."""
    async with AsyncExitStack() as exits:
        api = await exits.enter_async_context(KubeAPI(crds=crds.load(CRDS)))
        described = KubeProcess(own.kube.process, api.url, api.kubeconfig, api.ca_pem)
        cluster = replace(own, kube=described)
        # In threads, for the services ask the API of this loop while they start.
        fetcher = await enter(exits, cluster.fetcher(KEYFERRY_VAULT_TIMEOUT="3s"))
        node = await enter(exits, cluster.node_driver())
        kube = await exits.enter_async_context(connect(api.kubeconfig, user_agent="e2e"))
        world = await settle(node, kube=kube, api=described)
        await world.secret("db", user="app", password="tiger")
        await world.vault_class()
        yield Apart(api, world, fetcher)


T = TypeVar("T")


async def enter(exits: AsyncExitStack, running: AbstractContextManager[T]) -> T:
    """Enter a blocking context in a thread; it is left in one as well."""
    entered = await asyncio.to_thread(running.__enter__)
    exits.push_async_callback(asyncio.to_thread, running.__exit__, None, None, None)
    return entered


@pytest.fixture
async def world(settle: Settle, node: NodeDriver) -> World:
    """A namespace with a secret `db` and a class `secrets` that mounts it, on the session's node."""
    world = await settle(node)
    await world.secret("db", user="app", password="tiger")
    await world.vault_class()
    return world
