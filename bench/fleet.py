"""A fleet whose volumes rotate: one real node-driver, and simulated nodes in a process of their own (`nodes.py`)."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from cluster import Cluster, Mount, mounts
from keyferry.proto.csi.v1 import csi_pb2
from node_driver.mounts import unmount
from rig import NODE, Ground, Services, wrong
from storm import as_kubelet, run

CONTENTS = 100
CLASSES = tuple(f"content-{number}" for number in range(CONTENTS))
VOLUMES_EACH = 5
"""Of a pod; a node holds one volume of each content."""

_HERE = Path(__file__).parent
_LINE = 64 * 1024**2
_NICE = 5  # simulated nodes are other machines: what they do must not take the CPU from under what is measured


class Fleet:
    """The nodes, and who mounts on them. The first is the real one.

    Args:
        base: What they stand on.
        services: The real node-driver.
        cluster: Where their pods are.
        process: Runs the simulated ones.
    """

    def __init__(self, base: Ground, services: Services, cluster: Cluster, process: Process) -> None:
        self._base = base
        self._services = services
        self._cluster = cluster
        self._process = process
        self._size = 0
        self.requests: Sequence[csi_pb2.NodePublishVolumeRequest] = ()
        self.volumes: dict[str, Mount] = {}
        self.versions: dict[str, int] = {}

    @property
    def pid(self) -> int:
        """Of the process with the simulated nodes."""
        return self._process.pid

    async def grow(self, nodes: int) -> tuple[int, list[str]]:
        """Have so many nodes with a volume of each content; how many volumes there are, and why some are not."""
        failures: list[str] = []
        if not self._size:
            self.requests, made = await self._made(NODE, self._services.node.kubelet_root)
            self.volumes = dict(zip(CLASSES, made, strict=True))
            calls = [as_kubelet(mount.publish) for mount in made]
            failures += (await run(self._services.node.endpoint, calls, at_once=10)).failures
            self._size = 1
        lines = []
        for number in range(self._size, nodes):
            name = f"simulated-{number}"
            _, made = await self._made(name, self._base.directory / "nodes" / name)
            lines += [f"{name} {base64.b64encode(mount.publish.request).decode()}" for mount in made]
        self._size = nodes
        wishes = self._base.directory / "requests"
        wishes.write_text("\n".join(lines))
        answer = await self._ask({"publish": str(wishes)})
        return answer["published"] + len(self.volumes), [*failures, *answer["failures"]]

    async def notes(self) -> tuple[list[tuple[str, float, bool]], list[str]]:
        """What the simulated nodes have refreshed since they were last asked, and why they could not."""
        answer = await self._ask({"notes": None})
        return [(name, at, changed) for name, at, changed in answer["refreshed"]], answer["failed"]

    async def wrong(self) -> int:
        """How many volumes of the fleet do not hold what the backend has."""
        answer = await self._ask({"wrong": self.versions})
        ours = sum(wrong(mount, name, self.versions.get(name, 1)) for name, mount in self.volumes.items())
        return int(answer["wrong"]) + ours

    async def _made(self, node: str, root: Path) -> tuple[list[csi_pb2.NodePublishVolumeRequest], list[Mount]]:
        """What kubelet would send for the pods of a node, and a volume of each content, some for each pod."""
        pods = await self._cluster.pods(CONTENTS // VOLUMES_EACH, node=node)
        requests = await self._cluster.requests(pods, endpoint="", root=root)
        made: list[Mount] = []
        for number in range(VOLUMES_EACH):
            classes = CLASSES[number * len(pods) : (number + 1) * len(pods)]
            made += mounts(requests, f"secrets-{number}", classes=classes)
        return requests, made

    async def _ask(self, wish: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin  # noqa: S101 - a pipe
        assert self._process.stdout  # noqa: S101 - as above
        self._process.stdin.write(f"{json.dumps(wish)}\n".encode())
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the simulated nodes have ended: see {self._base.directory / 'nodes.log'}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@asynccontextmanager
async def fleet(base: Ground, services: Services, cluster: Cluster) -> AsyncIterator[Fleet]:
    """A fleet without nodes, for as long as the block lasts."""
    argv: Sequence[str] = ("nice", "-n", str(_NICE), sys.executable, str(_HERE / "nodes.py"))
    state = base.directory / "nodes-state"
    with (base.directory / "nodes.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *argv, base.nats_url, str(base.keys_dir), str(state), stdin=PIPE, stdout=PIPE, stderr=log, limit=_LINE
        )
        try:
            yield Fleet(base, services, cluster, process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@contextmanager
def unmounted(directory: Path) -> Iterator[None]:
    """Take away all that was mounted below a folder, whoever died before it could."""
    try:
        yield
    finally:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            target = line.split()[4]
            if target.startswith(f"{directory}/"):
                unmount(target)
