"""Rolls workloads whose pods cannot see a new secret by themselves, where their class asks for it.

A file in a volume changes under a running pod. An environment variable that a synced Secret gave, and a file mounted by
``subPath``, do not: only a new pod has the new value. Nothing is signalled to a process; the workload is rolled as
``kubectl rollout restart`` does it, by its own strategy.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import Counter

from keyferry.errors import AccessDenied
from keyferry.kube import Json, Kube, object_path
from syncer.reporting import NORMAL, WARNING, About, Reporter
from syncer.work import Work

log = logging.getLogger(__name__)

ROLLED = Counter("keyferry_rollouts_total", "Workloads rolled for a new secret.", ["kind"])
RESTARTED_AT = "keyferry.io/restarted-at"
APPS = "/apis/apps/v1"
_PLURALS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}
_REPLICA_SET = "ReplicaSet"


@dataclass(frozen=True, slots=True)
class Workload:
    """What makes pods: as their owner reference names it."""

    namespace: str
    kind: str
    name: str


class Rollouts:
    """Rolls each workload once for however many of its pods and Secrets have changed. `run` belongs into a task group.

    Args:
        kube: The API server.
        reporter: Tells of it.
        pause: Seconds between the first change and the rolling, in which others may come.
        now: The clock.
    """

    def __init__(
        self,
        kube: Kube,
        reporter: Reporter,
        *,
        pause: float = 30.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kube = kube
        self._reporter = reporter
        self._pause = pause
        self._now = now
        self._why: dict[Workload, str] = {}
        self._work = Work(self._roll, at_once=2)

    def plan(self, workload: Workload, why: str) -> None:
        """Have a workload rolled soon.

        Args:
            workload: The pods' owner.
            why: For the Event, such as ``secret app-secrets has changed``.
        """
        if workload not in self._why:
            asyncio.get_running_loop().call_later(self._pause, self._work.add, workload)
        self._why[workload] = why

    async def run(self) -> None:
        """Roll what is planned, until cancelled."""
        await self._work.run()

    async def _roll(self, owner: Workload) -> None:
        workload = await self._maker(owner)
        why = self._why[owner]
        if workload is None:
            self._why.pop(owner, None)
            log.info("nothing to roll", extra={"kind": owner.kind, "workload": f"{owner.namespace}/{owner.name}"})
            return
        path = object_path(f"{APPS}/{_PLURALS[workload.kind]}", workload.namespace, workload.name)
        at = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        body: Json = {"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: at}}}}}
        try:
            kind = "application/merge-patch+json"
            found = await self._kube.call("PATCH", path, body=body, content_type=kind) if path else None
        except AccessDenied as error:
            self._tell(workload, "", WARNING, "RolloutFailed", f"{why}, but it cannot be rolled: {error.message}")
            raise
        self._why.pop(owner, None)
        if found is None:
            return
        ROLLED.labels(workload.kind).inc()
        log.info("workload rolled", extra={"kind": workload.kind, "workload": f"{workload.namespace}/{workload.name}"})
        uid = str((found.get("metadata") or {}).get("uid", ""))
        self._tell(workload, uid, NORMAL, "RolloutForSecret", f"rolled, since {why}")

    async def _maker(self, owner: Workload) -> Workload | None:
        """What is to be rolled for a pod's owner; None for what rolls nothing (a Job, a bare pod, somebody's own kind).

        Raises:
            KeyferryError: it cannot be told now.
        """
        if owner.kind in _PLURALS:
            return owner
        if owner.kind != _REPLICA_SET:
            return None
        path = object_path(f"{APPS}/replicasets", owner.namespace, owner.name)
        found = await self._kube.get(path) if path else None
        for reference in (found["metadata"].get("ownerReferences") or ()) if found else ():
            if reference["kind"] == "Deployment":
                return Workload(owner.namespace, "Deployment", str(reference["name"]))
        return None

    def _tell(self, workload: Workload, uid: str, kind: str, reason: str, text: str) -> None:
        about = About("apps/v1", workload.kind, workload.namespace, workload.name, uid)
        self._reporter.tell(about, kind, reason, text)
