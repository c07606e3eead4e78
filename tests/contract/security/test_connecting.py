"""Who is let in, and to whom nothing is said."""

from __future__ import annotations

from keyferry.testing.nats import Nats

from .conftest import Cluster, plain, refusal


async def test_node(server: Nats, admitted: Cluster) -> None:
    """A node-driver's own token opens the bus."""
    async with plain(server.url, await admitted.node("node-a")) as client:
        assert client.is_connected


async def test_token_of_pods(server: Nats, admitted: Cluster) -> None:
    """A token that is meant for the fetchers does not open the bus."""
    token = await admitted.token("driver-node-a", audience="keyferry")
    assert "authorization" in await refusal(server.url, admitted.showing(token))
