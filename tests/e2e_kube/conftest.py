"""A cluster with a real kubelet and our services as processes on it, shared by tests that each have a namespace."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from keyferry.kube import Kube, connect
from keyferry.testing import services
from keyferry.testing.kube.node import REPOSITORY, RealNode, real_node
from keyferry.testing.kube.pods import Namespace, registered, until
from keyferry.testing.kube.tls import kubeconfig
from keyferry.testing.nats import Nats
from keyferry.testing.openbao import OpenBao
from keyferry.testing.services import NodeDriver, Service
from keyferry.testing.valkey import Valkey

RBAC = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
FORCED = (
    "--wait=false",
    "--grace-period=0",
    "--force",
)  # else kubelet, which may ask the API 5 times a second, takes long
LOG_LINES = 40


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """These tests run when they are named (`make e2e-kube`): they need root, and binaries that are built first."""
    assert collection_path.is_absolute()
    return None if any("e2e_kube" in word for word in config.args) else True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows what the cluster says of it: events and pods of the namespace, the ends of our services' logs."""
    report = yield
    if report.failed:
        found: dict[str, Any] = item.funcargs
        report.sections += [
            (f"log of {name}", "\n".join(found[name].process.log.read_text().splitlines()[-LOG_LINES:]))
            for name in ("driver", "fetcher", "rotator", "syncer")
            if name in found
        ]
        if (chart := found.get("chart")) is not None:
            report.sections.append(("pods of the chart", asyncio.run(chart.seen())))
        if (namespace := found.get("ns")) is not None:
            report.sections.append((f"events and pods of {namespace.name}", asyncio.run(seen(namespace))))
    return report


async def seen(namespace: Namespace) -> str:
    """What kubectl says of a namespace."""
    words = ("get", "pods,secretproviderclasses,secrets,secretproviderclasspodstatuses", "-o", "wide")
    told = await namespace.node.kubectl("-n", namespace.name, *words, check=False)
    events = (
        "get",
        "events",
        "--sort-by=.lastTimestamp",
        "-o",
        "custom-columns=R:.reason,O:.involvedObject.name,M:.message",
    )
    return told + "\n" + await namespace.node.kubectl("-n", namespace.name, *events, check=False)


@pytest.fixture(scope="session")
def node() -> Iterator[RealNode]:
    """A cluster with one node, furnished as docs/running.md says."""
    with real_node() as running:
        asyncio.run(furnish(running))
        yield running


async def furnish(running: RealNode) -> None:
    """Apply the CRDs, and every manifest of docs/running.md."""
    for path in sorted((REPOSITORY / "deploy" / "crds").iterdir()):
        # A 1.20 built with a Go newer than its own, as kube-assets builds it, takes an empty default for null.
        await running.kubectl("apply", "-f", "-", stdin=path.read_text().replace('default: ""', "nullable: false"))
    page = (REPOSITORY / "docs" / "running.md").read_text()
    manifests = re.findall(r"kubectl apply -f - <<'EOF'\n(.*?)\nEOF\n", page, re.DOTALL)
    assert {"CSIDriver", "ClusterRole"} <= {yaml.safe_load(each)["kind"] for each in manifests}
    for each in manifests:
        await running.kubectl("apply", "-f", "-", stdin=each)


async def account(kube: Kube, name: str, role: str) -> str:
    """Make a service account with a cluster role; returns a token of it."""
    accounts = "/api/v1/namespaces/kube-system/serviceaccounts"
    await kube.post(accounts, {"metadata": {"name": name}})
    subject = {"kind": "ServiceAccount", "name": name, "namespace": "kube-system"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    await kube.post(RBAC, {"metadata": {"name": name}, "subjects": [subject], "roleRef": reference})
    answer = await kube.post(f"{accounts}/{name}/token", {"spec": {"expirationSeconds": 86400}})
    assert answer is not None
    token: str = answer["status"]["token"]
    return token


@pytest.fixture(scope="session")
def fetcher(node: RealNode, nats: Nats, openbao: OpenBao, valkey: Valkey, place: Path) -> Iterator[Service]:
    """A fetcher with no more rights than the documented ones, and an OpenBao that knows the cluster's tokens."""

    async def introduce() -> str:
        async with connect(node.kubeconfig, user_agent="e2e-kube") as kube:
            reviewer = await account(kube, "reviewer", "system:auth-delegator")
            await openbao.enable_kubernetes(host=node.url, ca_pem=node.ca_pem, reviewer_token=reviewer)
            return await account(kube, "fetcher", "keyferry-fetcher")

    own = place / "fetcher.kubeconfig"
    own.write_text(json.dumps(kubeconfig(node.url, node.ca_pem, asyncio.run(introduce()))))
    services.prepare(nats.url, place / "keys")
    env = {"KEYFERRY_REDIS_URL": valkey.url, "AWS_REGION": "us-west-2"}
    with services.fetcher(place, nats_url=nats.url, keys_dir=place / "keys", kubeconfig=own, env=env) as running:
        yield running


@pytest.fixture(scope="session")
def rotator(nats: Nats, valkey: Valkey, place: Path, fetcher: Service) -> Iterator[Service]:
    """A rotator."""
    assert fetcher.process.is_running
    with services.rotator(place, nats_url=nats.url, redis_url=valkey.url) as running:
        yield running


@pytest.fixture(scope="session")
def syncer(node: RealNode, nats: Nats, place: Path, fetcher: Service) -> Iterator[Service]:
    """A syncer."""
    assert fetcher.process.is_running
    with services.syncer(place, nats_url=nats.url, keys_dir=place / "keys", kubeconfig=node.kubeconfig) as running:
        yield running


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where logs and keys are."""
    return tmp_path_factory.mktemp("services")


@pytest.fixture(scope="session")
def driver(node: RealNode, nats: Nats, place: Path, fetcher: Service) -> Iterator[NodeDriver]:
    """The node's driver, registered with kubelet; in the end every pod goes, and nothing is left mounted."""
    assert fetcher.process.is_running
    with services.node_driver(
        place, nats_url=nats.url, keys_dir=place / "keys", node=node.name, env=node.driver_settings
    ) as running:
        asyncio.run(registered(running))
        yield running
        asyncio.run(all_gone(node))


async def all_gone(node: RealNode) -> None:
    """Delete every pod and wait until the node has no volume any more."""
    await node.kubectl("delete", "deployments,pods", "--all", "--all-namespaces", *FORCED)

    async def none_left() -> bool:
        pods = await node.kubectl("get", "pods", "--all-namespaces", "-o", "name")
        return [pods, node.mounted(), node.records()] == ["", [], []]

    await until(none_left)


@pytest.fixture
async def kube(node: RealNode) -> AsyncIterator[Kube]:
    """The administrator's client."""
    async with connect(node.kubeconfig, user_agent="e2e-kube") as kube:
        yield kube


Make = Callable[[], Awaitable[Namespace]]


@pytest.fixture
def make(node: RealNode, kube: Kube, openbao: OpenBao, driver: NodeDriver) -> Make:
    """Makes a namespace with a secret `db` and a class `secrets` that mounts its password."""
    assert driver.process.is_running

    async def made() -> Namespace:
        namespace = Namespace(node, kube, openbao, f"ns-{uuid.uuid4().hex[:8]}")
        await namespace.make()
        await namespace.secret(password="tiger", user="app")
        await namespace.vault_class()
        return namespace

    return made


@pytest.fixture
async def ns(make: Make, node: RealNode) -> AsyncIterator[Namespace]:
    """A namespace for the test; its pods are told to go, and not waited for."""
    namespace = await make()
    yield namespace
    await node.kubectl("-n", namespace.name, "delete", "deployments,pods", "--all", *FORCED)
