"""Asks again for what is published when a content is due, and switches files only when the backend has others.

A hint from the rotator says what is due; kubelet's republish brings fresh tokens, and is the safety net when hints are
lost. A volume keeps what it has whatever goes wrong, and it only moves forward in time. Nothing here is waited for by
kubelet.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import Counter, Histogram

from keyferry import telemetry
from keyferry.changes import Due, RefreshVolumes
from keyferry.errors import InternalError, KeyferryError, UntrustedMessage, place
from keyferry.resources import Content
from node_driver import files
from node_driver.announce import Announcer
from node_driver.ask import Asking
from node_driver.published import Published, record_of
from node_driver.records import Records
from node_driver.volume import Credentials, Volume

log = logging.getLogger(__name__)

AT_ONCE = 16  # so that the refreshes of a whole node leave the event loop to its mounts
PAUSE_SECONDS = 1.0  # a volume is not asked for more often, whoever hints
_LONGEST = 30.0  # seconds for one refresh; nobody waits, and the rotator hints again
_LONGEST_SPREAD_MS = 10_000  # whoever hints
_SKEW_MS = 10_000  # a rotator's clock may be ahead by that; nodes must ask for the same moment to share one call
_LARGEST_HINT = 256 * 1024  # bytes, for two thousand volumes; an honest one is far smaller
_TOKEN_MARGIN = 10.0  # seconds that a token must still have, for the request may wait in its stream
_OS = "linux"

# Upstream's names and buckets, which dashboards know (its pkg/secrets-store/stats_reporter.go).
_BUCKETS = (0.1, 0.135, 0.182, 0.246, 0.331, 0.447, 0.603, 0.814, 1.099, 1.482, 2.0)
ROTATIONS = Counter("rotation_reconcile_total", "Refreshes that succeeded.", ["provider", "os_type", "rotated"])
ROTATION_ERRORS = Counter(
    "rotation_reconcile_error_total", "Refreshes that failed.", ["provider", "error_type", "os_type", "rotated"]
)
SECONDS = Histogram("rotation_reconcile_duration_sec", "Time of a refresh.", ["os_type"], buckets=_BUCKETS)
OUTDATED = Counter("keyferry_refresh_outdated_total", "Answers older than what a volume has, which were ignored.")


class Refresher:
    """The refreshes of this node.

    Args:
        published: The node's volumes by id; shared with the publisher, who adds and removes them.
        asking: How fetchers are asked.
        records: What a restarted driver knows.
        announcer: Who tells the rotator.
        tasks: Where refreshes run.
        interval: Seconds between refreshes of a class that says nothing; 0 for never, unless hinted.
        now: Unix seconds.
        pause: Seconds between two refreshes of a volume.
    """

    def __init__(
        self,
        *,
        published: dict[str, Published],
        asking: Asking,
        records: Records,
        announcer: Announcer,
        tasks: asyncio.TaskGroup,
        interval: float,
        now: Callable[[], float] = time.time,
        pause: float = PAUSE_SECONDS,
    ) -> None:
        self._published = published
        self._asking = asking
        self._records = records
        self._announcer = announcer
        self._tasks = tasks
        self._interval_ms = int(interval * 1000)
        self._now = now
        self._pause = pause
        self._wanted: dict[str, int] = {}  # volume id to not_before_ms: under way, or waiting for tokens
        self._running: dict[str, asyncio.Task[None]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}  # of those that wait for their part of a spread
        self._places = asyncio.Semaphore(AT_ONCE)

    async def hear(self, payload: bytes) -> None:
        """Act upon a hint, from whomever it comes: the worst it can do is bounded, and returns at once.

        Raises:
            UntrustedMessage: no hint.
        """
        if len(payload) > _LARGEST_HINT:
            raise UntrustedMessage(f"a hint of {len(payload)} bytes is larger than any rotator's")
        now_ms = self._now_ms()
        due = RefreshVolumes.from_bytes(payload).due
        # The volumes of a node ask one after the other anyhow: what is spread is when its share begins.
        spread = min(max((each.spread_ms for each in due), default=0), _LONGEST_SPREAD_MS) / 1000
        for known, not_before_ms in self._concerned(due):
            if known.record.fetched_at_ms < not_before_ms:
                after = random.uniform(0, spread) if spread else 0.0  # noqa: S311 - spreads load
                self._want(known, not_before_ms if not_before_ms <= now_ms + _SKEW_MS else now_ms, after)
            elif self._now() - known.touched_at >= self._pause:
                known.touched_at = self._now()
                self._announcer.confirmed(known.record)  # the word on it was lost

    def republished(self, known: Published) -> None:
        """Kubelet has brought fresh tokens: go on with what waits for them, or refresh what no hint came for."""
        volume_id = known.record.volume_id
        if volume_id in self._running:
            return
        not_before_ms = self._wanted.get(volume_id) or self._overdue(known)
        if not_before_ms:
            self._want(known, not_before_ms)

    async def leave(self, volume_id: str) -> None:
        """End a volume's refresh, if there is one: when this returns none is under way, and none is remembered."""
        self._end_timer(volume_id)
        while (task := self._running.get(volume_id)) is not None:
            task.cancel()
            await asyncio.wait({task})
            if self._running.get(volume_id) is task:  # it was cancelled before it could begin
                del self._running[volume_id]
        self._wanted.pop(volume_id, None)

    def _concerned(self, due: Iterable[Due]) -> Iterator[tuple[Published, int]]:
        """The volumes that a hint is about, each once, and what each shall not be older than."""
        latest: dict[str, int] = {}  # by volume id or content key; no key is an id
        for each in due:
            for name in each.volume_ids or (each.content_key,):
                latest[name] = max(latest.get(name, 0), each.not_before_ms)
        for volume_id, known in self._published.items():
            not_before_ms = max(latest.get(volume_id, -1), latest.get(known.record.content_key, -1))
            if not_before_ms >= 0:
                yield known, not_before_ms

    def _overdue(self, known: Published) -> int:
        """What a volume must not be older than although no hint came, Unix milliseconds; 0 if it is fine as it is.

        Rounded down to what the other nodes with the same content arrive at as well: their requests are to share one
        call of the backend. One that was asked for within the interval, if in vain, is left to the rotator, who knows
        of all that fail and when to ask a backend again.
        """
        record, now_ms, not_before_ms = known.record, self._now_ms(), 0
        interval_ms = self._interval_ms if record.rotation_ms is None else record.rotation_ms
        if 0 <= now_ms - known.touched_at * 1000 < interval_ms:
            return 0
        if interval_ms > 0 and now_ms - record.fetched_at_ms >= 2 * interval_ms:
            not_before_ms = now_ms - now_ms % interval_ms
        if record.fetched_at_ms < record.refresh_by_ms <= now_ms:
            not_before_ms = max(not_before_ms, record.refresh_by_ms)
        return not_before_ms

    def _want(self, known: Published, not_before_ms: int, after: float = 0.0) -> None:
        """Refresh a volume, or have the refresh that is under way do it, or remember it for when there are tokens."""
        volume_id = known.record.volume_id
        self._wanted[volume_id] = max(self._wanted.get(volume_id, 0), not_before_ms)
        if volume_id in self._running or self._means(known) is None:
            return
        if after > 0:
            if volume_id not in self._timers:
                self._timers[volume_id] = asyncio.get_running_loop().call_later(after, self._begin, volume_id)
        else:
            self._begin(volume_id)

    def _begin(self, volume_id: str) -> None:
        self._end_timer(volume_id)
        self._running[volume_id] = self._tasks.create_task(self._refresh(volume_id))

    def _end_timer(self, volume_id: str) -> None:
        timer = self._timers.pop(volume_id, None)
        if timer is not None:
            timer.cancel()

    def _means(self, known: Published) -> tuple[Volume, Credentials] | None:
        """What to ask with; None until kubelet's next republish brings it."""
        if known.volume is None or known.credentials is None:
            return None
        if known.credentials.expires_at < self._now() + _TOKEN_MARGIN:
            return None
        return known.volume, known.credentials

    async def _refresh(self, volume_id: str) -> None:
        """Refresh until the latest hint is met, or tried: one that comes meanwhile is another round if it is later."""
        asked_for_ms = -1
        try:
            while self._wanted[volume_id] > asked_for_ms and (known := self._published.get(volume_id)) is not None:
                # Within the pause, and not for longer if the clock was set back.
                await asyncio.sleep(min(self._pause, known.touched_at + self._pause - self._now()))
                async with self._places:
                    means = self._means(known)
                    if means is None:
                        return
                    asked_for_ms, known.touched_at = self._wanted[volume_id], self._now()
                    await self._once(known, means, asked_for_ms)
            del self._wanted[volume_id]
        finally:
            self._running.pop(volume_id, None)

    async def _once(self, known: Published, means: tuple[Volume, Credentials], not_before_ms: int) -> None:
        if not self._is_ours(known):
            return
        start, trace = time.perf_counter(), None
        attributes = {"keyferry.provider": known.record.provider, "k8s.namespace.name": known.record.pod.namespace}
        try:
            with telemetry.span("refresh", telemetry.Kind.INTERNAL, attributes):
                trace = telemetry.exemplar()
                content = await self._asking.for_refresh(
                    *means, self._now() + _LONGEST, known_digest=known.record.digest, not_before_ms=not_before_ms
                )
                if self._is_ours(known):
                    self._take(known, means[0], content)
        except KeyferryError as error:
            self._failed(known, not_before_ms, error)
        except Exception as error:  # noqa: BLE001 - a defect in one refresh must not end the driver
            defect = InternalError(f"the driver met a defect of its own ({place(error)}): see its log")
            self._failed(known, not_before_ms, defect)
        SECONDS.labels(_OS).observe(time.perf_counter() - start, trace)

    def _is_ours(self, known: Published) -> bool:
        """Whether the volume is still published; one that is coming or going is left alone."""
        return self._published.get(known.record.volume_id) is known and known.in_place

    def _take(self, known: Published, volume: Volume, content: Content) -> None:
        """Let the volume have a content, if that is a step forward."""
        record = known.record
        if content.fetched_at_ms < record.fetched_at_ms:
            OUTDATED.inc()
            log.warning("an answer older than the volume's content was ignored", extra={"volume_id": record.volume_id})
            return
        changed = False
        if content.files is not None:
            with telemetry.phase("write"):
                changed = files.write(record.target_path, content.files, gid=volume.group)
        elif content.digest != record.digest:
            raise InternalError("the fetcher calls a content unchanged that is not what the volume has")
        known.record = record_of(volume, content)
        self._records.save(known.record)
        self._announcer.refreshed(known.record, changed=changed)
        ROTATIONS.labels(content.provider, _OS, str(changed).lower()).inc()
        told = log.info if changed else log.debug
        told("volume refreshed", extra={"volume_id": record.volume_id, "pod": str(record.pod), "changed": changed})

    def _failed(self, known: Published, not_before_ms: int, error: KeyferryError) -> None:
        record = known.record
        ROTATION_ERRORS.labels(error.provider or record.provider, error.reason, _OS, "false").inc()
        log.warning(
            "refresh failed, the volume keeps its content: %s",
            error.message,
            extra={"volume_id": record.volume_id, "pod": str(record.pod), "reason": error.reason},
        )
        if self._is_ours(known):
            self._announcer.failed(record, not_before_ms, error)

    def _now_ms(self) -> int:
        return int(self._now() * 1000)
