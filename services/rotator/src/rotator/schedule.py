"""The schedule of contents that are to be asked for again: kept in Redis, changed by scripts that do one step whole.

Any number of rotators share it. It can be lost at any moment, and is made again from what nodes told: see
`rotator.rebuild`. How it is stored is written in `lua/shape.lua`. Times are Unix milliseconds by the callers' clocks,
which may differ by less than a claim lasts; words on one volume are ordered by the stream's clock.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from keyferry.store import Script, Store, script
from rotator.words import Change, Word, volume_id

PREFIX = "keyferry:rotation:"
_LONGEST_MOUNT_MS = 30_000


def _lua(name: str) -> str:
    return (files("rotator") / "lua" / f"{name}.lua").read_text()


def _load(name: str) -> Script:
    return script(_lua("shape") + _lua(name))


_WORDS = script(f"{_lua('shape')}\nlocal function tell(told)\n{_lua('told')}\nend\n{_lua('words')}")
_TAKE, _SETTLE, _CHANGED, _LOCK = _load("take"), _load("settle"), _load("changed"), _load("lock")
_FINISHED, _SILENT, _DROP, _UNLOCK = _load("finished"), _load("silent"), _load("drop"), _load("unlock")

Outcome = tuple[str, bool]
"""What came of a word (stale, left, unknown, joined, answered, failed or kept), and whether something is due now."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the schedule goes by.

    Attributes:
        interval_ms: Between two refreshes of a content whose class says nothing of it; 0 never.
        change_pause_ms: Between two refreshes of a content for changes.
        change_spread_ms: Over which refreshes of all of a backend are spread.
        end_after_ms: How long a content must be without a volume until it ends.
        claim_ms: How long a rotator has for the hints of what it took.
    """

    interval_ms: int = 120_000
    change_pause_ms: int = 2_000
    change_spread_ms: int = 10_000
    end_after_ms: int = 60_000
    claim_ms: int = 5_000


@dataclass(frozen=True, slots=True)
class Claim:
    """A content that only we work on, for `Policy.claim_ms`.

    Attributes:
        key: The content's.
        asked_ms: What its volumes shall ask for: nothing fetched before this.
        due_ms: When it was due; 0 if these are repeats.
        why: interval, lease or change; empty if these are repeats.
        nodes: Node to its volumes that shall ask.
        again: How many of them have been told before, in vain.
        empty_since_ms: When its last volume left, if there are none; 0 otherwise.
    """

    key: str
    asked_ms: int = 0
    due_ms: int = 0
    why: str = ""
    nodes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    again: int = 0
    empty_since_ms: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """What `Schedule.take` found.

    Attributes:
        claims: What is due, and ours.
        built: Which stream the schedule was made from; empty if volumes may be missing from it.
        contents, volumes: How many it holds.
        next_ms: When something is due again; 0 for never.
        lost: How many claims of others had run out.
    """

    claims: tuple[Claim, ...]
    built: str
    contents: int
    volumes: int
    next_ms: int
    lost: int


class Schedule:
    """The schedule. Every method raises StoreUnavailable when Redis is away.

    Args:
        store: Where it is.
        policy: What it goes by.
        prefix: Of its keys.
    """

    def __init__(self, store: Store, policy: Policy, prefix: str = PREFIX) -> None:
        self._store = store
        self._policy = policy
        self._prefix = prefix

    @property
    def is_reachable(self) -> bool:
        """Whether Redis answers."""
        return self._store.is_connected

    @property
    def mounting_ms(self) -> int:
        """How long a mount may be under way before its volume is told of."""
        return min(_LONGEST_MOUNT_MS, self._policy.end_after_ms // 2)

    async def tell(self, word: Word, now_ms: int) -> Outcome:
        """Take in a node's word on a volume; an older one than is known changes nothing."""
        (outcome,) = await self.tell_all([word], now_ms)
        return outcome

    async def tell_all(self, words: Sequence[Word], now_ms: int) -> list[Outcome]:
        """Take in words on volumes, in one step; what came of each. Some may have been, if this raises."""
        outcomes = await self._run(_WORDS, now_ms, self._told(words))
        return [(outcome.decode(), bool(due)) for outcome, due in outcomes]

    async def fill(self, token: str, step: int, words: Sequence[Word], now_ms: int, *, hold_ms: int) -> bool:
        """Take in words on volumes while the schedule is made, and keep the lock for longer.

        Args:
            token: Which `lock` was given.
            step: How many times this has been called since.
            words: The next ones.
            now_ms: The time.
            hold_ms: For how long.

        Returns:
            Whether they are there, and those of all steps before as well.
        """
        about = self._told(words) | {"holder": token, "step": step, "hold_ms": hold_ms}
        return await self._run(_WORDS, now_ms, about) is not None

    def _told(self, words: Sequence[Word]) -> dict[str, Any]:
        policy = self._policy
        told = [word.told() for word in words]
        return {"words": told, "default": policy.interval_ms, "grace": policy.end_after_ms}

    async def change(self, change: Change, now_ms: int) -> int | None:
        """Make what changed due; the same change counts once.

        Returns:
            How many contents are due for it; None if it has been seen before.

        Raises:
            NotBuilt: volumes are missing from the schedule.
        """
        spread = self._policy.change_spread_ms if change.is_broad else 0
        about = change.told(now_ms) | {"pause": self._policy.change_pause_ms, "spread": spread}
        matched = int(await self._run(_CHANGED, now_ms, about))
        if matched == _NOT_BUILT:
            raise NotBuilt
        return None if matched < 0 else matched

    async def finish(self, pod_uid: str, now_ms: int) -> int:
        """Hint a pod's volumes no more; how many are known."""
        return int(await self._run(_FINISHED, now_ms, {"uid": pod_uid}))

    async def take(self, token: str, now_ms: int, *, limit: int) -> Taken:
        """Take what is due; nobody else gets it until `settle`, or until the claim has run out.

        Args:
            token: Of these claims alone.
            now_ms: The time.
            limit: How many contents at most.
        """
        policy = self._policy
        about = {"token": token, "limit": limit, "claim_ms": policy.claim_ms, "default": policy.interval_ms}
        found = json.loads(await self._run(_TAKE, now_ms, about))
        return Taken(
            claims=tuple(_claim(claim) for claim in found["claims"] or ()),
            built=found["built"],
            contents=found["contents"],
            volumes=found["volumes"],
            next_ms=int(found["next"]),
            lost=found["lost"],
        )

    async def settle(self, token: str, keys: Sequence[str], now_ms: int) -> int:
        """Hints have gone out, ends have been told; what is empty is forgotten. How many claims still were ours."""
        return int(await self._run(_SETTLE, now_ms, {"token": token, "keys": list(keys)}))

    async def silent(self, before_us: int, now_ms: int, cursor: str, *, limit: int = 500) -> tuple[str, list[str]]:
        """Names of some volumes of which nothing was heard since; the next cursor is ``0`` at the end."""
        about = {"before": before_us, "cursor": cursor, "limit": limit}
        following, volumes = await self._run(_SILENT, now_ms, about)
        return following.decode(), [volume.decode() for volume in volumes]

    async def drop(self, volumes: Sequence[str], before_us: int, now_ms: int) -> int:
        """Forget volumes of which nothing was heard since; how many."""
        about = {"volumes": list(volumes), "before": before_us, "grace": self._policy.end_after_ms}
        return int(await self._run(_DROP, now_ms, about))

    async def built(self) -> str:
        """Which stream it was made from; empty if it must be made."""
        return str((await self._store.call("GET", f"{self._prefix}built") or b"").decode())

    async def adopt_interval(self) -> None:
        """Have the schedule made anew if it went by another interval so far."""
        ours = str(self._policy.interval_ms)
        theirs = await self._store.call("SET", f"{self._prefix}interval", ours, "GET")
        if theirs is not None and theirs.decode() != ours:
            await self._store.call("DEL", f"{self._prefix}built")

    async def lock(self, token: str, *, hold_ms: int) -> bool:
        """Whether it is us who makes the schedule, for so long, and from the beginning."""
        return bool(await self._run(_LOCK, 0, {"holder": token, "hold_ms": hold_ms}))

    async def unlock(self, token: str, *, step: int = 0, built: str = "") -> bool:
        """Give the lock back; if it still is ours after so many steps, note which stream the schedule was made from."""
        return bool(await self._run(_UNLOCK, 0, {"holder": token, "step": step, "built": built}))

    async def _run(self, wanted: Script, now_ms: int, told: dict[str, Any]) -> Any:
        return await self._store.run(wanted, [self._prefix], [now_ms, json.dumps(told)])


_NOT_BUILT = -2


class NotBuilt(Exception):
    """Volumes are missing from the schedule, so that nobody can say what a change concerns."""


def _claim(found: dict[str, Any]) -> Claim:
    if "empty_since" in found:
        return Claim(found["key"], empty_since_ms=int(found["empty_since"]))
    return Claim(
        key=found["key"],
        asked_ms=int(found["asked"]),
        due_ms=int(found["due"]),
        why=found["why"],
        nodes={node: tuple(sorted(map(volume_id, names))) for node, names in found["nodes"].items()},
        again=found["again"],
    )
