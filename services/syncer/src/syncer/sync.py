"""Keeps Secrets, statuses and Events in step with volumes, classes and pods: what has changed decides what is done."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from prometheus_client import Gauge

from keyferry.bus import Bus, Delivery
from keyferry.errors import KeyferryError, UntrustedMessage
from keyferry.events import VolumeEvent, VolumePublished, VolumeRefreshed, volume_event
from keyferry.kube import Kube
from keyferry.streams import SYNC_CONTENTS, SYNC_VOLUMES
from keyferry.subjects import volume_subject
from syncer.asking import Asking
from syncer.classes import ClassSync
from syncer.cluster import MountingPod
from syncer.contents import Contents
from syncer.podless import PodlessSync
from syncer.pods import PodSync
from syncer.podstatus import PodStatuses
from syncer.reporting import Reporter
from syncer.rollout import Rollouts, Workload
from syncer.secrets import Secrets
from syncer.view import View
from syncer.volumes import Change, Name, class_of, id_of, node_of, pod_of
from syncer.work import Work

log = logging.getLogger(__name__)
security = logging.getLogger("keyferry.security")

VOLUMES = Gauge("keyferry_syncer_volumes", "Volumes that the syncer knows.")
WAITING = Gauge("keyferry_syncer_waiting", "Classes and pods that wait for their turn or are in work.", ["kind"])
_CLASSES_AT_ONCE, _PODS_AT_ONCE = 4, 8
_SWEEP_SECONDS = 600.0
_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 2.0, 30.0
_FORCED_SECONDS = 600.0


@dataclass(frozen=True)
class Tools:
    """What syncing works with."""

    bus: Bus
    kube: Kube
    contents: Contents
    asking: Asking | None = None  # where SecretSync objects are to be kept
    interval: float = 120.0  # seconds, of those
    rollouts: bool = False  # whether workloads may be rolled
    rollout_pause: float = 30.0  # seconds


class Sync:
    """One term of a leader: it begins by learning everything anew.

    Args:
        tools: What it works with.
        secrets: Whether those that classes ask for are to be written; statuses and Events are anyhow.
    """

    def __init__(self, tools: Tools, *, secrets: bool) -> None:
        self._bus = tools.bus
        self._view = View(tools.kube, class_touched=self._class_touched, pod_touched=self._pod_touched)
        self._reporter = Reporter(tools.kube)
        self._rollouts = Rollouts(tools.kube, self._reporter, pause=tools.rollout_pause) if tools.rollouts else None
        self._statuses = PodStatuses(tools.kube)
        self._requested: dict[Name, str] = {}
        self._unread = "volumes and statuses have not been read yet"
        writer = Secrets(tools.kube)
        self._podless = (
            PodlessSync(tools.kube, self._view, tools.asking, writer, self._reporter, tools.interval)
            if tools.asking is not None
            else None
        )
        self._class_sync = ClassSync(
            view=self._view,
            bus=tools.bus,
            contents=tools.contents,
            secrets=writer if secrets else None,
            reporter=self._reporter,
            made_changed=self._made_changed,
            secret_changed=self._secret_changed,
        )
        self._pod_sync = PodSync(self._view, tools.bus, self._statuses, self._class_sync.made)
        self._class_work = Work(self._class_sync, at_once=_CLASSES_AT_ONCE)
        self._pod_work = Work(self._pod_sync, at_once=_PODS_AT_ONCE)

    def missing(self) -> list[str]:
        """What it waits for, in words."""
        return self._view.missing() or ([self._unread] if self._unread else [])

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._view.classes.run())
            tasks.create_task(self._view.pods.run())
            # What happens meanwhile is heard: of two words on a volume, the one that the stream took later holds.
            tasks.create_task(self._bus.consume(SYNC_VOLUMES, self._hear_volume, concurrency=64))
            tasks.create_task(self._bus.consume(SYNC_CONTENTS, self._hear_content, concurrency=64))
            tasks.create_task(self._reporter.run())
            while self._view.missing():  # noqa: ASYNC110 - two caches, and no bell on either
                await asyncio.sleep(0.05)
            # Nothing is decided before all is known: a Secret written for the owners known so far loses the others.
            await self._until_read(first=True)
            tasks.create_task(self._class_work.run())
            tasks.create_task(self._pod_work.run())
            tasks.create_task(self._sweep())
            if self._podless:
                tasks.create_task(self._podless.run())
            if self._rollouts:
                tasks.create_task(self._rollouts.run())

    async def _sweep(self) -> NoReturn:
        """Read everything again, now and then: something may have been missed, or have expired."""
        while True:
            WAITING.labels("class").set(len(self._class_work))
            WAITING.labels("pod").set(len(self._pod_work))
            await asyncio.sleep(_SWEEP_SECONDS)
            await self._until_read(first=False)

    async def _until_read(self, *, first: bool) -> None:
        pause = _RETRY_SECONDS
        while True:
            try:
                await self._read_all(first=first)
            except KeyferryError as error:
                self._unread = f"volumes and statuses cannot be read: {error.message}"
                log.warning(self._unread)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_RETRY_SECONDS)
            else:
                self._unread = ""
                return

    async def _read_all(self, *, first: bool) -> None:
        noted = await self._statuses.load()
        if first:
            self._class_sync.made.update(noted)
        before = self._view.volumes.ids()
        async for stored in self._bus.replay("VOLUMES", "keyferry.volume.>"):
            try:
                event = _believable(stored.subject, stored.payload)
            except UntrustedMessage:
                continue
            before.discard(id_of(event))
            self._learn(event, stored.stored_us)
        lost = self._view.volumes.drop(before)  # the bus has forgotten them: their nodes are gone
        for volume in [*lost, *self._view.volumes.all()]:
            self._class_work.add(class_of(volume))
            self._pod_work.add(pod_of(volume))

    async def _hear_volume(self, delivery: Delivery) -> None:
        event = _believable(delivery.subject, delivery.payload)
        change = self._learn(event, delivery.stored_us)
        before, after = change.before, change.after
        for volume in (before, after):
            if volume is not None:
                self._pod_work.add(pod_of(volume))
        if before is None or after is None or before.content_key != after.content_key:
            for volume in (before, after):
                if volume is not None:
                    self._class_work.add(class_of(volume))
        if isinstance(event, VolumeRefreshed) and event.changed:
            self._files_changed(event.volume)
        self._reporter.rotation(event)

    def _learn(self, event: VolumeEvent, told_us: int) -> Change:
        change = self._view.volumes.take(event, told_us)
        VOLUMES.set(len(self._view.volumes))
        return change

    async def _hear_content(self, delivery: Delivery) -> None:
        namespace, _, content_key = delivery.subject.removeprefix("keyferry.sync.").partition(".")
        for name in self._view.volumes.classes_of_content((namespace, content_key)):
            self._class_work.add(name)

    def _class_touched(self, name: Name) -> None:
        known = self._view.classes.get(*name)
        requested, before = known.refresh_requested_at if known else "", self._requested.pop(name, None)
        if known:
            self._requested[name] = requested
        if requested and (requested != before if before is not None else _is_recent(requested, time.time())):
            self._class_sync.wishes.add(name)
        self._class_work.add(name)
        if self._podless:
            self._podless.class_changed(name)

    def _pod_touched(self, name: Name) -> None:
        self._pod_work.add(name)

    def _secret_changed(self, name: Name, secret: str) -> None:
        for volume in self._view.living(name):
            pod = self._view.pod_of(volume)
            if pod and secret in pod.needs.env:
                self._roll(name, pod, f"secret {secret} has changed")

    def _files_changed(self, volume: VolumePublished) -> None:
        pod = self._view.pod_of(volume)
        if pod and pod.living and volume.secret_provider_class in pod.needs.sub_paths:
            self._roll(class_of(volume), pod, f"the secrets of class {volume.secret_provider_class} have changed")

    def _roll(self, name: Name, pod: MountingPod, why: str) -> None:
        known = self._view.classes.get(*name)
        if self._rollouts and known and known.restarts:
            for owner in pod.owners:
                self._rollouts.plan(Workload(name[0], owner.kind, owner.name), why)

    def _made_changed(self, name: Name) -> None:
        for volume in self._view.volumes.of_class(name):
            self._pod_work.add(pod_of(volume))


def _believable(subject: str, payload: bytes) -> VolumeEvent:
    """What a node told, on a subject of its own.

    Raises:
        UntrustedMessage: no event, or one in another's name.
    """
    event = volume_event(payload)
    if volume_subject(node_of(event), id_of(event)) != subject:
        security.warning("a node told of a volume in another's name", extra={"subject": subject})
        raise UntrustedMessage("a volume event is on the subject of another volume")
    return event


def _is_recent(requested: str, now: float) -> bool:
    """Whether a request that no run of ours has seen coming is new enough to be one that none has acted on."""
    try:
        at = float(requested) if requested.isdecimal() else datetime.fromisoformat(requested).timestamp()
    except ValueError:
        return False
    return -_FORCED_SECONDS < now - at < _FORCED_SECONDS
