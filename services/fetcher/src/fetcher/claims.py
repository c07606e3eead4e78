"""Exactly one fetcher of the cluster asks a backend for a content at a time; the others wait for what it gets.

With Redis away this process stands alone: it asks for itself, and `fetcher.coalesce` shares within it.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

from fetcher.alone import Alone
from fetcher.kept import Kept
from fetcher.leases import Round, Source, keep_ms, produce
from fetcher.shared import EXTEND_SECONDS, Busy, Claim, Failed, Found, Shared, Won
from keyferry.errors import KeyferryError, StoreUnavailable

_FIRST_LOOK, _SLOWEST_LOOK = 0.02, 0.1  # seconds between two looks at what another fetcher is at

_random = random.SystemRandom()


@dataclass(frozen=True)
class Claims:
    """Gets contents that this process does not have.

    Attributes:
        shared: What all fetchers share.
        alone: What stands in for it while Redis is away.
        now: The clock, Unix seconds.
    """

    shared: Shared
    alone: Alone
    now: Callable[[], float] = time.time

    async def obtain(self, content_key: str, wanted_ms: int, not_before_ms: int, source: Source) -> tuple[Kept, str]:
        """A content that was fetched at ``wanted_ms`` or later, and how it was come by.

        Args:
            content_key: Which.
            wanted_ms: Unix milliseconds.
            not_before_ms: What a refresh wants; 0 for a mount, which takes what is being fetched whenever that began.
            source: Where it comes from if nobody has it.

        Returns:
            The outcome is ``stored``, ``waited``, ``fetched``, ``renewed`` or ``confirmed``.

        Raises:
            KeyferryError: as the backend answered, to us or to whom we waited for.
        """
        claimed = await self._claimed(content_key, wanted_ms, not_before_ms, source)
        if claimed is None:
            stamp, refresh = self._stamp(not_before_ms), not_before_ms > 0
            return await self.alone.produce(content_key, source, fetched_at_ms=stamp, now=self.now(), refresh=refresh)
        self.alone.drop(content_key)
        claim, outcome = claimed
        if isinstance(outcome, Found):
            return outcome.kept, "waited" if claim.waiting_for else "stored"
        return await self._produce(claim, outcome, source)

    def _stamp(self, not_before_ms: int) -> int:
        # The hint has been given before we ask, whatever our clock says: what we get now is no older than the hint.
        return max(int(self.now() * 1000), not_before_ms)

    async def _claimed(
        self, content_key: str, wanted_ms: int, not_before_ms: int, source: Source
    ) -> tuple[Claim, Found | Won] | None:
        """The content or the right to fetch it; None without Redis."""
        if not self.shared.is_connected:
            return None
        claim = Claim(content_key, secrets.token_hex(8), wanted_ms, 0, not_before_ms > 0, source.spending)
        pause = _FIRST_LOOK
        while True:
            claim = replace(claim, started_ms=self._stamp(not_before_ms))
            try:
                told = await self.shared.claim(claim)
            except StoreUnavailable:
                return None
            if isinstance(told, Found | Won):
                return claim, told
            if isinstance(told, Failed):
                raise told.error
            claim = _behind(claim, told)
            await asyncio.sleep(pause * _random.uniform(0.5, 1.0))
            pause = min(_SLOWEST_LOOK, pause * 1.5)

    async def _produce(self, claim: Claim, won: Won, source: Source) -> tuple[Kept, str]:
        turn = Round(won.kept, won.grant, claim.started_ms, self.now(), claim.refresh)
        try:
            async with self._holding(claim):
                kept, outcome = await produce(source, turn)
        except KeyferryError as error:
            with suppress(StoreUnavailable):
                await self.shared.fail(claim, error)
            raise
        except BaseException:
            with suppress(StoreUnavailable):
                await self.shared.release(claim.content_key, claim.token)
            raise
        with suppress(StoreUnavailable):
            await self.shared.put(kept, claim, keep_ms(source, kept, self.now()))
        return kept, outcome

    @asynccontextmanager
    async def _holding(self, claim: Claim) -> AsyncIterator[None]:
        """Extends the lock while the backend takes its time: its life is that of a killed fetcher's, not of a fetch."""
        extending: list[asyncio.Task[None]] = []
        loop = asyncio.get_running_loop()
        # Most fetches end before: a timer costs them less than a task.
        timer = loop.call_later(EXTEND_SECONDS, lambda: extending.append(loop.create_task(self._extend(claim))))
        try:
            yield
        finally:
            timer.cancel()
            for task in extending:
                task.cancel()

    async def _extend(self, claim: Claim) -> None:
        held = True
        while held:
            with suppress(StoreUnavailable):
                held = await self.shared.extend(claim.content_key, claim.token)
            await asyncio.sleep(EXTEND_SECONDS)


def _behind(claim: Claim, busy: Busy) -> Claim:
    """The claim of somebody who waits: a mount takes what is under way, whenever that began."""
    wanted = claim.wanted_ms if claim.refresh else min(claim.wanted_ms, busy.started_ms)
    return replace(claim, wanted_ms=wanted, waiting_for=busy.token)
