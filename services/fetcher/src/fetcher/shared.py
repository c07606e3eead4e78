"""Contents, locks and failures that all fetchers share, in Redis: one round trip to claim, one to tell the outcome.

Three keys a content, named by its content key: a hash with the sealed content and the time it was fetched in the clear,
so that Redis can compare; the lock of the one fetcher that asks the backend; and, for seconds, the failure that those
who waited for a lock shall hear of. The clear time decides only what is looked at: what was sealed is believed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Counter

from fetcher.boxes import Boxes
from fetcher.budgets import Grant, Spending
from fetcher.kept import Kept
from fetcher.scripts import CLAIM, EXTEND, FAIL, RELEASE, STORE, WITHDRAW
from keyferry.errors import KeyferryError, RateLimited, UntrustedMessage, VolumeBusy, from_failure
from keyferry.messages import parse
from keyferry.proto.keyferry.v1 import bus_pb2 as pb
from keyferry.store import Argument, Store

log = logging.getLogger(__name__)

REFUSED = Counter("keyferry_kept_refused_total", "What stood in Redis and could not be believed; it is fetched anew.")

LOCK_MS = 4_000  # a fetcher that was killed holds the others up for this long
EXTEND_SECONDS = 1.3
_FAILURE_MS = 5_000  # the slowest of those who wait has looked by then
_MOMENT_MS = 800  # those who refresh for one moment come within this (ADR 0012), and again after a second
_AHEAD_MS = 60_000  # how far another fetcher's clock may be ahead
_HELD, _FAILURE = "held", "failure"


@dataclass(frozen=True, slots=True)
class Found:
    """A content that is new enough."""

    kept: Kept


@dataclass(frozen=True, slots=True)
class Won:
    """Nobody else asks now; ``kept`` is what there was before, where it may be of use."""

    kept: Kept | None
    grant: Grant


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody asks, under this token, since this time."""

    token: str
    started_ms: int


@dataclass(frozen=True, slots=True)
class Failed:
    """Whom we waited for has failed."""

    error: KeyferryError


Claimed = Found | Won | Busy | Failed


@dataclass(frozen=True, slots=True)
class Claim:
    """What one fetcher wants of one content.

    Attributes:
        content_key: Which.
        token: Of its own; nobody else's lock is touched.
        wanted_ms: It must have been fetched then or later.
        started_ms: The time that it would be stamped with.
        refresh: What was there before is of use to the provider.
        waiting_for: The token of the last `Busy`, or empty.
    """

    content_key: str
    token: str
    wanted_ms: int
    started_ms: int
    refresh: bool
    spending: Spending
    waiting_for: str = ""

    @property
    def moment(self) -> str:
        """What all who refresh for the same moment have in common; empty for a mount."""
        return f"at-{self.wanted_ms}" if self.refresh else ""


@dataclass(frozen=True, slots=True)
class Shared:
    """What Redis holds. Every method raises StoreUnavailable if it cannot be told now."""

    store: Store
    boxes: Boxes = field(repr=False)

    @property
    def is_connected(self) -> bool:
        """Whether it is worth a try."""
        return self.store.is_connected

    @property
    def exists(self) -> bool:
        """Whether there is a Redis at all, well or not."""
        return self.store.exists

    async def claim(self, claim: Claim) -> Claimed:
        """The content, or the right to fetch it, or who is at it."""
        key, spending = claim.content_key, claim.spending
        failed = _failed(key, claim.waiting_for or claim.moment)
        keys = [_content(key), _lock(key), failed, spending.pause_key, spending.bucket_key]
        args: list[Argument] = [
            claim.wanted_ms,
            claim.token,
            claim.started_ms,
            LOCK_MS,
            int(claim.refresh),
            *spending.arguments(),
        ]
        told = await self.store.run(CLAIM, keys, args)
        kind = told[0]
        if kind == b"found":
            kept = await self._believed(key, told[1], claim.wanted_ms, claim.started_ms)
            return Found(kept) if kept else await self.claim(claim)
        if kind == b"failed":
            error = self._failure(key, told[1])
            return Failed(error) if error else Busy("", claim.started_ms)
        if kind == b"busy":
            token, _, started = told[1].decode(errors="replace").partition(":")
            return Busy(token, int(started) if started.isdecimal() else claim.started_ms)
        kept = await self._believed(key, told[1], 0, claim.started_ms) if told[1] else None
        return Won(kept, Grant(pause=int(told[2]) / 1000, wait=int(told[3]) / 1000))

    async def put(self, kept: Kept, claim: Claim, keep_ms: int) -> None:
        """Keep what was fetched, unless there is something newer, and free the lock."""
        key = kept.content.content_key
        box = self.boxes.seal(kept.to_bytes(), purpose=_HELD, content_key=key)
        moment_ms = claim.wanted_ms if claim.refresh else kept.fetched_at_ms
        args: list[Argument] = [kept.fetched_at_ms, box, keep_ms, claim.token, int(kept.lease is not None), moment_ms]
        await self.store.run(STORE, [_content(key), _lock(key), _stale(key)], args)

    async def fail(self, claim: Claim, error: KeyferryError) -> None:
        """Tell those who wait, free the lock, and have everyone leave the backend alone as long as it asks for it.

        Who refreshes for the same moment hears of it too, for as long as they may come one after the other.
        """
        content_key, token, spending = claim.content_key, claim.token, claim.spending
        failed = pb.Failed(code=error.code, reason=error.reason, message=error.message)
        if error.retry_after is not None:
            failed.retry_after_seconds = error.retry_after
        box = self.boxes.seal(failed.SerializeToString(), purpose=_FAILURE, content_key=content_key)
        pause_ms = spending.pause_ms(error) if isinstance(error, RateLimited) else 0
        keys = [_failed(content_key, token), _lock(content_key), spending.pause_key, _failed(content_key, claim.moment)]
        moment_ms = _MOMENT_MS if claim.moment else 0
        await self.store.run(FAIL, keys, [box, _FAILURE_MS, token, pause_ms, moment_ms])

    async def extend(self, content_key: str, token: str) -> bool:
        """Hold the lock for longer; false if it is ours no more."""
        return bool(await self.store.run(EXTEND, [_lock(content_key)], [token, LOCK_MS]))

    async def release(self, content_key: str, token: str) -> None:
        """Let somebody else ask."""
        await self.store.run(RELEASE, [_lock(content_key)], [token])

    async def last(self, content_key: str, now_ms: int) -> Kept | None:
        """What there is, however old."""
        box = await self.store.call("HGET", _content(content_key), "sealed")
        return await self._believed(content_key, box, 0, now_ms) if box else None

    async def stale_since(self, content_key: str, now_ms: int, keep_ms: int) -> int:
        """When the backend first failed to confirm it, which may be now; Unix milliseconds."""
        before = await self.store.call("SET", _stale(content_key), now_ms, "NX", "GET", "PX", keep_ms)
        return int(before) if before and before.isdigit() else now_ms

    async def withdraw(self, content_key: str, fetched_before_ms: int, now_ms: int) -> Kept | None:
        """Share it no more, and give it out to be ended; the same again until `ended` is told.

        Returns:
            None if there is nothing to end: it is gone already, or somebody has asked for it since, whenever a refresh
            for an earlier moment may have got to it.

        Raises:
            VolumeBusy: somebody is at it just now.
        """
        keys = [_content(content_key), _lock(content_key), _stale(content_key), _ending(content_key)]
        told = await self.store.run(WITHDRAW, keys, [fetched_before_ms])
        if told == b"busy":
            raise VolumeBusy("the content is being asked for: whether it has ended is seen later")
        return await self._believed(content_key, told, 0, now_ms) if told else None

    async def ended(self, content_key: str) -> None:
        """Forget what was withdrawn."""
        await self.store.call("DEL", _ending(content_key))

    async def _believed(self, content_key: str, box: Any, wanted_ms: int, now_ms: int) -> Kept | None:
        try:
            kept = Kept.from_bytes(self.boxes.open(box or b"", purpose=_HELD, content_key=content_key))
            if kept.content.content_key == content_key and wanted_ms <= kept.fetched_at_ms <= now_ms + _AHEAD_MS:
                return kept
            problem = "it is not of the time it is said to be"
        except UntrustedMessage as error:
            problem = error.message
        REFUSED.inc()
        log.warning("a content in Redis is not used: %s", problem, extra={"content_key": content_key})
        await self.store.call("DEL", _content(content_key))
        return None

    def _failure(self, content_key: str, box: bytes) -> KeyferryError | None:
        try:
            failed = parse(pb.Failed, self.boxes.open(box, purpose=_FAILURE, content_key=content_key))
        except UntrustedMessage:
            REFUSED.inc()
            return None
        retry_after = failed.retry_after_seconds if failed.HasField("retry_after_seconds") else None
        return from_failure(failed.code, failed.reason, failed.message, retry_after)


def _content(key: str) -> str:
    return f"keyferry:content:{key}"


def _lock(key: str) -> str:
    return f"keyferry:content:{key}:lock"


def _failed(key: str, token: str) -> str:
    return f"keyferry:content:{key}:failed:{token}"


def _ending(key: str) -> str:
    return f"keyferry:content:{key}:ending"


def _stale(key: str) -> str:
    return f"keyferry:content:{key}:stale"
