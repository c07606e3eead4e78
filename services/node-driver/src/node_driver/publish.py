"""Publishes a volume: ask, mount, write, remember, tell. OK is never said before the files are in place."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from prometheus_client import Gauge

from keyferry import telemetry
from keyferry.errors import FailedToMount, InternalError, KeyferryError, RequestExpired, VolumeBusy, VolumeConflict
from keyferry.resources import Content
from node_driver import files, mounts
from node_driver.announce import Announcer
from node_driver.ask import Asking
from node_driver.published import Published, record_of
from node_driver.records import Records
from node_driver.refresh import Refresher
from node_driver.volume import Credentials, Volume

log = logging.getLogger(__name__)

VOLUMES = Gauge("keyferry_volumes", "Volumes published on this node.")

_LONGEST = 120.0  # seconds; kubelet's own limit for a CSI call
_MARGIN = 1.0  # seconds before kubelet stops listening, so that the pod's event says why and not "deadline exceeded"


@dataclass(frozen=True, slots=True)
class _Flight:
    volume: Volume
    task: asyncio.Task[Published]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one volume's tmpfs may hold."""

    size_bytes: int
    inodes: int


class Publisher:
    """The volumes of this node, published and under way.

    Args:
        published: Those that are published, by id; shared with the refresher, who only reads it.
        refresher: Who keeps them current.
        asking: How fetchers are asked.
        records: What a restarted driver knows.
        announcer: Who tells rotator and syncer.
        limits: Of each volume.
        now: Unix seconds.
    """

    def __init__(
        self,
        *,
        published: dict[str, Published],
        refresher: Refresher,
        asking: Asking,
        records: Records,
        announcer: Announcer,
        limits: Limits,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._published = published
        self._refresher = refresher
        self._asking = asking
        self._records = records
        self._announcer = announcer
        self._limits = limits
        self._now = now
        self._flights: dict[str, _Flight] = {}

    def adopt(self) -> None:
        """Take over what an earlier run left: live mounts are ours again, records without one are forgotten."""
        for record in self._records.load_all():
            known = Published(record, None, None)
            if known.in_place:
                self._published[record.volume_id] = known
                self._announcer.published(record)
            else:
                self._records.forget(record.volume_id)
                self._announcer.unpublished(record.volume_id)
        VOLUMES.set(len(self._published))
        log.info("volumes adopted", extra={"volumes": len(self._published)})

    async def publish(self, volume: Volume, credentials: Credentials, deadline: float) -> Published:
        """Publish a volume, or join the flight that does, or see that it is published already.

        Args:
            volume: What kubelet asks for.
            credentials: What the pod proves itself with; for a published volume, kept for its refreshes, of which none
                is waited for.
            deadline: Unix seconds after which kubelet does not listen.

        Raises:
            VolumeConflict: published with other arguments.
            VolumeBusy: under way with other arguments.
            RequestExpired: this call's time is up; the flight goes on and the next call joins it.
            KeyferryError: why the volume could not be published; nothing of it is left then.
        """
        known = self._published.get(volume.volume_id)
        if known is not None and self._still_good(known, volume):
            known.volume, known.credentials = volume, credentials
            self._refresher.republished(known)
            return known
        deadline = min(deadline - _MARGIN, self._now() + _LONGEST - _MARGIN)
        flight = self._flights.get(volume.volume_id)
        if flight is None:
            flight = self._take_off(volume, credentials, deadline)
        elif flight.volume != volume:
            raise VolumeBusy(f"volume {volume.volume_id} is being published with other arguments")
        try:
            async with asyncio.timeout(max(0.0, deadline - self._now()) + _MARGIN / 2):
                return await asyncio.shield(flight.task)
        except TimeoutError:
            raise RequestExpired("the volume is still being published: the next try joins it") from None
        except asyncio.CancelledError:
            this = asyncio.current_task()
            if not flight.task.cancelled() or (this is not None and this.cancelling()):
                raise
            raise VolumeBusy(f"volume {volume.volume_id} was unpublished while it was being published") from None

    async def unpublish(self, volume_id: str, target_path: str) -> None:
        """Take a volume away; there being none is success.

        Raises:
            FailedToMount: the kernel refuses.
        """
        flight = self._flights.get(volume_id)
        if flight is not None:
            flight.task.cancel()
            await asyncio.wait({flight.task})
        await self._refresher.leave(volume_id)
        try:
            mounts.unmount(target_path)
            with suppress(FileNotFoundError):
                os.rmdir(target_path)  # noqa: PTH106 - one system call, no object
        except OSError as error:
            raise FailedToMount(
                f"failed to clean and unmount target path {target_path}: {error.strerror}: see what is in it"
            ) from None
        self._published.pop(volume_id, None)
        self._records.forget(volume_id)
        self._announcer.unpublished(volume_id)
        VOLUMES.set(len(self._published))

    def meets_anothers(self, volume_id: str, target_path: str) -> bool:
        """Whether a volume that we know nothing of is mounted, as a driver before us has left it."""
        if volume_id in self._published or "\0" in target_path:
            return False
        try:
            return mounts.is_tmpfs_mount(target_path)
        except FailedToMount:
            return False

    def _still_good(self, known: Published, volume: Volume) -> bool:
        record = known.record
        if (record.target_path, record.secret_provider_class) != (volume.target_path, volume.secret_provider_class):
            raise VolumeConflict(
                f"volume {volume.volume_id} is published at {record.target_path} with class "
                f"{record.secret_provider_class}: unpublish it first"
            )
        return known.in_place

    def _take_off(self, volume: Volume, credentials: Credentials, deadline: float) -> _Flight:
        flight = _Flight(volume, asyncio.ensure_future(self._first_publish(volume, credentials, deadline)))
        self._flights[volume.volume_id] = flight
        flight.task.add_done_callback(lambda task: self._land(volume.volume_id, task))
        return flight

    def _land(self, volume_id: str, task: asyncio.Task[Published]) -> None:
        del self._flights[volume_id]
        if not task.cancelled():
            task.exception()  # every caller may have stopped listening; then nobody else retrieves it

    async def _first_publish(self, volume: Volume, credentials: Credentials, deadline: float) -> Published:
        try:
            content = await self._asking.for_mount(volume, credentials, deadline)
            self._put_in_place(volume, content)
        except KeyferryError as error:
            error.message = f"failed to mount secrets store objects for pod {volume.pod}, err: {error.message}"
            raise
        published = Published(record_of(volume, content), volume, credentials)
        self._records.save(published.record)
        self._published[volume.volume_id] = published
        self._announcer.published(published.record)
        VOLUMES.set(len(self._published))
        log.info(
            "volume published",
            extra={"volume_id": volume.volume_id, "pod": str(volume.pod), "objects": len(content.versions)},
        )
        return published

    def _put_in_place(self, volume: Volume, content: Content) -> None:
        """Mount and write. Nothing is mounted before the content is here: a try that fails earlier leaves nothing."""
        if content.files is None:
            raise InternalError("the fetcher answered a first publish with a content that has no files")
        files.validate(content.files)
        target = volume.target_path
        with ExitStack() as undo:
            with telemetry.phase("mount"):
                self._mount(target, undo)
            with telemetry.phase("write"):
                files.write(target, content.files, gid=volume.group)
            undo.pop_all()

    def _mount(self, target: str, undo: ExitStack) -> None:
        try:
            if _make(target):
                undo.callback(os.rmdir, target)
            else:
                mounts.unmount(target)  # what a run that crashed before it could remember may have left
        except OSError as error:
            raise FailedToMount(f"cannot make the target path {target}: {error.strerror}") from None
        mounts.mount_tmpfs(target, size_bytes=self._limits.size_bytes, inodes=self._limits.inodes, mode=0o755)
        undo.callback(mounts.unmount, target)


def _make(target: str) -> bool:
    """Make the target directory, as CSI has it, and whatever is missing above; whether it was not there.

    Raises:
        OSError: when that is not possible.
    """
    try:
        os.mkdir(target, 0o750)  # noqa: PTH102 - on the mount path: one system call, no object
    except FileExistsError:
        return False
    except FileNotFoundError:
        os.makedirs(target, mode=0o750)  # noqa: PTH103 - as above
    return True
