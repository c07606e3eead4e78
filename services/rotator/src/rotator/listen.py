"""Takes what the bus brings into the schedule: what nodes tell of volumes, and what has changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from keyferry.bus import Bus, Delivery
from keyferry.changes import BackendChanged, PodFinished, change_event
from keyferry.errors import StoreUnavailable, UntrustedMessage
from keyferry.subjects import change_subject
from rotator import metrics
from rotator.schedule import NotBuilt, Outcome, Schedule
from rotator.words import Change, Word

log = logging.getLogger(__name__)

T = TypeVar("T")

_AWAY_SECONDS = 1.0
_LONGEST_REST = 60.0
_MALFORMED = "malformed"


class Listener:
    """The handlers of the rotator's two consumers.

    Args:
        schedule: Where it goes.
        tell: As the schedule's own, for words on volumes.
        stir: Called when something is due at once.
        now: Unix seconds.
    """

    def __init__(
        self,
        schedule: Schedule,
        tell: Callable[[Word, int], Awaitable[Outcome]],
        stir: Callable[[], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._schedule = schedule
        self._tell = tell
        self._stir = stir
        self._now = now

    async def volume(self, delivery: Delivery) -> None:
        """A node's word on a volume; acknowledged once Redis has it."""
        try:
            word = Word.heard(delivery.subject, delivery.payload, delivery.stored_us)
        except UntrustedMessage:
            metrics.WORDS.labels(_MALFORMED).inc()
            raise
        outcome, due = await self._kept(delivery, lambda: self._tell(word, self._now_ms()))
        metrics.WORDS.labels(outcome).inc()
        if due:
            self._stir()

    async def change(self, delivery: Delivery) -> None:
        """Something changed, in a backend or in the cluster; acknowledged once Redis has it."""
        try:
            event = change_event(delivery.payload)
        except UntrustedMessage:
            metrics.CHANGES.labels("", _MALFORMED).inc()
            raise
        if isinstance(event, PodFinished):
            await self._kept(delivery, lambda: self._schedule.finish(event.pod.uid, self._now_ms()))
            return
        provider = event.provider if isinstance(event, BackendChanged) else "kubernetes"
        matched = await self._kept(delivery, lambda: self._schedule.change(Change.of(event), self._now_ms()))
        outcome = "repeated" if matched is None else "due" if matched else "unknown"
        metrics.CHANGES.labels(provider, outcome).inc()
        if matched:
            self._stir()
            log.debug("contents are due for a change", extra={"provider": provider, "contents": matched})

    async def _kept(self, delivery: Delivery, tell: Callable[[], Awaitable[T]]) -> T:
        """Wait for Redis as long as it takes: deliveries are counted, an outage must not use them up."""
        while True:
            try:
                return await tell()
            except NotBuilt:
                await asyncio.sleep(_AWAY_SECONDS)
            except StoreUnavailable as error:
                if self._schedule.is_reachable:  # it refused; maybe it always will, and others must not wait behind it
                    error.retry_after = min(2.0**delivery.attempt, _LONGEST_REST)
                    raise
                await asyncio.sleep(_AWAY_SECONDS)

    def _now_ms(self) -> int:
        return int(self._now() * 1000)


def emitter(bus: Bus) -> Callable[[BackendChanged], Awaitable[None]]:
    """What event sources call: it returns when the change cannot be forgotten, and raises BusUnavailable if it can."""

    async def emit(change: BackendChanged) -> None:
        await bus.publish(
            change_subject(change.provider),
            change.to_bytes(),
            destination="keyferry.change",
            message_id=Change.of(change).event_id or None,  # hashed: a header is no place for what others wrote
        )

    return emit
