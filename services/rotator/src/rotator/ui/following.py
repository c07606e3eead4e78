"""Follows what nodes tell and what is scheduled, for as long as somebody looks.

The rotators share their consumer, so that none of them hears of all volumes. The page reads the stream itself: all of
it once, and from then on only what came after, by number. That is one request a second, costs as much as there is news,
needs no consumer and no right that rotators lack, and misses nothing.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress

from keyferry.bus import Bus
from keyferry.errors import KeyferryError, UntrustedMessage
from keyferry.store import Store
from keyferry.streams import SCHEDULE_VOLUMES
from rotator.schedule import PREFIX
from rotator.ui.scheduled import Scheduled, read_schedule
from rotator.ui.volumes import Volume, Word

log = logging.getLogger(__name__)

_STEP_SECONDS = 1.0
_SCHEDULE_SECONDS = 5.0
_WHOLE_SECONDS = 600.0  # volumes of lost nodes leave the stream without a word
_UNWATCHED_SECONDS = 60.0
MOST_VOLUMES = 100_000


class Following:
    """What is known; made from nothing again after nobody has looked for a while.

    Args:
        bus: Where nodes' words are.
        store: Where the schedule is.
        prefix: Of the schedule's keys.
        clock: Seconds of a clock that never goes back.

    Attributes:
        volumes: By name.
        contents: The schedule, by content key.
        number: Another one whenever something has changed; 0 until all has been read once.
        read_ms: When the stream was last read to its end, Unix milliseconds.
        unreadable: How many messages were no word of the node that they are said to be of.
        trouble: Why what is known may be old, in words; empty if it is not.
    """

    def __init__(
        self, bus: Bus, store: Store, *, prefix: str = PREFIX, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bus, self._store, self._prefix, self._clock = bus, store, prefix, clock
        self._watched = asyncio.Event()
        self._watched_at = -math.inf
        self._first = asyncio.Event()
        self.trouble = ""
        self._forget()

    def _forget(self) -> None:
        self.volumes: dict[str, Volume] = {}
        self.contents: dict[str, Scheduled] = {}
        self.number = self.read_ms = self.unreadable = 0
        self._stream, self._last = "", 0
        self._whole_at = self._schedule_at = -math.inf
        self._first.clear()

    async def watched(self, *, seconds: float = 5.0) -> None:
        """Somebody looks; returns when there is something to see, or after some seconds."""
        self._watched_at = self._clock()
        self._watched.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._first.wait()

    async def run(self) -> None:
        """Follow while somebody looks, until cancelled."""
        while True:
            if self._clock() - self._watched_at > _UNWATCHED_SECONDS:
                self._watched.clear()
                self._forget()
                await self._watched.wait()
            try:
                await self.step()
                self.trouble = ""
            except KeyferryError as error:
                if error.message != self.trouble:
                    log.warning("the live page shows what is old: %s", error.message)
                    self.number += 1
                self.trouble = error.message
            await asyncio.sleep(_STEP_SECONDS)

    async def step(self) -> None:
        """Read what is new.

        Raises:
            KeyferryError: not all of it.
        """
        stream, now = await self._bus.identity(SCHEDULE_VOLUMES.stream), self._clock()
        if stream != self._stream or now - self._whole_at > _WHOLE_SECONDS:
            await self._read({}, 0)
            self._stream, self._whole_at = stream, now
        else:
            await self._read(self.volumes, self._last)
        self.read_ms = int(time.time() * 1000)
        if now - self._schedule_at > _SCHEDULE_SECONDS:
            contents, self._schedule_at = await read_schedule(self._store, self._prefix), now
            self.number += contents != self.contents
            self.contents = contents
        self._first.set()

    async def _read(self, volumes: dict[str, Volume], after: int) -> None:
        unreadable = 0
        async for stored in self._bus.replay(SCHEDULE_VOLUMES.stream, SCHEDULE_VOLUMES.subject, after=after):
            after = stored.sequence
            try:
                word = Word.heard(stored)
            except UntrustedMessage:
                unreadable += 1
                continue
            if word.volume is None:
                volumes.pop(word.name, None)
            elif word.name in volumes or len(volumes) < MOST_VOLUMES:
                volumes[word.name] = word.volume
        if after != self._last or volumes is not self.volumes:
            self.number += 1
        self.unreadable = unreadable if volumes is not self.volumes else self.unreadable + unreadable
        self.volumes, self._last = volumes, after
