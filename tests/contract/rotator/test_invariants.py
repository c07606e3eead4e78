"""Whatever happens in whatever order, the schedule and a plain model of it agree on who must ask again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from keyferry.events import RefreshFailed, VolumePublished, VolumeRefreshed, VolumeUnpublished
from keyferry.testing.valkey import Valkey
from rotator.schedule import Claim, Policy
from rotator.words import Word, volume_id

from .conftest import Desk, a_desk, names, replaced, volume

T = TypeVar("T")

POLICY = Policy(interval_ms=20_000, change_pause_ms=1_000, change_spread_ms=2_000, end_after_ms=10_000, claim_ms=3_000)
VOLUMES = st.sampled_from(["a", "b", "c", "d"])
CONTENTS = st.sampled_from(["k1", "k2", "k3"])
LONGEST_WAIT_MS = 61_000 + POLICY.claim_ms


@dataclass
class Known:
    """What the model knows of a volume.

    Attributes:
        told: The last word on it.
        waits_since: Since when it should be hinted and was not; 0 if it need not be.
    """

    told: VolumePublished
    waits_since: int = 0


class ScheduleMachine(RuleBasedStateMachine):
    """Nodes, backends and rotators doing as they please, one step at a time."""

    valkey: ClassVar[Valkey]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.open = AsyncExitStack()
        self.desk: Desk = self.do(self.open.enter_async_context(a_desk(self.valkey, POLICY)))
        self.volumes: dict[str, Known] = {}
        self.claimed: dict[str, int] = {}  # content to when our claim runs out
        self.past: list[Word] = []

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to its end."""
        return self.loop.run(work)

    def teardown(self) -> None:
        """Leave nothing open."""
        self.do(self.open.aclose())
        self.loop.close()

    def tell(self, event: Any) -> str:
        """A new word."""
        self.desk.told_us = max(self.desk.told_us + 1, self.desk.now * 1000)
        word = Word(event, self.desk.told_us)
        self.past.append(word)
        return self.do(self.desk.schedule.tell(word, self.desk.now))[0]

    @rule(name=VOLUMES, key=CONTENTS, ago=st.integers(0, 5_000))
    def publish(self, name: str, key: str, ago: int) -> None:
        """A volume is published, maybe with another content than before."""
        about = volume(name, key=key, fetched=self.desk.now - ago, sources=(key,))
        self.tell(about)
        self.volumes[name] = Known(about)

    @rule(name=VOLUMES)
    def unpublish(self, name: str) -> None:
        """A volume goes, or has never been there."""
        self.tell(VolumeUnpublished(name, "n1"))
        self.volumes.pop(name, None)

    @precondition(lambda self: self.volumes)
    @rule(data=st.data(), changed=st.booleans())
    def refresh(self, data: st.DataObject, changed: bool) -> None:
        """A volume is refreshed, hinted or not."""
        known = self.volumes[data.draw(st.sampled_from(sorted(self.volumes)))]
        known.told, known.waits_since = replaced(known.told, self.desk.now + 1), 0
        self.tell(VolumeRefreshed(known.told, changed=changed))

    @precondition(lambda self: self.volumes)
    @rule(data=st.data(), code=st.sampled_from(["UNAVAILABLE", "NOT_FOUND"]))
    def fail(self, data: st.DataObject, code: str) -> None:
        """A refresh fails."""
        known = self.volumes[data.draw(st.sampled_from(sorted(self.volumes)))]
        self.tell(RefreshFailed(known.told, self.desk.now + 1, code, "Why", "why"))

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """The bus delivers an old word once more, whatever has been told since."""
        word = data.draw(st.sampled_from(self.past))
        later = [other for other in self.past if other.name == word.name and other.told_us > word.told_us]
        outcome, _ = self.do(self.desk.schedule.tell(word, self.desk.now))
        assert not later or outcome == "stale"

    @rule(key=CONTENTS)
    def change(self, key: str) -> None:
        """A backend changes."""
        matched = self.do(self.desk.change(key))
        mine = [known for known in self.volumes.values() if known.told.content_key == key]
        assert bool(matched) == bool(mine)
        for known in mine:
            known.waits_since = known.waits_since or self.desk.now

    @rule(ms=st.integers(1, 30_000))
    def wait(self, ms: int) -> None:
        """Time passes."""
        self.desk.now += ms

    @rule(limit=st.integers(1, 3), dies=st.booleans())
    def take(self, limit: int, dies: bool) -> None:
        """A rotator takes what is due, and may die before it has told anybody."""
        for claim in self.do(self.desk.take(limit=limit, settle=not dies)):
            self.check(claim)
            if dies:
                self.claimed[claim.key] = self.desk.now + POLICY.claim_ms
            else:
                self.heard(claim)

    @rule()
    def take_until_nothing_is_due(self) -> None:
        """Rotators run for a while: whoever has waited for a hint gets it."""
        waiting = {name for name, known in self.volumes.items() if known.waits_since}
        end = self.desk.now + LONGEST_WAIT_MS
        while self.desk.now < end:
            for claim in self.do(self.desk.take()):
                self.check(claim)
                self.heard(claim)
                waiting -= set(names(claim))
            self.desk.now += 1_000
        assert waiting - {name for name, known in self.volumes.items() if not known.waits_since} == set()

    def check(self, claim: Claim) -> None:
        """A claim is nobody else's, and is for the members of its content alone."""
        assert self.claimed.pop(claim.key, 0) <= self.desk.now or claim.why == "change"
        members = {name for name, known in self.volumes.items() if known.told.content_key == claim.key}
        assert set(names(claim)) <= members
        assert not claim.empty_since_ms or not members
        for name in names(claim):
            assert self.volumes[name].told.fetched_at_ms < claim.asked_ms

    def heard(self, claim: Claim) -> None:
        """The hints of a claim went out."""
        for name in names(claim):
            self.volumes[name].waits_since = 0

    @invariant()
    def no_member_is_lost(self) -> None:
        """The schedule holds the volumes that were published and not unpublished, each where it belongs."""
        held = self.do(self.desk.store.call("HGETALL", f"{self.desk.prefix}volumes"))
        where = {volume_id(name.decode()): key.decode() for name, key in zip(held[::2], held[1::2], strict=True)}
        assert where == {name: known.told.content_key for name, known in self.volumes.items()}
        for key in set(where.values()):
            members = self.do(self.desk.store.call("HKEYS", f"{self.desk.prefix}members:{key}"))
            assert {volume_id(name.decode()) for name in members} == {name for name in where if where[name] == key}

    @invariant()
    def every_content_is_looked_at_again(self) -> None:
        """No content with volumes is without a time, and none is later than its interval."""
        due = self.do(self.desk.store.call("ZRANGE", f"{self.desk.prefix}due", 0, -1, "WITHSCORES"))
        times = {key.decode(): float(at) for key, at in zip(due[::2], due[1::2], strict=True)}
        for known in self.volumes.values():
            assert times[known.told.content_key] <= self.desk.now + 1.1 * POLICY.interval_ms


def test_invariants(valkey: Valkey) -> None:
    """No member is lost, none is hinted for another's content, nothing due is skipped, no claim is held twice."""
    ScheduleMachine.valkey = valkey
    run_state_machine_as_test(
        ScheduleMachine,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            phases=[
                Phase.reuse,
                Phase.generate,
            ],  # shrinking takes minutes: add it for a failure
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
