"""Takes what is due and tells the nodes that hold it: a hint, which they answer by fetching with their own tokens."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress

from keyferry.bus import Bus
from keyferry.changes import Due, EndContent, RefreshVolumes
from keyferry.errors import KeyferryError, StoreUnavailable
from keyferry.subjects import END_SUBJECT, hint_subject
from rotator import metrics
from rotator.schedule import Claim, Schedule, Taken

log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
SPREAD_MS = 800
"""Over which the volumes of a content ask, where nobody waits for it: less than until they are told again."""
LIMIT = 100
"""Contents in one tick: after a long outage they go out in portions, with a pause between two."""

_LEAST_SECONDS = 0.05
_AWAY_SECONDS = 1.0


class Rotation:
    """The work of one rotator; any number of them share it.

    Args:
        schedule: What is due.
        bus: Where hints go.
        now: Unix seconds.
    """

    def __init__(self, schedule: Schedule, bus: Bus, now: Callable[[], float] = time.time) -> None:
        self._schedule = schedule
        self._bus = bus
        self._now = now
        self._stirred = asyncio.Event()
        self._said = ""

    def stir(self) -> None:
        """Something is due: do not wait for the next tick."""
        self._stirred.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            pause = await self._ticked()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stirred.wait()
            self._stirred.clear()

    async def tick(self) -> Taken:
        """Take what is due now, and work it off.

        Raises:
            StoreUnavailable: Redis is away.
        """
        token = secrets.token_hex(8)
        taken = await self._schedule.take(token, self._now_ms(), limit=LIMIT)
        metrics.CONTENTS.set(taken.contents)
        metrics.VOLUMES.set(taken.volumes)
        metrics.LOST.inc(taken.lost)
        done = [claim.key for claim in taken.claims if claim.empty_since_ms and await self._ended(claim)]
        hinting = [claim for claim in taken.claims if not claim.empty_since_ms]
        if hinting and await self._hinted(hinting):
            done += [claim.key for claim in hinting]
        if done:
            await self._schedule.settle(token, done, self._now_ms())
        return taken

    async def _ticked(self) -> float:
        """Seconds until the next tick."""
        if not self._bus.is_connected:  # what was taken now could not be told to anybody
            return TICK_SECONDS
        try:
            taken = await self.tick()
        except StoreUnavailable as error:
            self._warn(error)
            return _AWAY_SECONDS
        left = taken.next_ms / 1000 - self._now() if taken.next_ms else TICK_SECONDS
        return min(max(left, _LEAST_SECONDS), TICK_SECONDS)

    async def _hinted(self, claims: list[Claim]) -> bool:
        """Whether all nodes were told; if not, the claims run out and somebody tells them."""
        try:
            for node, hint in hints(claims):
                await self._bus.hint(hint_subject(node), hint.to_bytes(), destination="keyferry.refresh")
        except KeyferryError as error:
            self._warn(error)
            return False
        self._said = ""
        for claim in claims:
            volumes = sum(map(len, claim.nodes.values()))
            metrics.HINTS.inc(volumes)
            metrics.REPEATS.inc(claim.again)
            if claim.why:
                metrics.LAG.labels(claim.why).observe(max(0.0, self._now() - claim.due_ms / 1000))
            log.debug(
                "volumes told to ask again",
                extra={"content_key": claim.key, "volumes": volumes, "again": claim.again, "why": claim.why},
            )
        return True

    async def _ended(self, claim: Claim) -> bool:
        # A mount since then may share what was fetched before its volume is told of; it must find its lease alive.
        # A refresh that was under way when the last volume left may have fetched, or renewed, since.
        end = EndContent(claim.key, max(claim.empty_since_ms, self._now_ms() - self._schedule.mounting_ms))
        try:
            await self._bus.publish(
                END_SUBJECT,
                end.to_bytes(),
                destination=END_SUBJECT,
                message_id=f"end.{claim.key}.{claim.empty_since_ms}",
            )
        except KeyferryError as error:
            self._warn(error)
            return False
        metrics.ENDED.inc()
        log.debug("a content has ended", extra={"content_key": claim.key})
        return True

    def _warn(self, error: KeyferryError) -> None:
        if error.reason != self._said:  # an outage is one line, not one a second
            log.warning("rotation waits: %s", error.message)
        self._said = error.reason

    def _now_ms(self) -> int:
        return int(self._now() * 1000)


def hints(claims: Iterable[Claim]) -> list[tuple[str, RefreshVolumes]]:
    """One message for each node that holds any of it."""
    by_node: dict[str, list[Due]] = defaultdict(list)
    for claim in claims:
        spread = SPREAD_MS if claim.why == "interval" else 0
        for node, volumes in claim.nodes.items():
            by_node[node].append(Due(claim.key, claim.asked_ms, volumes, spread))
    return [(node, RefreshVolumes(tuple(due))) for node, due in sorted(by_node.items())]
