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
from keyferry.events import VolumePublished, VolumeUnpublished
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
        self._words: dict[str, VolumePublished | VolumeUnpublished] = {}
        self._untold: set[str] = set()
        self._stirred = asyncio.Event()

    def published(self, record: Record) -> None:
        """A volume has its content in place."""
        word = VolumePublished(
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
        )
        self._say(record.volume_id, word)

    def unpublished(self, volume_id: str) -> None:
        """A volume is gone."""
        self._say(volume_id, VolumeUnpublished(volume_id, self._node))

    async def run(self, *, repeat_seconds: float = REPEAT_SECONDS, jitter: Callable[[], float] = random.random) -> None:
        """Tell, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tell_all())
            tasks.create_task(self._repeat(repeat_seconds, jitter))

    def _say(self, volume_id: str, word: VolumePublished | VolumeUnpublished) -> None:
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
