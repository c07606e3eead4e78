"""A cluster for the chart: its images, a volume for NATS, and what stands in for kube-proxy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from keyferry.testing.chart.fitting import NAMESPACE, RELEASE, STORAGE_CLASS, Json, Place, pod_of
from keyferry.testing.chart.release import rendered
from keyferry.testing.images.release import archive
from keyferry.testing.kube.node import RealNode
from keyferry.testing.processes import ServerError, logged, server

_API_PORT, _OPENBAO_PORT = 6443, 8200


def place_of(node: RealNode) -> Place:
    """Where things of a node are for its pods."""
    return Place(node.env["NODE_IP"], _API_PORT, str(node.kubelet_root))


def openbao_address(node: RealNode) -> str:
    """Where pods, and this machine, find the OpenBao that `reachable` was given."""
    return f"http://{node.env['NODE_IP']}:{_OPENBAO_PORT}"


def load_images(node: RealNode) -> None:
    """Give the node's containerd every image that the chart runs, under the chart's own names.

    Raises:
        ImagesMissing: one cannot be made here.
        ServerError: containerd does not take them.
    """
    pods = [pod for each in rendered(place_of(node), {}) if (pod := pod_of(each))]
    names = {container["image"] for pod in pods for container in pod["containers"]}
    by_short = {name.rpartition(":")[0].rpartition("/")[2]: name for name in sorted(names)}
    argv = ["ctr", "--namespace", "k8s.io", "images", "import", "-"]
    with subprocess.Popen(argv, env=node.env, stdin=-1, stdout=-1, stderr=subprocess.STDOUT) as importing:
        assert importing.stdin is not None
        with suppress(BrokenPipeError):  # it says itself why it reads no further
            archive(importing.stdin, by_short)
        said = importing.communicate()[0]
    if importing.returncode:
        raise ServerError(f"containerd takes no image: {said.decode(errors='replace')}")


def volume(node: RealNode, name: str) -> Json:
    """A volume on the node for the NATS server, since the cluster provisions none; the folder is root's."""
    folder = node.directory / name
    folder.mkdir()
    here = [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name]}]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "5Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": STORAGE_CLASS,
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": here}]}},
        },
    }


@contextmanager
def reachable(node: RealNode, log: Path, *, openbao: str) -> Iterator[None]:
    """Have the chart's Services, the API server and an OpenBao answer at the node's address on the pods' network.

    Args:
        node: The cluster.
        log: Of what carries the connections.
        openbao: Its ``http://HOST:PORT``.
    """
    table = [
        f"4222={NAMESPACE}/{RELEASE}-nats",
        f"6379={NAMESPACE}/{RELEASE}-valkey",
        f"{_API_PORT}={node.url.removeprefix('https://')}",
        f"{_OPENBAO_PORT}={openbao.removeprefix('http://')}",
    ]
    argv = [
        sys.executable,
        "-m",
        "keyferry.testing.kube.endpoints",
        "--kubeconfig",
        str(node.kubeconfig),
        "--host",
        node.env["NODE_IP"],
    ]
    with server([*argv, *table], name="endpoints", log=log, ready=logged("serving")):
        yield


def container_pids(node: RealNode) -> dict[str, int]:
    """The first process of each running container, by containerd's id of it."""
    argv = ["ctr", "--namespace", "k8s.io", "tasks", "list"]
    listed = subprocess.run(argv, env=node.env, check=True, capture_output=True, text=True).stdout
    return {name: int(pid) for name, pid, _ in (line.split() for line in listed.splitlines()[1:])}
