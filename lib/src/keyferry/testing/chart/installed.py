"""The chart on a running cluster: installed from its images, and what its pods really are."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import helm_python as helm

from keyferry.testing.chart.cluster import load_images, openbao_address, place_of, reachable, volume
from keyferry.testing.chart.fitting import NAMESPACE, RELEASE, Json
from keyferry.testing.chart.release import Release
from keyferry.testing.kube.node import RealNode, real_node
from keyferry.testing.openbao import OpenBao, openbao_server

_OURS = ("-n", NAMESPACE, "-l", "app.kubernetes.io/name=keyferry")
_LIMIT = "--timeout=600s"
_TOKEN = "/run/secrets/kubernetes.io/serviceaccount"


@dataclass(frozen=True)
class Chart:
    """An installed chart.

    Attributes:
        node: The cluster.
        release: Upgrades and uninstalls it.
        openbao: At the address where pods find it; it knows the cluster's tokens.
    """

    node: RealNode
    release: Release
    openbao: OpenBao

    async def pods(self) -> dict[str, list[Json]]:
        """Its pods that run and are not about to end, by their component."""
        found = json.loads(await self.node.kubectl("get", "pods", *_OURS, "-o", "json"))["items"]
        by: dict[str, list[Json]] = {}
        for pod in found:
            if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]:
                by.setdefault(pod["metadata"]["labels"]["app.kubernetes.io/component"], []).append(pod)
        return by

    async def settled(self) -> None:
        """Wait for what Helm does not: the node-drivers, of which it lets one be late, and the streams' Job."""
        driver = f"daemonset/{RELEASE}-node-driver"
        await self.node.kubectl("-n", NAMESPACE, "rollout", "status", driver, _LIMIT)
        await self.node.kubectl("wait", "--for=condition=Complete", "job", *_OURS, _LIMIT)

    async def names(self, kinds: str, *words: str) -> set[str]:
        """Names of objects, as kubectl lists them."""
        listed = await self.node.kubectl("get", kinds, *words, "-o", "name")
        return {line.partition("/")[2] for line in listed.splitlines()}

    async def seen(self) -> str:
        """What its pods are and say, for a failure's report."""
        told = await self.node.kubectl("-n", NAMESPACE, "get", "pods,jobs,pvc,events", "-o", "wide", check=False)
        logs = await self.node.kubectl("logs", *_OURS, "--prefix", "--tail=15", "--max-log-requests=20", check=False)
        return f"{told}\n{logs}"


@dataclass(frozen=True)
class Confinement:
    """What the kernel holds a container's first process to (proc_pid_status(5), proc_pid_mountinfo(5)).

    Attributes:
        user: Every one of its user ids, and of its group ids.
        capabilities: Effective and bounding, as numbers.
        no_new_privileges: Whether a setuid program gives it nothing.
        filtered: Whether seccomp filters its system calls.
        root: How its root file system is mounted: ``ro`` or ``rw``.
        shares: Mount points of kubelet's folders whose new mounts are seen on the host.
        token: Whether it has a token for the API server.
    """

    user: tuple[int, ...]
    capabilities: tuple[int, int]
    no_new_privileges: bool
    filtered: bool
    root: str
    shares: tuple[str, ...]
    token: bool


def confinement(pid: int, kubelet_root: Path) -> Confinement:
    """Read it from the host."""
    lines = [line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    status = {name: told.split() for name, _, told in lines}
    mounts = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    shared = {fields[4] for fields in mounts if any(each.startswith("shared:") for each in fields)}
    return Confinement(
        tuple(sorted({int(each) for each in status["Uid"] + status["Gid"]})),
        (int(status["CapEff"][0], 16), int(status["CapBnd"][0], 16)),
        no_new_privileges=status["NoNewPrivs"] == ["1"],
        filtered=status["Seccomp"] == ["2"],
        root=next(fields[5].split(",")[0] for fields in mounts if fields[4] == "/"),
        shares=tuple(sorted(place for place in shared if place.startswith(str(kubelet_root)))),
        token=any(fields[4] == _TOKEN for fields in mounts),
    )


@contextmanager
def installed_chart(directory: Path, values: Mapping[str, Any]) -> Iterator[Chart]:
    """Install the chart on a cluster of its own for the length of the block.

    Args:
        directory: Holds logs.
        values: Of the chart.

    Raises:
        helm.HelmError, subprocess.CalledProcessError: it does not become ready; the notes have what its pods say.
    """
    with (
        real_node() as node,
        openbao_server(directory / "openbao") as openbao,
        reachable(node, directory / "endpoints.log", openbao=openbao.address),
    ):
        load_images(node)
        chart = Chart(node, Release(node.kubeconfig, place_of(node)), replace(openbao, address=openbao_address(node)))
        asyncio.run(_furnish(chart))
        try:
            chart.release.install(**values)
            asyncio.run(chart.settled())
        except (helm.HelmError, subprocess.CalledProcessError) as error:
            error.add_note(asyncio.run(chart.seen()))
            raise
        yield chart


async def _furnish(chart: Chart) -> None:
    """What a cluster's administrator has done before: a volume for NATS, and an OpenBao that asks who pods are."""
    await chart.node.kubectl("apply", "-f", "-", stdin=json.dumps(volume(chart.node, "nats")))
    await chart.node.kubectl("create", "namespace", "openbao")
    await chart.node.kubectl("-n", "openbao", "create", "serviceaccount", "reviewer")
    subject = ("--clusterrole=system:auth-delegator", "--serviceaccount=openbao:reviewer")
    await chart.node.kubectl("create", "clusterrolebinding", "reviewer", *subject)
    token = await chart.node.kubectl("-n", "openbao", "create", "token", "reviewer", "--duration=24h")
    node = chart.node
    await chart.openbao.enable_kubernetes(host=node.url, ca_pem=node.ca_pem, reviewer_token=token.strip())
