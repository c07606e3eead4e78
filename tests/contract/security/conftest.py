"""A NATS as it is deployed, a cluster with node-drivers in it, and a fetcher's answers about them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import nats.errors
import pytest

from fetcher.callout import BUS_AUDIENCE, Callout
from fetcher.identity import TokenVerifier
from keyferry import identities, streams
from keyferry.bus import connect
from keyferry.bus.client import Connection
from keyferry.bus.identity import Access
from keyferry.bus.nkeys import Nkey, Role
from keyferry.bus.permissions import CALLOUT_QUEUE, CALLOUT_SUBJECT
from keyferry.kube import Kube
from keyferry.kube import connect as connect_kube
from keyferry.testing.kube import KubeAPI, crds
from keyferry.testing.nats import Nats, guarded_nats_server
from keyferry.testing.stack import CRDS

ACCOUNT = "kube-system/secrets-store-csi-driver"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `python -m keyferry.identities create` makes."""
    folder = tmp_path_factory.mktemp("identities")
    identities.create(folder, nats_hosts=["127.0.0.1", "localhost"], redis_hosts=["127.0.0.1", "localhost"])
    return folder


def access_of(made: Path, name: str) -> Access:
    """How a service connects."""
    return Access(str(made / "ca.crt"), str(made / f"{name}.nk"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, made: Path) -> Iterator[Nats]:
    """A NATS as it is deployed, with streams that their own identity has made."""
    with guarded_nats_server(tmp_path_factory.mktemp("guarded"), made) as running:
        settings = streams.Settings(
            nats_url=running.url, nats_ca_file=str(made / "ca.crt"), nats_nkey_file=str(made / "streams.nk")
        )
        asyncio.run(streams.ensure(settings))
        yield running


@dataclass(frozen=True)
class Cluster:
    """Node-drivers in a cluster, and others who would like to be one."""

    kube: Kube
    made: Path
    folder: Path

    async def run(self, account: str, name: str, node: str) -> None:
        """A pod of a service account on a node."""
        namespace, _, service_account = account.partition("/")
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        if await self.kube.get(f"{accounts}/{service_account}") is None:
            await self.kube.post(accounts, {"metadata": {"name": service_account}})
        spec = {"serviceAccountName": service_account, "nodeName": node, "containers": [{"name": "c", "image": "i"}]}
        await self.kube.post(f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": name}, "spec": spec})

    async def token(
        self, name: str, *, account: str = ACCOUNT, audience: str = BUS_AUDIENCE, bound: bool = True
    ) -> str:
        """A token as kubelet would ask for it."""
        namespace, _, service_account = account.partition("/")
        spec: dict[str, object] = {"audiences": [audience]}
        if bound:
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": name}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        answer = await self.kube.post(path, {"spec": spec}) or {}
        return str(answer["status"]["token"])

    def showing(self, token: str) -> Access:
        """How a node-driver connects that has this token."""
        file = self.folder / f"token-{abs(hash(token))}"
        file.write_text(token)
        return Access(ca_file=str(self.made / "ca.crt"), token_file=str(file))

    async def node(self, node: str) -> Access:
        """How the driver on a node connects."""
        return self.showing(await self.token(f"driver-{node}"))


@pytest.fixture
async def api() -> AsyncIterator[KubeAPI]:
    """The cluster's API server, with Keyferry's kinds."""
    async with KubeAPI(crds=crds.load(CRDS)) as running:
        yield running


@pytest.fixture
async def cluster(api: KubeAPI, made: Path, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Drivers on two nodes."""
    async with connect_kube(api.kubeconfig) as kube:
        cluster = Cluster(kube, made, tmp_path)
        for node in ("node-a", "node-b"):
            await cluster.run(ACCOUNT, f"driver-{node}", node)
        yield cluster


@asynccontextmanager
async def admitting(
    server: Nats, made: Path, kube: Kube, *, now: Callable[[], float] = time.time
) -> AsyncIterator[None]:
    """A fetcher that answers for nodes, by its clock."""
    issuer = Nkey.from_seed((made / "issuer.nk").read_text(), Role.ACCOUNT)
    callout = Callout(TokenVerifier(kube, now=now), issuer, ACCOUNT)
    async with connect(server.url, name="callout", access=access_of(made, "callout")) as bus:
        answering = asyncio.create_task(bus.answer(CALLOUT_SUBJECT, CALLOUT_QUEUE, callout))
        await asyncio.sleep(0)
        await bus._nats.flush()  # the server knows of the subscription
        yield
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)


@pytest.fixture
async def admitted(server: Nats, made: Path, cluster: Cluster) -> AsyncIterator[Cluster]:
    """The cluster, with a fetcher that answers for its nodes."""
    async with admitting(server, made, cluster.kube):
        yield cluster


class Plain(Connection):
    """A client that keeps what the server complains of."""

    def __init__(self) -> None:
        super().__init__()
        self.complaints: list[str] = []

    async def _complain(self, error: Exception) -> None:
        self.complaints.append(str(error).lower())


@asynccontextmanager
async def plain(url: str, access: Access | None, inbox: str = "_INBOX.test", **options: object) -> AsyncIterator[Plain]:
    """A connection with somebody's identity, which is used as he would not.

    Raises:
        nats.errors.Error, OSError, TimeoutError: it is refused.
    """
    client = Plain()
    await client.open(url, access=access, name="test", inbox_prefix=inbox, **options)
    try:
        yield client
    finally:
        await client.close()


async def refusal(url: str, access: Access | None) -> str:
    """Why a connection is refused."""
    with pytest.raises((nats.errors.Error, OSError, TimeoutError)) as refused:
        async with plain(url, access, allow_reconnect=False):
            pass
    return f"{type(refused.value).__name__}: {refused.value}".lower()
