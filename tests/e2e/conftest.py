"""A cluster of real servers with our services on it, and namespaces in it, seen as the kubelet of a node sees them."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pytest

from keyferry.kube import Kube, connect
from keyferry.testing import services
from keyferry.testing.kube import KubeAPI, crds
from keyferry.testing.kubelet import csi_driver
from keyferry.testing.nats import nats_server
from keyferry.testing.services import NodeDriver, Service
from keyferry.testing.stack import CRDS, KubeProcess, Stack, stack
from keyferry.testing.world import AUDIENCES, World
from node_driver import mounts

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
