"""Everything that a bench runs: bus, Kubernetes API, stub backend, our services from environments like their images."""

from __future__ import annotations

import json
import os
import shutil
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster import Mount, mounted_below
from environments import environment
from keyferry.testing import services
from keyferry.testing.nats import nats_server
from keyferry.testing.ports import free_port
from keyferry.testing.processes import Server, answers, server
from keyferry.testing.services import NodeDriver, Service
from keyferry.testing.stack import KubeProcess, kube_api
from storm import Outcome, run
from stub import FILES, value

_HERE = Path(__file__).parent
NODE = "node-a"
# ext4 without a journal, as sandboxes have it, looks at all inodes deleted within five seconds before it gives out one
# (fs/ext4/ialloc.c): a tenth to a fifth of the CPU of a driver that unmounts as fast as it mounts, none of a node's.
_MEMORY, _ENOUGH = Path("/dev/shm"), 1024**3  # noqa: S108 - a folder of its own is made in it
# As the node-driver's image sets it (docs/running.md): malloc's caches for each thread, and docstrings, are memory too.
IMAGE = {"MALLOC_ARENA_MAX": "2", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0", "PYTHONOPTIMIZE": "2"}


@dataclass(frozen=True)
class Ground:
    """What our services stand on; it stays while they come and go."""

    directory: Path
    nats: Server
    nats_url: str
    kube: KubeProcess
    backend: Server
    backend_url: str
    pythons: dict[str, str]

    @property
    def keys_dir(self) -> Path:
        """Where the key sets are."""
        return self.directory / "keys"

    def reset_backend(self, *, delay_ms: int = 0) -> None:
        """Let the backend count from zero, and answer so late from now on."""
        _http(f"{self.backend_url}/reset?delay_ms={delay_ms}", b"")

    def backend_counts(self) -> dict[str, int]:
        """What the backend was asked since it was reset."""
        counts: dict[str, int] = json.loads(_http(f"{self.backend_url}/counts"))
        return counts

    def backend_reads(self) -> dict[str, list[float]]:
        """When each path of the backend was read since it was reset, Unix seconds."""
        reads: dict[str, list[float]] = json.loads(_http(f"{self.backend_url}/reads"))
        return reads

    def change(self, path: str) -> int:
        """Let the backend have other values at a path; which version they are."""
        return int(_http(f"{self.backend_url}/change/{path}", b""))

    @contextmanager
    def services(self, *, traced: bool, redis_url: str = "") -> Iterator[Services]:
        """Run a fetcher and a node-driver, all of their traces sent to the stub, or none made."""
        env = self._traces(traced=traced)
        redis = {"KEYFERRY_REDIS_URL": redis_url} if redis_url else {}
        with (
            services.fetcher(
                self.directory,
                nats_url=self.nats_url,
                keys_dir=self.keys_dir,
                kubeconfig=self.kube.kubeconfig,
                env={**env, **redis, "KEYFERRY_PROVIDERS": "vault"},
                python=self.pythons["fetcher"],
            ) as fetcher,
            services.node_driver(
                self.directory,
                nats_url=self.nats_url,
                keys_dir=self.keys_dir,
                node=NODE,
                env={**env, **IMAGE},
                python=self.pythons["node-driver"],
            ) as node,
        ):
            yield Services(self, fetcher, node)

    @contextmanager
    def rotator(self, redis_url: str, *, interval: float, spread: float, traced: bool) -> Iterator[Service]:
        """Run a rotator that has contents asked for again every so many seconds, and spreads broad changes so far."""
        settings = {"KEYFERRY_ROTATION_INTERVAL": f"{interval}s", "KEYFERRY_ROTATION_CHANGE_SPREAD": f"{spread}s"}
        with services.rotator(
            self.directory,
            nats_url=self.nats_url,
            redis_url=redis_url,
            env={**self._traces(traced=traced), **settings},
            python=self.pythons["rotator"],
        ) as rotator:
            yield rotator

    def _traces(self, *, traced: bool) -> dict[str, str]:
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.backend_url} if traced else {}

    @contextmanager
    def echo(self) -> Iterator[tuple[str, Server]]:
        """Run the yardstick and give its endpoint."""
        socket = self.directory / "echo.sock"
        socket.unlink(missing_ok=True)
        argv = [self.pythons["node-driver"], str(_HERE / "echo.py"), str(socket)]
        log = self.directory / "echo.log"
        with server(argv, name="echo", log=log, ready=lambda _: socket.exists()) as process:
            yield f"unix://{socket}", process


@dataclass(frozen=True)
class Services:
    """Our services, running."""

    ground: Ground
    fetcher: Service
    node: NodeDriver

    @property
    def pids(self) -> dict[str, int]:
        """The processes that a mount costs something, this client among them."""
        return {
            "node-driver": self.node.process.pid,
            "fetcher": self.fetcher.process.pid,
            "nats": self.ground.nats.pid,
            "backend+collector": self.ground.backend.pid,
            "client": os.getpid(),
        }

    async def take_away(self, mounts: list[Mount]) -> tuple[Outcome, int]:
        """Unpublish what was mounted; the second number is how many mounts are left of all."""
        outcome = await run(self.node.endpoint, ([mount.unpublish] for mount in mounts), at_once=100)
        return outcome, mounted_below(self.node.kubelet_root)


def where() -> Path | None:
    """The folder for a bench's files: one in memory, where there is enough of it."""
    return _MEMORY if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ENOUGH else None


def wrong(mount: Mount, path: str, version: int = 1) -> bool:
    """Whether a volume does not hold just what the backend has at a path."""
    try:
        return any(
            (mount.target / f"file-{number}").read_text() != value(path, number, version) for number in range(FILES)
        )
    except OSError:
        return True


@contextmanager
def ground(directory: Path, *, run: Sequence[str] = ("node-driver", "fetcher")) -> Iterator[Ground]:
    """Start what our services stand on, with streams and keys; ``run`` are the services that will."""
    pythons = {service: environment(service) for service in run}
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as running:
        nats = running.enter_context(nats_server(directory / "nats"))
        kube = running.enter_context(kube_api(directory / "kube"))
        argv = [sys.executable, str(_HERE / "stub.py"), str(port)]
        ready = answers(f"{url}/counts")
        backend = running.enter_context(server(argv, name="stub", log=directory / "stub.log", ready=ready))
        services.prepare(nats.url, directory / "keys")
        yield Ground(directory, nats.process, nats.url, kube, backend, url, pythons)


def _http(url: str, data: bytes | None = None) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, data=data, timeout=10) as answer:
        body: bytes = answer.read()
    return body
