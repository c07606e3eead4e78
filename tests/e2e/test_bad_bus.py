"""A bus without fetchers, without streams, full, or with somebody on it who writes what he should not."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from keyferry import keymaking, streams
from keyferry.errors import AccessDenied
from keyferry.keys import KeyFile
from keyferry.kube import Json
from keyferry.messages import FetchRequest, failed_reply, fetched_reply
from keyferry.proto.keyferry.v1 import bus_pb2 as pb
from keyferry.resources import Content, File
from keyferry.sealing import OpeningKey, Sealed, SigningKey
from keyferry.subjects import mount_subject, reply_subject
from keyferry.testing.nats import nats_server
from keyferry.testing.proxy import counting_proxy
from keyferry.testing.services import NodeDriver, Service, node_driver
from keyferry.testing.stack import Stack
from keyferry.testing.world import World

if TYPE_CHECKING:
    from tests.e2e.conftest import Settle, Until

pytestmark = pytest.mark.root

READ = "GET /v1/secret/data"


@pytest.fixture
async def intruder(servers: Stack) -> AsyncIterator[Client]:
    """A client of the session's bus who may read and write everything."""
    client = await nats.connect(servers.nats.url)
    yield client
    await client.close()


async def queued(client: Client) -> int:
    """How many requests lie in the queue, taken or not."""
    return int((await client.jetstream().stream_info("FETCH")).state.messages)


async def one_queued(client: Client) -> bool:
    return await queued(client) == 1


async def drained(client: Client) -> bool:
    return await queued(client) == 0


async def settled(settle: Settle, node: NodeDriver) -> World:
    world = await settle(node)
    await world.secret("db", password="tiger")
    await world.vault_class()
    return world


async def mounts(world: World, pod: Json) -> None:
    target = await world.kubelet.publish(pod, "secrets")
    assert (target / "password").read_text() == "tiger"


async def test_nobody_fetches(own: Stack, settle: Settle) -> None:
    """Where no fetcher runs, the text says so before kubelet gives up; with a fetcher the same volume mounts."""
    with own.node_driver() as node:
        world = await settled(settle, node)
        pod = await world.pod()
        code, said = await world.refused(world.kubelet.publish(pod, "secrets", seconds=2.5), pod)

        assert code == "DEADLINE_EXCEEDED"
        assert "no fetcher answered in time: check that fetchers run" in said
        with own.fetcher():
            await mounts(world, pod)


async def test_full_queue(own: Stack, settle: Settle, until: Until) -> None:
    """A full queue is RESOURCE_EXHAUSTED, so that kubelet backs off; all pods mount when fetchers come."""
    await streams.ensure(streams.Settings(nats_url=own.nats.url, max_requests=1))
    client = await nats.connect(own.nats.url)
    with own.node_driver() as node:
        world = await settled(settle, node)
        pods = [await world.pod(), await world.pod()]
        first = asyncio.create_task(world.kubelet.publish(pods[0], "secrets"))
        await until(lambda: one_queued(client))
        code, said = await world.refused(world.kubelet.publish(pods[1], "secrets"), pods[1])

        assert code == "RESOURCE_EXHAUSTED"
        assert "fetchers are too few, too slow or stopped" in said
        with own.fetcher():
            await first
            await mounts(world, pods[1])
    await client.close()


async def test_no_streams(servers: Stack, place: Path, settle: Settle) -> None:
    """A bus without streams is UNAVAILABLE and names the command that makes them."""
    directory = place / "bare"
    keymaking.create(directory / "keys")
    with (
        nats_server(directory / "nats") as bus,
        node_driver(directory, nats_url=bus.url, keys_dir=directory / "keys") as node,
    ):
        world = await settled(settle, node)
        pod = await world.pod()
        code, said = await world.refused(world.kubelet.publish(pod, "secrets"), pod)

        assert code == "UNAVAILABLE"
        assert "python -m keyferry.streams" in said
        assert servers.nats.url != bus.url


REQUESTS: dict[str, bytes] = {
    "empty": b"",
    "noise": secrets.token_bytes(500),
    "no id": pb.FetchRequest(node="node-a").SerializeToString(),
    "id with wildcards": pb.FetchRequest(request_id="a.*.>", node="node-a").SerializeToString(),
    "no node": pb.FetchRequest(request_id="a").SerializeToString(),
    "sealed to nobody": pb.FetchRequest(
        request_id="b", node="node-a", volume_id="v", ask=pb.Sealed(key_id="x", ciphertext=b"y" * 99)
    ).SerializeToString(),
    "large": secrets.token_bytes(7_000_000),
}


async def test_garbage(world: World, intruder: Client, fetcher: Service, until: Until) -> None:
    """Messages that are none are taken from the queue, are no defect, and harm nobody."""
    for subject in (
        mount_subject("node-a"),
        "keyferry.fetch.refresh.node-a",
        "keyferry.volume.node-a.v",
        "_INBOX.node.node-a.x",
        "_INBOX.node.node-a.ack-x",
    ):
        for payload in REQUESTS.values():
            await intruder.publish(subject, payload)
    await until(lambda: drained(intruder))

    await mounts(world, await world.pod())
    assert "defect" not in fetcher.process.output()
    assert world.node.process.is_running


async def overheard(client: Client, subject: str, during: Awaitable[object]) -> list[Msg]:
    """What is said on a subject while something goes on."""
    heard: list[Msg] = []

    async def listen(message: Msg) -> None:
        heard.append(message)

    subscription = await client.subscribe(subject, cb=listen)
    await client.flush()
    await during
    await client.flush()
    await subscription.unsubscribe()
    return heard


async def test_request_in_anothers_name(world: World, intruder: Client, fetcher: Service, until: Until) -> None:
    """A node that repeats another's request on its own subject gets no content, whatever name it puts on it."""
    pod = await world.pod()
    request = (await overheard(intruder, mount_subject("node-a"), mounts(world, pod)))[0]
    renamed = pb.FetchRequest.FromString(request.data)
    renamed.node, renamed.request_id = "node-b", "stolen"

    async def repeat() -> None:
        await intruder.jetstream().publish(mount_subject("node-b"), request.data)
        await intruder.jetstream().publish(mount_subject("node-b"), renamed.SerializeToString())
        await until(lambda: drained(intruder))

    replies = await overheard(intruder, "_INBOX.node.node-b.*", repeat())
    assert [pb.FetchReply.FromString(pb.Signed.FromString(each.data).body).failed.reason for each in replies] == [
        "UntrustedMessage"
    ]
    assert "a node asked in another's name" in fetcher.process.output()


async def test_repeated_request(world: World, intruder: Client, until: Until) -> None:
    """A request that somebody repeats is answered to its own node alone; the repeater learns that it was stored."""
    pod = await world.pod()
    request = (await overheard(intruder, mount_subject("node-a"), mounts(world, pod)))[0]

    inbox = await intruder.subscribe("evil.>")
    await intruder.publish(request.subject, request.data, "evil.inbox")
    stored = await inbox.next_msg(timeout=10)
    await until(lambda: drained(intruder))
    await intruder.flush()

    assert json.loads(stored.data)["stream"] == "FETCH"
    assert inbox.pending_msgs == 0
    await mounts(world, pod)


def forged(request: FetchRequest, sign: SigningKey, seal_to: OpeningKey, text: bytes = b"lion") -> bytes:
    """A reply with a content of the forger's own."""
    content = Content("vault", "k", b"d", int(time.time() * 1000), (), (File("password", text, 0o644),))
    return fetched_reply(request, content, to=seal_to.recipient, sign=sign)


def refusals(world: World, count: int) -> bool:
    return world.node.process.output().count("a reply was refused") == count


async def test_forged_replies(world: World, intruder: Client, until: Until) -> None:
    """Replies that no fetcher signed, to other requests, or sealed to others are passed over: the true one wins."""
    earlier = (await overheard(intruder, "_INBOX.node.node-a.*", mounts(world, await world.pod())))[-1]
    true_key = KeyFile.fetcher(world.servers.keys_dir).keys.signing.current(time.time())
    false_key, node_b = SigningKey.generate(true_key.key_id), OpeningKey.generate("node-b")
    async with counting_proxy(world.servers.openbao.address) as proxy:
        await world.vault_class("held", vaultAddress=proxy.url)
        pod = await world.pod("held")
        with proxy.held(READ):
            sent = asyncio.create_task(overheard(intruder, mount_subject("node-a"), proxy.arrived(1, READ)))
            mount = asyncio.create_task(world.kubelet.publish(pod, "held"))
            request = FetchRequest.from_bytes((await sent)[0].data)
            other = FetchRequest("other", request.node, request.volume_id, Sealed("x", b""))
            refused = [
                b"",
                secrets.token_bytes(300),
                pb.Signed(key_id=true_key.key_id, body=b"x", signature=b"y" * 64).SerializeToString(),
                failed_reply(request, AccessDenied("no"), provider="vault", sign=false_key),
                forged(request, false_key, node_b),
                forged(request, SigningKey.generate("unknown"), node_b),
                earlier.data,
                forged(other, true_key, node_b),
                forged(request, true_key, node_b),
            ]
            assert not mount.done()
            before = world.node.process.output().count("a reply was refused")
            for number, payload in enumerate(refused, 1):
                await intruder.publish(reply_subject("node-a", request.request_id), payload)
                await until(partial(refusals, world, before + number))
        target = await mount

    assert (target / "password").read_text() == "tiger"


async def test_flood_of_forged_replies(world: World, intruder: Client) -> None:
    """A stream of forged replies does not drown the true one."""
    async with counting_proxy(world.servers.openbao.address) as proxy:
        await world.vault_class("held", vaultAddress=proxy.url)
        pod = await world.pod("held")
        with proxy.held(READ):
            sent = asyncio.create_task(overheard(intruder, mount_subject("node-a"), proxy.arrived(1, READ)))
            mount = asyncio.create_task(world.kubelet.publish(pod, "held", seconds=8.0))
            request = FetchRequest.from_bytes((await sent)[0].data)
            flood = asyncio.create_task(keep_sending(intruder, reply_subject("node-a", request.request_id)))
        target = await mount
        flood.cancel()

    assert (target / "password").read_text() == "tiger"


async def keep_sending(client: Client, subject: str) -> None:
    while True:
        for _ in range(20):
            await client.publish(subject, b"lion")
        await client.flush()


async def test_forged_volume_events(world: World, intruder: Client) -> None:
    """What others say of a volume on the bus moves nothing on the node: it obeys kubelet alone."""
    pod = await world.pod()
    await mounts(world, pod)
    gone = pb.VolumeEvent(
        unpublished=pb.VolumeUnpublished(volume_id=world.kubelet.handle(pod, "secrets"), node="node-a")
    )
    await intruder.publish(f"keyferry.volume.node-a.{gone.unpublished.volume_id}", gone.SerializeToString())
    await intruder.publish("keyferry.refresh.node-a", gone.SerializeToString())
    await intruder.flush()

    await mounts(world, pod)
    assert len(world.left(pod)) == 3
