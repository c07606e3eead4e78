"""What `rotation.py` watches while contents rotate: mounts, the backend's calls, and how soon a change is in files."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from nats.js import JetStreamContext

from cluster import mounts
from fleet import CLASSES, Fleet
from keyferry.changes import BackendChanged
from keyferry.proto.csi.v1 import csi_pb2
from keyferry.subjects import change_subject
from rig import Ground
from storm import CallFailed, as_kubelet, fresh
from stub import value

_MOUNT_SECONDS = 0.05
_POLL, _LOOK = 1.0, 0.002
_SETTLE = 2.0


@dataclass
class Mounting:
    """Mounts and unmounts volumes of one content, one after the other, so many a second, until told to stop.

    Attributes:
        endpoint: The real node-driver's socket.
        requests: Of pods on its node.
        taken: Unix seconds of each start, and milliseconds until the driver's OK.
        failures: What went wrong.
    """

    endpoint: str
    requests: Sequence[csi_pb2.NodePublishVolumeRequest]
    taken: list[tuple[float, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _rows: count[int] = field(default_factory=count)

    async def until(self, stop: asyncio.Event) -> None:
        """Go on until an event is set."""
        while not stop.is_set():
            for mount in mounts(self.requests, f"passing-{next(self._rows)}"):
                began, start = time.time(), time.perf_counter()
                try:
                    await fresh(self.endpoint, as_kubelet(mount.publish))
                    self.taken.append((began, (time.perf_counter() - start) * 1000))
                    await fresh(self.endpoint, [mount.unpublish])
                except CallFailed as error:
                    self.failures.append(str(error))
                await asyncio.sleep(max(0.0, _MOUNT_SECONDS - (time.perf_counter() - start)))
                if stop.is_set():
                    return

    async def for_seconds(self, seconds: float) -> None:
        """Go on for so long."""
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, stop.set)
        await self.until(stop)

    def between(self, since: float, until: float) -> list[float]:
        """Milliseconds of the mounts that began in a time."""
        return [took for began, took in self.taken if since <= began <= until]


@dataclass(frozen=True)
class Round:
    """A time in which each content was due once: when the backend was asked for each, Unix seconds."""

    reads: dict[str, list[float]]

    @property
    def calls(self) -> list[float]:
        """Every call, in order."""
        return sorted(at for times in self.reads.values() for at in times)

    @property
    def seconds(self) -> float:
        """From the first call to the last."""
        return self.calls[-1] - self.calls[0]

    @property
    def busiest(self) -> int:
        """The most calls in one second."""
        return max(Counter(int(at - self.calls[0]) for at in self.calls).values())


async def spread_out(bus: JetStreamContext, seconds: float) -> None:
    """Have all contents refreshed once, spread over so many seconds, as after a gap in a source's events.

    What was published together is together still at its first refreshes; this is how it is after many.
    """
    await bus.publish(change_subject("vault"), BackendChanged("vault", (), 0, uuid.uuid4().hex).to_bytes())
    await asyncio.sleep(seconds + _SETTLE)


async def next_round(base: Ground, *, interval: float) -> Round:
    """Wait until the backend has been asked for each content from now on.

    Raises:
        TimeoutError: that takes longer than two intervals.
    """
    since = time.time()
    async with asyncio.timeout(2 * interval + 30):
        while True:
            reads = base.backend_reads()
            times = {name: [at for at in reads.get(name, ()) if at >= since] for name in CLASSES}
            if all(times.values()):
                break
            await asyncio.sleep(_POLL)
    await asyncio.sleep(_SETTLE)
    # A second call for the same time would come soon; what comes much later is of the next round.
    return Round({name: [at for at in each if at - each[0] < interval / 2] for name, each in times.items()})


@dataclass(frozen=True)
class Changes:
    """How long after a change event files were as the backend had it; milliseconds.

    Attributes:
        simulated: Of each volume on the simulated nodes.
        real: Of the volumes on the real node, seen by a reader of the files.
        missing: Volumes that did not get there.
    """

    simulated: list[float]
    real: list[float]
    missing: int


async def changes(base: Ground, fleet: Fleet, bus: JetStreamContext, names: Sequence[str], *, nodes: int) -> Changes:
    """Change contents in the backend, one a second, and tell of each as a source of change events does."""
    await fleet.notes()
    told: dict[str, float] = {}
    looking = []
    for name in names:
        fleet.versions[name] = version = base.change(name)
        told[name] = now = time.time()
        event = BackendChanged("vault", (f"secret/data/{name}",), int(now * 1000), uuid.uuid4().hex)
        await bus.publish(change_subject("vault"), event.to_bytes())
        path = fleet.volumes[name].target / "file-0"
        looking.append(asyncio.create_task(_seen(path, value(name, 0, version))))
        await asyncio.sleep(1.0)
    seen = await asyncio.gather(*looking)
    await asyncio.sleep(_SETTLE)
    refreshed, _ = await fleet.notes()
    simulated = [(at - told[name]) * 1000 for name, at, changed in refreshed if changed and name in told]
    real = [(at - told[name]) * 1000 for name, at in zip(names, seen, strict=True) if at]
    missing = len(names) * nodes - len(simulated) - len(real)
    return Changes(simulated, real, missing)


async def _seen(path: Path, wanted: str, *, seconds: float = 20.0) -> float:
    """When a file was found to hold a text, Unix seconds; 0 for never."""
    until = time.time() + seconds
    while not _holds(path, wanted):
        if time.time() > until:
            return 0.0
        await asyncio.sleep(_LOOK)
    return time.time()


def _holds(path: Path, wanted: str) -> bool:
    return path.read_text() == wanted
