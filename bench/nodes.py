"""Many nodes in one process: node-drivers but for the socket, each with a bus, keys, volumes and tmpfs of its own.

``python bench/nodes.py NATS_URL KEYS_DIR STATE_DIR``, in a mount namespace. A line of JSON in is a wish, a line out its
answer: ``{"publish": FILE}`` with a line of node and request for each volume, ``{"notes": null}`` what was refreshed
since, ``{"wrong": {CLASS: VERSION}}`` how many volumes do not hold what the backend has.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from keyferry.bus import Bus, connect
from keyferry.errors import KeyferryError
from keyferry.keys import KeyFile
from keyferry.proto.csi.v1 import csi_pb2
from keyferry.sealing import OpeningKey
from keyferry.subjects import hint_subject, inbox_prefix
from node_driver.announce import Announcer
from node_driver.app import HINTS
from node_driver.ask import Asking
from node_driver.publish import Limits, Publisher
from node_driver.published import Published
from node_driver.records import Record, Records
from node_driver.refresh import Refresher
from node_driver.volume import parse_publish
from stub import FILES, value

_AT_ONCE, _SECONDS = 32, 60.0
_NEVER = 0.0  # without a kubelet that republishes, no node refreshes by itself
_LIMITS = Limits(size_bytes=16 * 1024**2, inodes=16384)


@dataclass(frozen=True)
class Notes:
    """What happened since somebody last asked: class, Unix seconds and whether files were switched; and failures."""

    refreshed: list[tuple[str, float, bool]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def take(self) -> dict[str, Any]:
        """All of it, once."""
        taken = {"refreshed": list(self.refreshed), "failed": list(self.failed)}
        self.refreshed.clear()
        self.failed.clear()
        return taken


class NotingAnnouncer(Announcer):
    """Notes when a volume's files are as the backend has them, which is when a driver begins to tell of it."""

    def __init__(self, bus: Bus, node: str, notes: Notes) -> None:
        super().__init__(bus, node)
        self._notes = notes

    def refreshed(self, record: Record, *, changed: bool) -> None:
        """See `Announcer`."""
        self._notes.refreshed.append((record.secret_provider_class, time.time(), changed))
        super().refreshed(record, changed=changed)

    def failed(self, record: Record, asked_for_ms: int, error: KeyferryError) -> None:
        """See `Announcer`."""
        self._notes.failed.append(error.message)
        super().failed(record, asked_for_ms, error)


class Nodes:
    """The nodes of this process, each made when its first volume comes."""

    def __init__(self, nats_url: str, keys_dir: Path, state: Path) -> None:
        self._nats_url = nats_url
        self._keys = KeyFile.public(keys_dir)
        self._state = state
        self._running = AsyncExitStack()
        self._tasks = asyncio.TaskGroup()
        self._publishers: dict[str, Publisher] = {}
        self._published: dict[str, dict[str, Published]] = {}
        self._lasting: list[asyncio.Task[None]] = []
        self._notes = Notes()

    async def run(self) -> None:
        """Answer wishes until standard input ends."""
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader(limit=2**20)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        async with self._running, self._tasks:
            while line := await reader.readline():
                answer = await self._answer(json.loads(line))
                sys.stdout.write(f"{json.dumps(answer)}\n")
                sys.stdout.flush()
            for task in self._lasting:
                task.cancel()

    async def _answer(self, wish: dict[str, Any]) -> dict[str, Any]:
        if "publish" in wish:
            return await self._publish(_lines(Path(wish["publish"])))
        if "wrong" in wish:
            return {"wrong": sum(self._wrong(known.record, wish["wrong"]) for known in self._all())}
        return self._notes.take()

    async def _publish(self, lines: list[list[str]]) -> dict[str, Any]:
        limit = asyncio.Semaphore(_AT_ONCE)
        failures = []

        async def publish(node: str, text: str) -> None:
            volume, credentials = parse_publish(
                csi_pb2.NodePublishVolumeRequest.FromString(base64.b64decode(text, validate=True))
            )
            async with limit:
                try:
                    await self._publishers[node].publish(volume, credentials, time.time() + _SECONDS)
                except KeyferryError as error:
                    failures.append(error.message)

        for node in sorted({node for node, _ in lines} - self._publishers.keys()):
            await self._start(node)
        await asyncio.gather(*(publish(node, text) for node, text in lines))
        gc.collect()
        gc.freeze()  # as a service does; a look at all of a hundred nodes' volumes would be no node's
        return {"published": sum(1 for _ in self._all()), "failures": failures}

    async def _start(self, node: str) -> None:
        bus = await self._running.enter_async_context(
            connect(self._nats_url, name="node-driver", inbox=inbox_prefix(node))
        )
        published = self._published[node] = {}
        asking = Asking(bus, self._keys, node, OpeningKey.generate(node))
        records, announcer = Records(self._state / node), NotingAnnouncer(bus, node, self._notes)
        refresher = Refresher(
            published=published,
            asking=asking,
            records=records,
            announcer=announcer,
            tasks=self._tasks,
            interval=_NEVER,
        )
        self._publishers[node] = Publisher(
            published=published,
            refresher=refresher,
            asking=asking,
            records=records,
            announcer=announcer,
            limits=_LIMITS,
        )
        for lasting in (bus.listen(hint_subject(node), refresher.hear, destination=HINTS), announcer.run()):
            self._lasting.append(self._tasks.create_task(lasting))

    def _all(self) -> list[Published]:
        return [known for volumes in self._published.values() for known in volumes.values()]

    @staticmethod
    def _wrong(record: Record, versions: dict[str, int]) -> bool:
        version = versions.get(record.secret_provider_class, 1)
        return any(
            Path(f"{record.target_path}/file-{number}").read_text()
            != value(record.secret_provider_class, number, version)
            for number in range(FILES)
        )


def _lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()]


def main() -> int:
    """Run from the command line."""
    logging.basicConfig(level=logging.WARNING)
    nats_url, keys_dir, state = sys.argv[1:]
    uvloop.run(Nodes(nats_url, Path(keys_dir), Path(state)).run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
