"""Makes the schedule anew when it is lost, from the last word on each volume; and drops volumes of lost nodes."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from keyferry.bus import Bus, Stored
from keyferry.errors import KeyferryError, StoreUnavailable, UntrustedMessage
from keyferry.streams import SCHEDULE_VOLUMES
from rotator import metrics
from rotator.schedule import Schedule
from rotator.words import Word

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
SILENT_SECONDS = 12 * 3600.0
"""Nodes tell of each volume every six hours, and what they told is kept for a day."""

_LOCK_MS = 15_000
_AT_ONCE = 100
"""Words; mounts that ask Redis meanwhile wait for some milliseconds."""


class Rebuild:
    """Keeps the schedule complete.

    Args:
        schedule: Which may be lost at any moment.
        bus: What it is made from.
        now: Unix seconds.
    """

    def __init__(self, schedule: Schedule, bus: Bus, now: Callable[[], float] = time.time) -> None:
        self._schedule = schedule
        self._bus = bus
        self._now = now
        self._said = ""
        self.is_complete = False

    async def run(self) -> None:
        """Look every second whether the schedule is complete, until cancelled."""
        token, adopted = secrets.token_hex(8), False
        while True:
            try:
                if not adopted:
                    await self._schedule.adopt_interval()
                    adopted = True
                self.is_complete = await self.ensure(token)
                self._said = ""
            except KeyferryError as error:
                self.is_complete = False
                if error.reason != self._said:
                    log.warning("the schedule waits: %s", error.message)
                self._said = error.reason
            await asyncio.sleep(CHECK_SECONDS)

    async def ensure(self, token: str) -> bool:
        """Make the schedule if it is not made, and nobody else does; whether it is complete.

        Raises:
            KeyferryError: not now.
        """
        stream = await self._bus.identity(SCHEDULE_VOLUMES.stream)
        if await self._schedule.built() == stream:
            return True
        if not await self._schedule.lock(token, hold_ms=_LOCK_MS):
            return False
        try:
            steps, volumes = await self._fill(token)
        except KeyferryError as error:
            metrics.REBUILDS.labels(error.reason).inc()
            raise
        if not await self._schedule.unlock(token, step=steps, built=stream):
            metrics.REBUILDS.labels("lost").inc()
            return False
        metrics.REBUILDS.labels("built").inc()
        log.info("the schedule has been made from what nodes told", extra={"volumes": volumes})
        return True

    async def sweep(self) -> int:
        """Drop volumes that the stream has forgotten and of which nothing was heard for long; how many.

        Raises:
            KeyferryError: not now.
        """
        before_us = int((self._now() - SILENT_SECONDS) * 1e6)
        silent = {volume async for volume in self._silent(before_us)}
        if not silent:
            return 0
        async for stored in self._words():
            silent.discard(_volume_of(stored))
        dropped = await self._schedule.drop(sorted(silent), before_us, self._now_ms())
        metrics.DROPPED.inc(dropped)
        log.info("volumes of lost nodes were dropped", extra={"volumes": dropped})
        return dropped

    async def run_sweeps(self, seconds: float, jitter: Callable[[], float] = random.random) -> None:
        """Sweep every so many seconds, until cancelled."""
        while True:
            await asyncio.sleep(seconds * (0.9 + 0.2 * jitter()))
            try:
                await self.sweep()
            except KeyferryError as error:
                log.warning("volumes of lost nodes stay for now: %s", error.message)

    async def _fill(self, token: str) -> tuple[int, int]:
        """Take in the last word on each volume; in how many steps, and how many words."""
        steps, volumes = 0, 0
        async for words in self._portions():
            if not await self._schedule.fill(token, steps, words, self._now_ms(), hold_ms=_LOCK_MS):
                raise StoreUnavailable("the schedule was lost while it was being made: it is made again")
            steps, volumes = steps + 1, volumes + len(words)
        return steps, volumes

    async def _portions(self) -> AsyncIterator[list[Word]]:
        words: list[Word] = []
        async for stored in self._words():
            with suppress(UntrustedMessage):
                words.append(Word.heard(stored.subject, stored.payload, stored.stored_us))
            if len(words) == _AT_ONCE:
                yield words
                words = []
        if words:
            yield words

    async def _silent(self, before_us: int) -> AsyncIterator[str]:
        cursor = "0"
        while True:
            cursor, volumes = await self._schedule.silent(before_us, self._now_ms(), cursor)
            for volume in volumes:
                yield volume
            if cursor == "0":
                return

    def _words(self) -> AsyncIterator[Stored]:
        return self._bus.replay(SCHEDULE_VOLUMES.stream, SCHEDULE_VOLUMES.subject)

    def _now_ms(self) -> int:
        return int(self._now() * 1000)


def _volume_of(stored: Stored) -> str:
    try:
        return Word.heard(stored.subject, stored.payload, stored.stored_us).name
    except UntrustedMessage:
        return ""
