"""Keyferry's own services as processes, started as a person would: ``python -m SERVICE`` and an environment."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from keyferry import keymaking, keys, streams
from keyferry.testing.ports import free_port
from keyferry.testing.processes import Server, answers, logged, server


@dataclass(frozen=True)
class Service:
    """A running service.

    Attributes:
        process: Restarts, pauses or kills it.
        http: Base URL of /healthz, /readyz and /metrics.
    """

    process: Server
    http: str


@dataclass(frozen=True)
class NodeDriver(Service):
    """A running node-driver.

    Attributes:
        endpoint: Its CSI socket.
        kubelet_root: The folder that stands for ``/var/lib/kubelet``.
        node: The name of its node.
    """

    endpoint: str
    kubelet_root: Path
    node: str


def prepare(nats_url: str, keys_dir: Path) -> None:
    """Make what the services expect to find: the streams, and key sets if there are none."""
    asyncio.run(streams.ensure(streams.Settings(nats_url=nats_url)))
    if not (keys_dir / keys.PUBLIC).exists():
        keymaking.create(keys_dir)


@contextmanager
def _running(name: str, directory: Path, settings: Mapping[str, str], python: str) -> Iterator[Service]:
    """A service whose /readyz says when it is ready, and whose module has its name."""
    port = free_port()
    http = f"http://127.0.0.1:{port}"
    log, ready = directory / f"{name}-{port}.log", answers(f"{http}/readyz")
    env = {"KEYFERRY_HTTP_ADDRESS": f"127.0.0.1:{port}", **settings}
    with server([python, "-m", name], name=name, log=log, ready=ready, env=env) as process:
        yield Service(process, http)


@contextmanager
def fetcher(
    directory: Path,
    *,
    nats_url: str,
    keys_dir: Path,
    kubeconfig: Path,
    env: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> Iterator[Service]:
    """Run a fetcher for the length of a ``with`` block.

    Args:
        directory: Holds its log.
        nats_url: The bus.
        keys_dir: Made by `prepare`.
        kubeconfig: Of the Kubernetes API.
        env: More settings, of the fetcher or of its backends.
        python: The interpreter of the environment that it runs from.

    Raises:
        ServerError: it does not become ready; the message shows its log.
    """
    settings = {
        "KEYFERRY_NATS_URL": nats_url,
        "KEYFERRY_KEYS_DIR": str(keys_dir),
        "KEYFERRY_KUBECONFIG": str(kubeconfig),
    }
    with _running("fetcher", directory, {**settings, **(env or {})}, python) as service:
        yield service


@contextmanager
def node_driver(
    directory: Path,
    *,
    nats_url: str,
    keys_dir: Path,
    node: str = "node-a",
    env: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> Iterator[NodeDriver]:
    """Run a node-driver for the length of a ``with`` block; parameters as for `fetcher`.

    Args:
        directory: Holds its log, and a folder for its node's kubelet.
        nats_url: The bus.
        keys_dir: Made by `prepare`.
        node: Name of its node.
        env: More settings.
        python: The interpreter of the environment that it runs from.

    Raises:
        ServerError: it does not come up; the message shows its log.
    """
    port, root = free_port(), directory / node
    socket = root / "plugins" / "csi-secrets-store" / "csi.sock"
    (root / "plugins_registry").mkdir(parents=True, exist_ok=True)
    settings = {
        "KEYFERRY_NATS_URL": nats_url,
        "KEYFERRY_KEYS_DIR": str(keys_dir),
        "KEYFERRY_NODE_NAME": node,
        "KEYFERRY_CSI_ENDPOINT": f"unix://{socket}",
        "KEYFERRY_PLUGINS_REGISTRY": str(root / "plugins_registry"),
        "KEYFERRY_STATE_DIR": str(root / "plugins" / "csi-secrets-store" / "volumes"),
        "KEYFERRY_HTTP_ADDRESS": f"127.0.0.1:{port}",
        **(env or {}),
    }
    http = f"http://127.0.0.1:{port}"
    ready = logged("serving kubelet")  # not /readyz, which waits for a kubelet to register the driver
    argv, log = [python, "-m", "node_driver"], directory / f"node-driver-{node}.log"
    with server(argv, name=f"node-driver {node}", log=log, ready=ready, env=settings) as process:
        yield NodeDriver(process, http, f"unix://{socket}", root, node)


@contextmanager
def rotator(
    directory: Path,
    *,
    nats_url: str,
    redis_url: str,
    env: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> Iterator[Service]:
    """Run a rotator for the length of a ``with`` block; it needs no keys. Parameters as for `fetcher`.

    Args:
        directory: Holds its log.
        nats_url: The bus.
        redis_url: Redis or Valkey with the schedule.
        env: More settings, of the rotator or of its sources of change events.
        python: The interpreter of the environment that it runs from.

    Raises:
        ServerError: it does not become ready; the message shows its log.
    """
    settings = {
        "KEYFERRY_NATS_URL": nats_url,
        "KEYFERRY_REDIS_URL": redis_url,
    }
    with _running("rotator", directory, {**settings, **(env or {})}, python) as service:
        yield service


@contextmanager
def syncer(
    directory: Path,
    *,
    nats_url: str,
    keys_dir: Path,
    kubeconfig: Path,
    env: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> Iterator[Service]:
    """Run a syncer for the length of a ``with`` block. Parameters as for `fetcher`.

    Args:
        directory: Holds its log.
        nats_url: The bus.
        keys_dir: Made by `prepare`.
        kubeconfig: Of the Kubernetes API.
        env: More settings.
        python: The interpreter of the environment that it runs from.

    Raises:
        ServerError: it does not become ready; the message shows its log.
    """
    settings = {
        "KEYFERRY_NATS_URL": nats_url,
        "KEYFERRY_KEYS_DIR": str(keys_dir),
        "KEYFERRY_KUBECONFIG": str(kubeconfig),
    }
    with _running("syncer", directory, {**settings, **(env or {})}, python) as service:
        yield service
