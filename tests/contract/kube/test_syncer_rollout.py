"""Workloads are rolled for secrets that their pods cannot see, on the API server under test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from keyferry.kube import Json, Kube, connect
from syncer.reporting import About
from syncer.rollout import RESTARTED_AT, Rollouts, Workload

from .conftest import Api, Cluster

AT = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
LABELS = {"app": "web"}
TEMPLATE = {
    "metadata": {"labels": LABELS},
    "spec": {"containers": [{"name": "main", "image": "localhost/none:1"}]},
}
SPEC: Json = {"selector": {"matchLabels": LABELS}, "template": TEMPLATE}
APPS = "/apis/apps/v1/namespaces/{ns}"


@dataclass
class Ears:
    """Hears what would be recorded."""

    told: list[tuple[About, str, str]] = field(default_factory=list)

    def tell(self, about: About, _kind: str, reason: str, message: str) -> None:
        """See `syncer.reporting.Reporter`."""
        self.told.append((about, reason, message))


@dataclass
class Desk:
    """What rolls, what it tells, and where it works."""

    api: Api
    rollouts: Rollouts
    ears: Ears

    async def restarted(self, path: str, times: int = 1) -> str:
        """The mark in a workload's template, once so many were told of."""
        async with asyncio.timeout(20):
            while len(self.ears.told) < times:  # noqa: ASYNC110 - ears have no bell
                await asyncio.sleep(0.02)
        found = await self.api.read(path)
        return str(found["spec"]["template"]["metadata"].get("annotations", {}).get(RESTARTED_AT, ""))


@asynccontextmanager
async def at_work(kube: Kube, api: Api, pause: float) -> AsyncIterator[Desk]:
    ears = Ears()
    rollouts = Rollouts(kube, cast("Any", ears), pause=pause, now=lambda: AT)
    task = asyncio.create_task(rollouts.run())
    try:
        yield Desk(api, rollouts, ears)
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def kube(cluster: Cluster) -> AsyncIterator[Kube]:
    async with connect(cluster.kubeconfig, user_agent="keyferry-syncer") as running:
        yield running


@pytest.fixture
async def desk(kube: Kube, api: Api) -> AsyncIterator[Desk]:
    async with at_work(kube, api, 0.01) as running:
        yield running


@pytest.mark.parametrize(
    ("kind", "plural", "spec"),
    [
        ("StatefulSet", "statefulsets", {**SPEC, "serviceName": "web"}),
        ("DaemonSet", "daemonsets", SPEC),
    ],
)
async def test_what_makes_pods_itself_is_rolled(desk: Desk, kind: str, plural: str, spec: Json) -> None:
    """As `kubectl rollout restart` does it, and its Event says for what."""
    await desk.api.make(f"{APPS}/{plural}", {"metadata": {"name": "web"}, "spec": spec})

    desk.rollouts.plan(Workload(desk.api.namespace, kind, "web"), "secret app-secrets has changed")

    assert await desk.restarted(f"{APPS}/{plural}/web") == "2026-11-24T12:00:00Z"
    about, reason, message = desk.ears.told[0]
    assert (about.kind, reason, message) == (kind, "RolloutForSecret", "rolled, since secret app-secrets has changed")
    assert about.uid


async def test_a_deployment_is_rolled_for_its_replica_set(desk: Desk) -> None:
    """Pods name the set as their owner; what is rolled is what made the set."""
    made = await desk.api.make(f"{APPS}/deployments", {"metadata": {"name": "web"}, "spec": {**SPEC, "replicas": 0}})
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": made["metadata"]["uid"]}
    await desk.api.make(
        f"{APPS}/replicasets",
        {"metadata": {"name": "web-1", "ownerReferences": [owner]}, "spec": {**SPEC, "replicas": 0}},
    )

    desk.rollouts.plan(Workload(desk.api.namespace, "ReplicaSet", "web-1"), "secret app-secrets has changed")

    assert await desk.restarted(f"{APPS}/deployments/web") == "2026-11-24T12:00:00Z"


async def test_many_changes_are_one_rollout(kube: Kube, api: Api) -> None:
    """A hundred pods tell of one rotation within the pause; the workload is rolled once."""
    await api.make(f"{APPS}/daemonsets", {"metadata": {"name": "web"}, "spec": SPEC})
    async with at_work(kube, api, 0.5) as desk:
        for number in range(100):
            desk.rollouts.plan(Workload(api.namespace, "DaemonSet", "web"), f"secret s{number} has changed")
        await desk.restarted(f"{APPS}/daemonsets/web")
        await asyncio.sleep(1)

        assert [message for _, _, message in desk.ears.told] == ["rolled, since secret s99 has changed"]


@pytest.mark.parametrize("kind", ["Job", "Pod", "Rollout", "ReplicaSet", "Deployment"])
async def test_what_cannot_be_rolled_is_left(desk: Desk, kind: str) -> None:
    """What somebody else rolls, what nothing does, and what is gone: no retry, and the next one has its turn."""
    await desk.api.make(f"{APPS}/daemonsets", {"metadata": {"name": "web"}, "spec": SPEC})
    desk.rollouts.plan(Workload(desk.api.namespace, kind, "gone"), "a secret has changed")
    desk.rollouts.plan(Workload(desk.api.namespace, "DaemonSet", "web"), "a secret has changed")

    assert await desk.restarted(f"{APPS}/daemonsets/web")
    assert len(desk.ears.told) == 1
