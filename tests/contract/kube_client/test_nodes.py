"""Where nodes are, asked of an API server."""

import asyncio

import pytest

from fetcher.nodes import Nodes
from keyferry.errors import KubernetesUnavailable
from keyferry.kube import Kube
from keyferry.testing.kube import KubeAPI

NODES = "/api/v1/nodes"


async def add(kube: Kube, name: str, region: str) -> None:
    labels = {"topology.kubernetes.io/region": region} if region else {}
    await kube.post(NODES, {"metadata": {"name": name, "labels": labels}})


async def test_a_node_is_asked_for_once(api: KubeAPI, kube: Kube) -> None:
    """Its region does not change while it lives, so a thousand mounts cost one read."""
    await add(kube, "node-a.example", "eu-west-1")
    nodes = Nodes(kube)

    found = await asyncio.gather(*(nodes.region("node-a.example") for _ in range(20)))
    found.append(await nodes.region("node-a.example"))

    assert set(found) == {"eu-west-1"}
    assert api.faults.requests[f"GET {NODES}/node-a.example"] == 1


async def test_a_label_that_comes_later_is_seen(kube: Kube) -> None:
    """A cloud's controller labels a new node some seconds after it has joined."""
    await add(kube, "node-b", "")
    nodes = Nodes(kube)
    before = await nodes.region("node-b")
    labels = {"metadata": {"labels": {"topology.kubernetes.io/region": "eu-west-1"}}}
    await kube.call("PATCH", f"{NODES}/node-b", body=labels, content_type="application/merge-patch+json")

    assert (before, await nodes.region("node-b")) == ("", "eu-west-1")


@pytest.mark.parametrize("name", ["gone", "../secrets", "", "a b"])
async def test_no_such_node_is_nowhere(kube: Kube, name: str) -> None:
    """Whatever a request names, no other path than a node's is asked for."""
    assert await Nodes(kube).region(name) == ""


async def test_an_api_server_that_is_away_is_told(api: KubeAPI, kube: Kube) -> None:
    """A region that is not known is not guessed: the mount is tried again."""
    api.faults.answer(f"{NODES}/node-a", status=503)

    with pytest.raises(KubernetesUnavailable):
        await Nodes(kube).region("node-a")
