from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from keyferry.errors import StoreUnavailable
from keyferry.events import VolumeUnpublished
from rotator.gathering import Gathering
from rotator.words import Word

NEVER = 3600.0


@dataclass
class Schedule:
    """Notes which words came together; refuses those with a name, and everything while it is away."""

    refused: str = ""
    is_reachable: bool = True
    error: Exception | None = None
    told: list[tuple[list[str], int]] = field(default_factory=list)

    async def tell_all(self, words: list[Word], now_ms: int) -> list[tuple[str, bool]]:
        """See `rotator.schedule.Schedule`."""
        names = [cast("VolumeUnpublished", word.event).volume_id for word in words]
        self.told.append((names, now_ms))
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        if not self.is_reachable or self.refused in names:
            raise StoreUnavailable(f"refused, at {names}")
        return [(f"left {name}", False) for name in names]


def gathering(schedule: Schedule, *, places: int = 8, seconds: float = NEVER) -> Gathering:
    """One that waits for ever, unless enough words come."""
    return Gathering(cast("Any", schedule), places=places, seconds=seconds)


def word(name: str) -> Word:
    """On a volume that is gone."""
    return Word(VolumeUnpublished(name, "n"), 5)


async def tell(gathering: Gathering, names: str, now_ms: int = 1) -> list[Any]:
    """Tell of volumes, at once; what came of each."""
    telling = (gathering.tell(word(name), now_ms) for name in names)
    return await asyncio.gather(*telling, return_exceptions=True)


async def test_words_of_a_moment_are_one_step() -> None:
    """Each hears what came of its own, and half of the places are waited for at most."""
    schedule = Schedule()
    outcomes = await tell(gathering(schedule), "abcdefgh")
    assert [names for names, _ in schedule.told] == [list("abcd"), list("efgh")]
    assert outcomes == [(f"left {name}", False) for name in "abcdefgh"]


async def test_a_word_does_not_wait_for_ever() -> None:
    """Nor does the one that comes after it."""
    schedule = Schedule()
    waiting = gathering(schedule, seconds=0.01)
    async with asyncio.timeout(20):
        assert await tell(waiting, "a", now_ms=1) == [("left a", False)]
        assert await tell(waiting, "bc", now_ms=2) == [("left b", False), ("left c", False)]
    assert schedule.told == [(["a"], 1), (["b", "c"], 2)]


async def test_a_single_place_waits_for_nobody() -> None:
    """Whoever works on one word at a time would wait in vain."""
    schedule = Schedule()
    assert await tell(gathering(schedule, places=1), "a") == [("left a", False)]


async def test_a_word_that_is_refused_harms_no_other() -> None:
    """The others are taken in, each alone."""
    outcomes = await tell(gathering(Schedule(refused="b")), "abcd")
    assert [type(outcome) for outcome in outcomes] == [tuple, StoreUnavailable, tuple, tuple]
    assert "['b']" in str(outcomes[1])


async def test_nothing_is_tried_again_while_redis_is_away() -> None:
    """Every word hears so, after one try for all."""
    schedule = Schedule(is_reachable=False)
    outcomes = await tell(gathering(schedule), "abcd")
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 4
    assert len(schedule.told) == 1


async def test_a_defect_is_told_to_whoever_waits() -> None:
    """Nobody would wait for the others' outcomes for ever."""
    outcomes = await tell(gathering(Schedule(error=ValueError("odd"))), "abcd")
    assert [type(outcome) for outcome in outcomes] == [ValueError] * 4


async def test_whoever_is_told_to_stop_takes_no_other_along() -> None:
    """Its word may be taken in or not; the others are."""
    schedule = Schedule()
    waiting = gathering(schedule)
    first = asyncio.create_task(waiting.tell(word("a"), 1))
    others = asyncio.create_task(tell(waiting, "bcd"))
    while not schedule.told:  # noqa: ASYNC110 - a step of the loop is all there is to wait for
        await asyncio.sleep(0)
    first.cancel()
    assert await others == [(f"left {name}", False) for name in "bcd"]
    with pytest.raises(asyncio.CancelledError):
        await first
