"""Counts what a source hears, and says in the log what it refuses: once a minute, with nothing of it in the line."""

from __future__ import annotations

import asyncio
import logging
import math
import time

from prometheus_client import Counter, Gauge, Histogram

from keyferry.errors import KeyferryError, place
from rotator.sources.source import Change, Clock, Emit

log = logging.getLogger(__name__)

EVENTS = Counter("keyferry_change_events", "Change events heard, by what became of them.", ["source", "outcome"])
CONNECTED = Gauge("keyferry_change_source_connected", "1 while events of this source would be heard.", ["source"])
LAG = Histogram(
    "keyferry_change_event_lag_seconds",
    "From an event's own time until it was heard.",
    ["source"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)

_QUIET_SECONDS = 60.0
_EMIT_SECONDS = 10.0


class Heard:
    """What a source has heard, and whether it still would.

    Args:
        source: Its name, the label of all metrics.
        now: Unix seconds.
    """

    def __init__(self, source: str, now: Clock = time.time) -> None:
        self.source = source
        self.now = now
        self._said: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}
        self._up: bool | None = None

    def count(self, outcome: str) -> None:
        """One event more with this outcome."""
        EVENTS.labels(self.source, outcome).inc()

    def refuse(self, outcome: str, why: str) -> None:
        """Count what was not taken, and log it if nothing of this outcome was logged lately.

        Args:
            outcome: One word, a label.
            why: Says what to fix; nothing that came from outside.
        """
        self.count(outcome)
        now = time.monotonic()
        if now - self._said.get(outcome, -math.inf) < _QUIET_SECONDS:
            self._unsaid[outcome] = self._unsaid.get(outcome, 0) + 1
            return
        self._said[outcome] = now
        extra = {"source": self.source, "outcome": outcome, "more_like_it": self._unsaid.pop(outcome, 0)}
        log.warning("a change event was not taken: %s", why, extra=extra)

    def stands(self) -> None:
        """Events are heard from here on."""
        if not self._up:
            log.info("hearing change events", extra={"source": self.source})
        self._up = True
        CONNECTED.labels(self.source).set(1)

    def away(self, why: str) -> None:
        """None are heard until further notice."""
        if self._up is not False:
            log.warning("no change events are heard: %s", why, extra={"source": self.source})
        self._up = False
        CONNECTED.labels(self.source).set(0)

    def stopped(self) -> None:
        """None are heard and none should be: we have not begun, or were told to stop."""
        CONNECTED.labels(self.source).set(0)

    async def tell(self, emit: Emit, provider: str, change: Change) -> bool:
        """Emit a change; says whether it is on the bus and may be acknowledged."""
        if change.at is not None:
            LAG.labels(self.source).observe(max(0.0, self.now() - change.at))
        try:
            async with asyncio.timeout(_EMIT_SECONDS):
                await emit(change.changed(provider, self.now()))
        except Exception as error:  # noqa: BLE001 - whatever it was: not acknowledged, so it comes again
            self.refuse("failed", told(error))
            return False
        self.count("emitted" if change.sources else "gap")
        return True


def told(error: BaseException) -> str:
    """An error in words that quote nothing; of several, the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error.message if isinstance(error, KeyferryError) else place(error)
