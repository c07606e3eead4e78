"""Keeps Secrets, statuses and Events in step with volumes, classes and pods: what has changed decides what is done."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from prometheus_client import Counter, Gauge

from keyferry.bus import Bus, Delivery
from keyferry.changes import PodFinished, RefreshRequested
from keyferry.errors import KeyferryError, UntrustedMessage
from keyferry.events import RefreshFailed, VolumeEvent, VolumePublished, VolumeRefreshed, volume_event
from keyferry.kube import Kube, Watched
from keyferry.streams import SYNC_CONTENTS, SYNC_VOLUMES
from keyferry.subjects import change_subject
from syncer import podstatus
from syncer.cluster import CLASSES, PODS, MountingPod, Owner, SyncClass, project_class, project_pod
from syncer.contents import Contents
from syncer.desired import SyncRefused, build, taken_twice
from syncer.reporting import NORMAL, WARNING, About, Reporter
from syncer.secrets import Secrets
from syncer.volumes import Name, Volumes, class_of
from syncer.work import Work

log = logging.getLogger(__name__)

SYNCED = Counter("sync_k8s_secret_total", "Kubernetes Secrets written.", ["provider", "os_type"])  # upstream's name
REFUSED = Counter("keyferry_sync_refused_total", "Secrets that cannot be made as their class has them.")
VOLUMES = Gauge("keyferry_syncer_volumes", "Volumes that the syncer knows.")
_CLASSES_AT_ONCE, _STATUSES_AT_ONCE = 4, 8
_SWEEP_SECONDS = 600.0
_GROUP = "secrets-store.csi.x-k8s.io/v1"


@dataclass(frozen=True)
class Tools:
    """What syncing works with."""

    bus: Bus
    kube: Kube
    contents: Contents
    reporter: Reporter


class Sync:
    """One term of a leader: it begins by learning everything anew.

    Args:
        tools: What it works with.
        secrets: Whether Secrets are to be written at all; statuses and Events are.
    """

    def __init__(self, tools: Tools, *, secrets: bool) -> None:
        self._tools = tools
        self._sync_secrets = secrets
        self._volumes = Volumes()
        self._classes: Watched[SyncClass] = Watched(tools.kube, CLASSES, project_class, changed=self._class_changed)
        self._pods: Watched[MountingPod] = Watched(tools.kube, PODS, project_pod, changed=self._pod_changed)
        self._secrets = Secrets(tools.kube)
        self._statuses = podstatus.PodStatuses(tools.kube)
        self._made: dict[Name, frozenset[str]] = {}
        self._requested: dict[Name, str] = {}
        self._class_work = Work(self._sync_class, at_once=_CLASSES_AT_ONCE)
        self._pod_work = Work(self._sync_pod, at_once=_STATUSES_AT_ONCE)
        self._telling: set[asyncio.Task[None]] = set()

    def missing(self) -> list[str]:
        """What it waits for, in words."""
        checks = {
            "SecretProviderClasses are not listed": self._classes.synced,
            "pods are not listed": self._pods.synced,
        }
        return [text for text, holds in checks.items() if not holds]

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._classes.run())
            tasks.create_task(self._pods.run())
            while self.missing():  # noqa: ASYNC110 - two caches, and no bell on either
                await asyncio.sleep(0.05)
            tasks.create_task(self._tools.bus.consume(SYNC_VOLUMES, self._hear_volume, concurrency=64))
            tasks.create_task(self._tools.bus.consume(SYNC_CONTENTS, self._hear_content, concurrency=64))
            tasks.create_task(self._sweep())
            tasks.create_task(self._class_work.run())
            tasks.create_task(self._pod_work.run())

    async def _sweep(self) -> NoReturn:
        """Read all of what the bus knows: at first, and again in case that something was missed or has expired."""
        while True:
            try:
                await self._read_all()
                await asyncio.sleep(_SWEEP_SECONDS)
            except KeyferryError as error:
                log.warning("volumes could not be read: %s", error.message)
                await asyncio.sleep(2.0)

    async def _read_all(self) -> None:
        before = self._volumes.ids()
        async for stored in self._tools.bus.replay("VOLUMES", "keyferry.volume.>"):
            try:
                event = volume_event(stored.payload)
            except UntrustedMessage as error:
                log.warning("not a volume event: %s", error.message)
                continue
            before.discard(_volume_id(event))
            self._learn(event)
        lost = self._volumes.drop(before)  # the bus has forgotten them: their nodes are gone
        self._secrets.forget_all()  # somebody may have changed or deleted one
        for volume in [*lost, *self._volumes.all()]:
            self._touch(volume)

    async def _hear_volume(self, delivery: Delivery) -> None:
        event = volume_event(delivery.payload)
        before = self._volumes.get(_volume_id(event))
        self._learn(event)
        volume = self._volumes.get(_volume_id(event))
        for each in (before, volume):
            if each is not None:
                self._touch(each)
        await self._tools.reporter.rotation(event)

    def _learn(self, event: VolumeEvent) -> None:
        self._volumes.take(event)
        VOLUMES.set(len(self._volumes))

    async def _hear_content(self, delivery: Delivery) -> None:
        namespace, _, content_key = delivery.subject.removeprefix("keyferry.sync.").partition(".")
        for name in self._volumes.classes_of_content((namespace, content_key)):
            self._class_work.add(name)

    def _touch(self, volume: VolumePublished) -> None:
        self._class_work.add(class_of(volume))
        self._pod_work.add((volume.pod.namespace, volume.pod.name))

    def _class_changed(self, name: Name) -> None:
        self._class_work.add(name)
        known = self._classes.get(*name)
        before = self._requested.get(name)
        self._requested[name] = known.refresh_requested_at if known else ""
        if known and before is not None and known.refresh_requested_at not in ("", before):
            self._tell(RefreshRequested(*name, int(time.time() * 1000)))

    def _pod_changed(self, name: Name) -> None:
        pod = self._pods.get(*name)
        for volume in self._volumes.of_pod(name):
            self._touch(volume)
            if pod and pod.finished and pod.uid == volume.pod.uid:
                self._tell(PodFinished(volume.pod))

    def _tell(self, change: RefreshRequested | PodFinished) -> None:
        task = asyncio.ensure_future(self._publish(change))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _publish(self, change: RefreshRequested | PodFinished) -> None:
        try:
            await self._tools.bus.publish(
                change_subject("kubernetes"), change.to_bytes(), destination="keyferry.change"
            )
        except KeyferryError as error:
            log.warning("a change was not told: %s", error.message)

    async def _sync_pod(self, name: Name) -> None:
        """Statuses of the volumes of all pods that have, or had, this name."""
        volumes, pod = self._volumes.of_pod(name), self._pods.get(*name)
        current = [volume for volume in volumes if pod and volume.pod.uid == pod.uid and not pod.leaving]
        for volume_id, status in podstatus.names(current).items():
            volume = self._volumes.get(volume_id)
            if volume is not None:
                await self._statuses.write(status, volume, self._made.get(class_of(volume), ()))

    async def _sync_class(self, name: Name) -> None:
        """The Secrets of a class."""
        known, volumes = self._classes.get(*name), self._volumes.of_class(name)
        living = [volume for volume in volumes if self._pod_of(volume)]
        if known is None or not living or not self._sync_secrets:
            return  # what is there goes with its owners
        owners = list({owner: None for volume in living for owner in self._owners(volume)})
        await self._drop_others(name, known, living[0])
        if not known.objects:
            return
        files = await self._tools.contents.files(name[0], living[0].content_key)
        twice = taken_twice(known.objects)
        for wanted in known.objects:
            try:
                if wanted.place in twice:
                    raise SyncRefused(twice[wanted.place])
                if await self._secrets.write(name[0], build(wanted, files), owners):
                    SYNCED.labels(living[0].provider, "linux").inc()
                    log.info("secret written", extra={"namespace": name[0], "secret": wanted.name})
                    text = f"successfully synced K8s secret {wanted.name}"
                    await self._tools.reporter.tell_pods(living, NORMAL, "SecretRotationComplete", text)
            except SyncRefused as refused:
                REFUSED.inc()
                log.warning("secret refused: %s", refused, extra={"class": "/".join(name)})
                about = About(_GROUP, "SecretProviderClass", *name, known.uid)
                await self._tools.reporter.tell(about, WARNING, "FailedToCreateSecret", str(refused))
                await self._tools.reporter.tell_pods(living, WARNING, "FailedToCreateSecret", str(refused))

    async def _drop_others(self, name: Name, known: SyncClass, volume: VolumePublished) -> None:
        """Remove Secrets that the class has asked for and asks for no longer."""
        before = self._made.get(name)
        if before is None:
            status = podstatus.names(self._volumes.of_pod((volume.pod.namespace, volume.pod.name)))[volume.volume_id]
            before = await self._statuses.secrets(name[0], status)
        wanted = frozenset(each.name for each in known.objects if each.name)
        for dropped in before - wanted:
            await self._secrets.remove(name[0], dropped)
            log.info("secret removed", extra={"namespace": name[0], "secret": dropped})
        if self._made.get(name) != wanted:
            self._made[name] = wanted
            for each in self._volumes.of_class(name):
                self._pod_work.add((each.pod.namespace, each.pod.name))

    def _pod_of(self, volume: VolumePublished) -> MountingPod | None:
        pod = self._pods.get(volume.pod.namespace, volume.pod.name)
        return pod if pod and pod.uid == volume.pod.uid and not pod.finished and not pod.leaving else None

    def _owners(self, volume: VolumePublished) -> Sequence[Owner]:
        pod = self._pod_of(volume)
        return pod.owners if pod else ()


def _volume_id(event: VolumeEvent) -> str:
    return event.volume.volume_id if isinstance(event, VolumeRefreshed | RefreshFailed) else event.volume_id
