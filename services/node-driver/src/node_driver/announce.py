"""Tells rotator and syncer which volumes are here, as often as it takes for the bus to keep it.

What is told is a state, not a history: while the bus is away the newest word on each volume waits, and it is said again
every six hours so that the word on a lost node's volumes can expire.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from keyferry.bus import Bus
from keyferry.errors import KeyferryError
from keyferry.events import RefreshFailed, VolumeEvent, VolumePublished, VolumeRefreshed, VolumeUnpublished
from keyferry.subjects import volume_subject
from node_driver.records import Record

log = logging.getLogger(__name__)

REPEAT_SECONDS = 6 * 3600.0
PUBLISHED_TTL = 24 * 3600.0
UNPUBLISHED_TTL = 3600.0
_AT_ONCE = 64
_LONGEST_PAUSE = 30.0


class Announcer:
    """The newest word on each volume, and which of them the bus does not have yet.

    Args:
        bus: Where it is told.
        node: This node's name.
    """

    def __init__(self, bus: Bus, node: str) -> None:
        self._bus = bus
        self._node = node
        self._words: dict[str, VolumeEvent] = {}
        self._untold: set[str] = set()
        self._stirred = asyncio.Event()

    def published(self, record: Record) -> None:
        """A volume has its content in place."""
        self._say(record.volume_id, self._volume(record))

    def refreshed(self, record: Record, *, changed: bool) -> None:
        """A volume is as its backend has it; ``changed`` if its files were switched for that."""
        self._say(record.volume_id, VolumeRefreshed(self._volume(record), changed))

    def confirmed(self, record: Record) -> None:
        """A volume was asked for again already: say once more what came of it, for somebody has not heard it."""
        word = self._words.get(record.volume_id)
        if isinstance(word, VolumeRefreshed | RefreshFailed):
            self._say(record.volume_id, word)
        else:
            self.refreshed(record, changed=False)

    def failed(self, record: Record, asked_for_ms: int, error: KeyferryError) -> None:
        """A volume was asked for again in vain and keeps what it has."""
        word = RefreshFailed(self._volume(record), asked_for_ms, error.code, error.reason, error.message)
        self._say(record.volume_id, word)

    def _volume(self, record: Record) -> VolumePublished:
        return VolumePublished(
            volume_id=record.volume_id,
            node=self._node,
            pod=record.pod,
            secret_provider_class=record.secret_provider_class,
            target_path=record.target_path,
            provider=record.provider,
            content_key=record.content_key,
            digest=record.digest,
            fetched_at_ms=record.fetched_at_ms,
            versions=record.versions,
            sources=record.sources,
            left_out=record.left_out,
            rotation_ms=record.rotation_ms,
            refresh_by_ms=record.refresh_by_ms,
            stale_since_ms=record.stale_since_ms,
        )

    def unpublished(self, volume_id: str) -> None:
        """A volume is gone."""
        self._say(volume_id, VolumeUnpublished(volume_id, self._node))

    async def run(self, *, repeat_seconds: float = REPEAT_SECONDS, jitter: Callable[[], float] = random.random) -> None:
        """Tell, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tell_all())
            tasks.create_task(self._repeat(repeat_seconds, jitter))

    def _say(self, volume_id: str, word: VolumeEvent) -> None:
        self._words[volume_id] = word
        self._untold.add(volume_id)
        self._stirred.set()

    async def _tell_all(self) -> None:
        pause = 0.5
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            while self._untold:
                batch = [self._untold.pop() for _ in range(min(_AT_ONCE, len(self._untold)))]
                told = await asyncio.gather(*(self._tell(volume_id) for volume_id in batch))
                if all(told):
                    pause = 0.5
                    continue
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _tell(self, volume_id: str) -> bool:
        word = self._words.get(volume_id)
        if word is None:  # told, and forgotten, between two repeats
            return True
        gone = isinstance(word, VolumeUnpublished)
        try:
            await self._bus.publish(
                volume_subject(self._node, volume_id),
                word.to_bytes(),
                destination="keyferry.volume",
                ttl=UNPUBLISHED_TTL if gone else PUBLISHED_TTL,
            )
        except KeyferryError as error:
            self._untold.add(volume_id)
            log.warning("volume event waits: %s", error.message, extra={"volume_id": volume_id})
            return False
        if gone and self._words.get(volume_id) is word:
            del self._words[volume_id]
        return True

    async def _repeat(self, seconds: float, jitter: Callable[[], float]) -> None:
        while True:
            await asyncio.sleep(seconds * (0.9 + 0.2 * jitter()))
            self._untold.update(self._words)
            self._stirred.set()
