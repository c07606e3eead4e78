"""A cluster of their own for the pages of the documentation, which make and delete what other tests rely on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from keyferry.kube import connect
from keyferry.testing.aws import aws_server
from keyferry.testing.azure import AzureEmulator
from keyferry.testing.demo import clouds
from keyferry.testing.demo.values import Secrets
from keyferry.testing.gcp import GcpEmulator
from keyferry.testing.kube.node import RealNode, real_node
from keyferry.testing.nats import nats_server
from keyferry.testing.openbao import openbao_server
from keyferry.testing.valkey import valkey_server
from tests.e2e_kube.docs import guide
from tests.e2e_kube.docs.cluster import Around, Cluster, all_gone, fill, furnish, rolled_out, terminal


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The page of operations comes last: it loses all keys, and what is in work then."""
    items.sort(key=lambda item: item.path.name == "test_operations.py" and item.path.parent == Path(__file__).parent)


@pytest.fixture(scope="session")
def pages_node() -> Iterator[RealNode]:
    """A cluster that only the pages use: they make and delete what tests beside them rely on."""
    with real_node() as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def around(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Around]:
    """Bus, store and backends."""
    place, values = tmp_path_factory.mktemp("around"), Secrets()
    with (
        nats_server(place / "nats") as nats,
        valkey_server(place / "valkey") as valkey,
        openbao_server(place / "openbao") as openbao,
        aws_server(place / "aws") as aws,
    ):
        async with AzureEmulator() as azure, GcpEmulator(metadata=clouds.GKE) as google:
            yield Around(nats, valkey, openbao, aws, azure, google, values)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster(
    pages_node: RealNode, around: Around, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    """Keyferry as the guide has it installed, every service a pod, and nothing else yet."""
    place = tmp_path_factory.mktemp("reader")
    async with connect(pages_node.kubeconfig, user_agent="pages") as kube:
        role = await fill(around, kube)
        ports = await furnish(pages_node, kube, around, place)
        shell = terminal(place / "home", pages_node, around, role)
        made = Cluster(pages_node, kube, around, shell, ports)
        for kind in ("daemonset", "deployment"):
            await rolled_out(pages_node, kind)
        yield made
        await all_gone(pages_node)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def guided(cluster: Cluster) -> Cluster:
    """The cluster after a reader has followed the guide to its end."""
    await guide.read(cluster)
    return cluster
