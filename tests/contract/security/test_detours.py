"""Ways around an allow-list: replies and headers that have the server itself say what one may not."""

from __future__ import annotations

import asyncio

import pytest

from keyferry.bus import Bus, connect
from keyferry.subjects import inbox_prefix
from keyferry.testing.nats import Nats

from .conftest import Cluster, access_of, plain


async def volumes(bus: Bus) -> list[str]:
    """What the stream of volumes holds of our nodes."""
    return [stored.subject async for stored in bus.replay("VOLUMES", "keyferry.volume.>")]


@pytest.mark.parametrize(
    "reply",
    [
        *("$JS.API.STREAM.PURGE.VOLUMES", "$JS.API.STREAM.DELETE.VOLUMES", "$JS.API.STREAM.DELETE.FETCH"),
        *("$JS.API.CONSUMER.DELETE.FETCH.fetch-mount", "$JS.API.STREAM.UPDATE.VOLUMES"),
    ],
)
async def test_reply_to_the_api(server: Nats, admitted: Cluster, reply: str) -> None:
    """The acknowledgement of a node's message, sent where the node likes, is no order to the server."""
    async with (
        plain(server.url, await admitted.node("node-a")) as node,
        connect(server.url, name="rotator", access=access_of(admitted.made, "rotator")) as bus,
    ):
        before = await bus.identity("VOLUMES")
        await node.publish("keyferry.volume.node-a.kept", b"x")
        await node.publish("keyferry.volume.node-a.order", b"{}", reply)
        await node.publish("keyferry.fetch.mount.node-a", b"", reply)
        await node.flush()
        async with asyncio.timeout(10):
            while "keyferry.volume.node-a.order" not in await volumes(bus):  # noqa: ASYNC110 - the server stores it
                await asyncio.sleep(0.05)
        assert "keyferry.volume.node-a.kept" in await volumes(bus)
        assert await bus.identity("VOLUMES") == before


async def test_trace_to_others(server: Nats, admitted: Cluster) -> None:
    """A message's trace is not sent to another node's inbox for the asking (CVE-2026-33249)."""
    heard: list[str] = []
    async with (
        plain(server.url, await admitted.node("node-a")) as node,
        plain(server.url, await admitted.node("node-b"), inbox_prefix("node-b")) as other,
    ):

        async def hear(message: object) -> None:
            heard.append(str(message))

        await other.subscribe(f"{inbox_prefix('node-b')}.>", cb=hear)
        await other.flush()
        headers = {"Nats-Trace-Dest": f"{inbox_prefix('node-b')}.r-1"}
        await node.publish("keyferry.volume.node-a.traced", b"x", headers=headers)
        await node.flush()
        await asyncio.sleep(0.2)
        await other.flush()
    assert heard == []
