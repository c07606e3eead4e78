"""Keeps the statuses of one pod's volumes, and tells the rotator when nobody reads them any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from keyferry.bus import Bus
from keyferry.changes import PodFinished
from keyferry.subjects import change_subject
from syncer.podstatus import PodStatuses
from syncer.view import View
from syncer.volumes import Name


@dataclass
class PodSync:
    """The work of a pod; its call is for `syncer.work.Work`.

    Attributes:
        view: What is known of the cluster.
        bus: Where the rotator is told of finished pods.
        statuses: Writes them.
        made: By class, the Secrets that it makes.
    """

    view: View
    bus: Bus
    statuses: PodStatuses
    made: Mapping[Name, frozenset[str]]
    _finished: dict[Name, str] = field(default_factory=dict)

    async def __call__(self, name: Name) -> None:
        """Do what there is to do for a pod.

        Raises:
            KeyferryError: not all of it can be done now, or without somebody's help.
        """
        pod = self.view.pods.get(*name)
        if pod is None or pod.leaving:
            self.statuses.forget(name)
            self._finished.pop(name, None)
            return
        volumes = [volume for volume in self.view.volumes.of_pod(name) if self.view.pod_of(volume)]
        if pod.finished and volumes and self._finished.get(name) != pod.uid:
            change = PodFinished(volumes[0].pod)
            await self.bus.publish(change_subject("kubernetes"), change.to_bytes(), destination="keyferry.change")
            self._finished[name] = pod.uid
        await self.statuses.keep(name, volumes, self.made)
