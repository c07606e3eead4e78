"""Measures how many requests one fetcher answers: ``make bench-fetcher``, or ``python bench/replies.py [--quick]``.

Simulated nodes publish straight onto the bus what node-drivers would, sealed beforehand, so that nothing but the
fetcher is the limit; every reply is verified and opened afterwards. The last line is JSON. With ``--redis`` contents
are shared as with other fetchers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import nats
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg

from cluster import SHARED, Cluster
from keyferry.errors import KeyferryError
from keyferry.keys import KeyFile, PublicKeys
from keyferry.kube import connect
from keyferry.messages import REPLY, Ask, FetchRequest, SignedReply
from keyferry.proto.csi.v1 import csi_pb2
from keyferry.resources import Content
from keyferry.sealing import OpeningKey
from keyferry.subjects import inbox_prefix, mount_subject, refresh_subject
from keyferry.testing.valkey import valkey_server
from measure import Costs, percentile, table
from node_driver.volume import parse_publish
from rig import Ground, Services, ground, where
from stub import FILES

_NODES, _IN_FLIGHT, _SECONDS = 10, 200, 60.0
_HEADER = ("", "replies/s", "p50 ms", "p99 ms", "failed", "fetcher CPU ms", "per core and s", "nats", "client", "reads")


@dataclass(frozen=True)
class Row:
    """One measured row of requests; CPU milliseconds are for one reply."""

    title: str
    seconds: float
    latencies_ms: Sequence[float]
    failed: int
    cpu: dict[str, float]
    reads: int

    @property
    def per_second(self) -> float:
        """Replies that brought a content, per second."""
        return (len(self.latencies_ms) - self.failed) / self.seconds

    @property
    def per_core(self) -> float:
        """What the fetcher would reach if it had a core for itself all the time."""
        return 1000 / self.cpu["fetcher"]

    def cells(self) -> list[object]:
        """For the table."""
        p50, p99 = percentile(self.latencies_ms, 50), percentile(self.latencies_ms, 99)
        cpu = [self.cpu["fetcher"], self.per_core, self.cpu["nats"], self.cpu["client"]]
        return [self.title, self.per_second, p50, p99, self.failed, *cpu, self.reads]


class Asking:
    """Nodes that ask for many pods' mounts and take the replies on their inboxes."""

    def __init__(self, client: Client, keys: PublicKeys) -> None:
        self._client = client
        self._keys = keys
        self._own_key = OpeningKey.generate("simulated-node")
        self._waiting: dict[str, asyncio.Future[bytes]] = {}

    async def listen(self) -> None:
        """Take replies for all nodes."""
        for node in map(node_name, range(_NODES)):
            await self._client.subscribe(f"{inbox_prefix(node)}.*", cb=self._take)

    def seal(
        self, like: csi_pb2.NodePublishVolumeRequest, node: str, class_name: str, known_digest: bytes = b""
    ) -> FetchRequest:
        """What a node would ask for this mount, or for a refresh of what it has."""
        volume, credentials = parse_publish(like)
        ask = Ask(
            volume.pod,
            class_name,
            self._own_key.recipient,
            volume.attributes,
            tokens=credentials.tokens,
            known_digest=known_digest,
            not_before_ms=1 if known_digest else 0,
        )
        to = self._keys.fetcher.current(time.time())
        return FetchRequest.seal(ask, to=to, request_id=uuid.uuid4().hex, node=node, volume_id=volume.volume_id)

    async def ask_all(
        self, requests: Sequence[FetchRequest], where: Callable[[str], str] = mount_subject
    ) -> list[tuple[float, bytes]]:
        """Milliseconds that each took, and the reply."""
        limit = asyncio.Semaphore(_IN_FLIGHT)

        async def ask(request: FetchRequest) -> tuple[float, bytes]:
            async with limit:
                reply = self._waiting[request.request_id] = asyncio.get_running_loop().create_future()
                start = time.perf_counter()
                headers = {
                    "Nats-Msg-Id": request.request_id,
                    "Keyferry-Deadline": str(int((time.time() + _SECONDS) * 1000)),
                }
                await self._client.publish(where(request.node), request.to_bytes(), headers=headers)
                async with asyncio.timeout(_SECONDS):
                    payload = await reply
                return (time.perf_counter() - start) * 1000, payload

        return await asyncio.gather(*(ask(request) for request in requests))

    def content(self, request: FetchRequest, payload: bytes) -> Content | None:
        """What a reply brings, if it is a fetcher's, to this request, and with all files or none."""
        try:
            signed = SignedReply.from_bytes(payload)
            self._keys.verify(signed.key_id, REPLY, signed.body, signed.signature)
            content = signed.content(request, self._own_key)
        except KeyferryError:
            return None
        return content if content.files is None or len(content.files) == FILES else None

    async def _take(self, message: Msg) -> None:
        reply = self._waiting.pop(message.subject.rpartition(".")[2], None)
        if reply is not None and not reply.done():
            reply.set_result(message.data)


def node_name(number: int) -> str:
    """Of a simulated node."""
    return f"simulated-{number % _NODES}"


async def row(
    asking: Asking, base: Ground, services: Services, title: str, requests: Sequence[FetchRequest], *, new: bool = True
) -> Row:
    """Ask for all, count and look into the replies; without anything new these are refreshes, which bring no files."""
    base.reset_backend()
    pids = {"fetcher": services.fetcher.process.pid, "nats": base.nats.pid, "client": os.getpid()}
    costs = Costs.start(pids)
    start = time.perf_counter()
    replies = await asking.ask_all(requests, mount_subject if new else refresh_subject)
    seconds, cpu = time.perf_counter() - start, costs.each(len(requests))
    found = [asking.content(request, payload) for request, (_, payload) in zip(requests, replies, strict=True)]
    failed = sum(content is None or (content.files is not None) != new for content in found)
    reads = base.backend_counts().get("reads", 0)
    return Row(title, seconds, [took for took, _ in replies], failed, cpu, reads)


async def measure(base: Ground, count: int, redis_url: str) -> None:
    """Run everything, print the table and the JSON line."""
    rows = []
    async with connect(base.kube.kubeconfig) as kube:
        cluster = Cluster(kube, base.backend_url)
        await cluster.prepare()
        classes = [f"own-{number}" for number in range(count)]
        for name in classes:
            await cluster.add_class(name)
        pods = [await cluster.pods(count // _NODES, node=node_name(number)) for number in range(_NODES)]
        by_node = [
            (node_name(number), await cluster.requests(some, endpoint="", root=base.directory))
            for number, some in enumerate(pods)
        ]
        likes = [(node, like) for node, some in by_node for like in some]
        client = await nats.connect(base.nats_url)
        asking = Asking(client, KeyFile.public(base.keys_dir).keys)
        await asking.listen()
        for traced in (False, True):
            word = "traced" if traced else "untraced"
            with base.services(traced=traced, redis_url=redis_url) as services:
                shared = [asking.seal(like, node, SHARED) for _ in range(3) for node, like in likes]
                own = [asking.seal(like, node, name) for (node, like), name in zip(likes, classes, strict=True)]
                warm = [asking.seal(like, node, SHARED) for node, like in likes]
                await row(asking, base, services, "warm-up", warm[1:])
                ((_, first),) = await asking.ask_all(warm[:1])
                content = asking.content(warm[0], first)
                digest = content.digest if content else b""
                rows.append(await row(asking, base, services, f"shared content, {word}", shared))
                rows.append(await row(asking, base, services, f"distinct contents, {word}", own))
                known = [asking.seal(like, node, SHARED, digest) for _ in range(3) for node, like in likes]
                rows.append(await row(asking, base, services, f"refreshes, {word}", known, new=False))
        await client.close()
    title = f"Replies of one fetcher, {_IN_FLIGHT} requests at once; CPU ms a reply"
    print(table(title, _HEADER, [each.cells() for each in rows]))
    print()
    print(
        json.dumps({each.title: {"per_s": round(each.per_second), "per_core": round(each.per_core)} for each in rows})
    )


def main() -> int:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of the work, for a look")
    parser.add_argument("--redis", action="store_true", help="with a Redis")
    args = parser.parse_args()
    count = 200 if args.quick else 1000
    with tempfile.TemporaryDirectory(prefix="kfb", dir=where()) as folder, ExitStack() as running:
        base = running.enter_context(ground(Path(folder)))
        redis_url = running.enter_context(valkey_server(Path(folder) / "valkey")).url if args.redis else ""
        uvloop.run(measure(base, count, redis_url))
    return 0


if __name__ == "__main__":
    sys.exit(main())
