from __future__ import annotations

from dataclasses import replace

import pytest

from keyferry.events import VolumeRefreshed
from keyferry.testing.valkey import Valkey
from rotator.schedule import NotBuilt, Policy

from .conftest import START, Desk, a_desk, names, replaced, volume

APP = "secret/data/app"


async def test_a_change_makes_what_it_concerns_due(desk: Desk) -> None:
    """Every content with one of the sources, whatever its class, and no other."""
    await desk.publish(
        volume("a", key="k1", sources=(APP, "secret/data/x")),
        volume("b", key="k2", sources=(APP,)),
        volume("c", key="k3", sources=("secret/data/x",)),
        volume("d", key="k4", sources=(APP,), provider="aws"),
    )
    assert await desk.change(APP) == 2
    assert sorted(claim.key for claim in await desk.take()) == ["k1", "k2"]


async def test_a_fetch_that_began_before_does_not_count(desk: Desk) -> None:
    """What is asked for was fetched after the change was heard of: an earlier answer is no answer."""
    held = volume("a", sources=(APP,))
    await desk.publish(held)
    desk.now += 10_000
    await desk.change(APP, at=desk.now - 5_000)
    (claim,) = await desk.take()
    assert (claim.why, claim.asked_ms) == ("change", desk.now + 1)
    await desk.tell(VolumeRefreshed(replaced(held, desk.now), changed=False))
    desk.now += 1_000
    assert [names(claim) for claim in await desk.take()] == [["a"]]


async def test_a_backends_clock_may_be_ahead(desk: Desk) -> None:
    """A little is waited for; a change of next week is not, or its content would be asked for until then."""
    await desk.publish(volume("a", sources=(APP,)))
    await desk.change(APP, at=desk.now + 7 * 86_400_000)
    (claim,) = await desk.take()
    assert claim.asked_ms == desk.now + 2_000


async def test_the_same_event_counts_once(desk: Desk) -> None:
    """Sources tell at least once; the second telling changes nothing, another event does."""
    await desk.publish(volume("a", sources=(APP,)))
    assert await desk.change(APP, id="e-1") == 1
    assert await desk.change(APP, id="e-1") is None
    assert await desk.change(APP, id="e-2") == 1


async def test_unknown_secrets_do_nothing(desk: Desk) -> None:
    """An account has more secrets than Keyferry serves."""
    await desk.publish(volume("a", sources=(APP,)))
    assert await desk.change("secret/data/other", id="e-1") == 0
    assert await desk.take() == ()


async def test_a_volume_that_is_told_of_after_the_change_is_not_forgotten(desk: Desk) -> None:
    """Mounted before, told of after: it is due at once; mounted after, it is not."""
    desk.now += 1_000
    await desk.change(APP)
    await desk.publish(volume("a", fetched=desk.now - 1, sources=(APP,)))
    await desk.publish(volume("b", key="k2", fetched=desk.now + 1, sources=(APP,)))
    assert [claim.key for claim in await desk.take()] == ["k"]


async def test_a_volume_that_joins_with_an_older_fetch_is_due(desk: Desk) -> None:
    """Its content was refreshed for a change that it was fetched before."""
    await desk.publish(volume("a", sources=(APP,)))
    desk.now += 1_000
    await desk.change(APP)
    await desk.answer(await desk.take(), {"a": volume("a", sources=(APP,))})
    await desk.publish(volume("b", fetched=START, sources=(APP,)))
    assert [names(claim) for claim in await desk.take()] == [["b"]]


async def test_a_flood_is_one_refresh_at_a_time_and_its_last_counts(desk: Desk) -> None:
    """A hundred events in a second make two rounds, the second for what was fetched after the last of them."""
    held = {"a": volume("a", sources=(APP,))}
    await desk.publish(*held.values())
    asked = []
    for n in range(100):
        await desk.change(APP, id=f"e-{n}")
        claims = await desk.take()
        asked += [claim.asked_ms for claim in claims]
        await desk.answer(claims, held)
        desk.now += 10
    last = desk.now - 10
    asked += [claim.asked_ms for _, claim in await desk.run_until(desk.now + 2_000, step=100) if claim.why]
    assert asked == [START + 1, last + 1]


async def test_a_gap_is_no_storm(desk: Desk) -> None:
    """An event that names nothing concerns all of its provider's contents, over ten seconds."""
    await desk.publish(*(volume(f"v{n}", key=f"k{n}") for n in range(100)))
    await desk.publish(volume("z", key="z", provider="aws"))
    assert await desk.change() == 100
    at_once = len(await desk.take())
    desk.now += 5_000
    half = len(await desk.take())
    desk.now += 5_000
    rest = [claim for claim in await desk.take() if claim.why]
    assert at_once < 5
    assert 30 < half < 70
    assert at_once + half + len(rest) == 100
    assert "z" not in [claim.key for claim in rest]


async def test_a_class_can_be_asked_for(desk: Desk) -> None:
    """RefreshRequested makes the contents of one class in one namespace due."""
    await desk.publish(volume("a", key="k1", class_="db"), volume("b", key="k2", class_="other"))
    assert await desk.request("shop", "db") == 1
    assert await desk.request("elsewhere", "db") == 0
    assert [claim.key for claim in await desk.take()] == ["k1"]


async def test_a_volume_that_is_told_of_after_its_class_was_asked_for(desk: Desk) -> None:
    """Whoever asks may be quicker than the words on volumes: fetched before is due at once, fetched after is not."""
    await desk.publish(volume("a", key="k1", class_="db"))
    desk.now += 1_000
    await desk.request("shop", "copy")
    await desk.publish(volume("b", key="k1", class_="copy", fetched=desk.now - 1))
    await desk.publish(volume("c", key="k2", class_="copy", fetched=desk.now - 1))
    await desk.publish(volume("d", key="k3", class_="copy", fetched=desk.now + 1))
    assert {claim.key for claim in await desk.take()} == {"k1", "k2"}


async def test_two_classes_of_one_content(desk: Desk) -> None:
    """Classes with the same parameters share a content: asking for either makes it due."""
    await desk.publish(volume("a", class_="db"), volume("b", class_="copy"))
    assert await desk.request("shop", "copy") == 1


async def test_a_source_goes_when_every_volume_has_moved_past_it(desk: Desk) -> None:
    """What a selection no longer finds makes nothing due; until the last volume knows, it may be there."""
    old, new = "secret/data/old", "secret/data/new"
    await desk.publish(volume("a", sources=(old,)), volume("b", sources=(old,)))
    desk.now += 200_000
    await desk.take()
    await desk.tell(VolumeRefreshed(volume("a", fetched=desk.now, sources=(new,)), changed=True))
    assert await desk.change(old) == 1
    for _ in range(2):
        desk.now += 200_000
        await desk.take()
        for name in "ab":
            await desk.tell(VolumeRefreshed(volume(name, fetched=desk.now, sources=(new,)), changed=True))
    assert await desk.change(old) == 0
    assert await desk.change(new) == 1


@pytest.mark.parametrize("ahead", [0, 1, 10_000, 3_600_000])
@pytest.mark.parametrize("theirs", [(), ("secret/data/theirs",)])
async def test_no_node_takes_a_source_from_anothers_volume(desk: Desk, ahead: int, theirs: tuple[str, ...]) -> None:
    """Whatever it says it has, and of whatever time, again and again: changes reach who named what changed."""
    held = {"a": volume("a", sources=(APP,))}
    await desk.publish(*held.values())
    for _ in range(4):
        stolen = volume("z", node="n2", fetched=desk.now + ahead, sources=theirs)
        await desk.tell(stolen)
        await desk.tell(VolumeRefreshed(stolen, changed=True))
        assert await desk.change(APP, id=f"e-{desk.now}") == 1
        desk.now += 200_000
        claims = await desk.take()
        assert "a" in [name for claim in claims for name in names(claim)]
        await desk.answer(tuple(replace(claim, nodes={"n1": ("a",)}) for claim in claims), held)
    await desk.gone("z", node="n2")
    assert await desk.change(APP) == 1


async def test_a_flood_of_sources_takes_none_away(desk: Desk) -> None:
    """A content has room for ten thousand; changes of more are found by the clock."""
    await desk.publish(volume("a", sources=(APP,)))
    await desk.publish(volume("z", node="n2", sources=tuple(f"secret/data/{n:05}" for n in range(11_000))))
    assert await desk.change(APP) == 1
    assert await desk.change("secret/data/10999") == 0


async def test_sources_that_an_older_version_wrote_count(desk: Desk) -> None:
    """They stood there as a list: an upgrade forgets none of them, and leaves none behind."""
    await desk.publish(volume("a", sources=(APP, "secret/data/x")))
    as_list = """
      local c, named = cmsgpack.unpack(redis.call('HGET', KEYS[1], 'k')), {}
      for source in pairs(c.sources) do table.insert(named, source) end
      c.sources = named
      return redis.call('HSET', KEYS[1], 'k', cmsgpack.pack(c))
    """
    await desk.store.call("EVAL", as_list, 1, f"{desk.prefix}contents")
    await desk.publish(volume("b", fetched=START + 1))
    assert await desk.change(APP) == 1
    await desk.gone("a")
    await desk.gone("b")
    desk.now += 60_000
    await desk.take()
    assert await desk.store.call("EXISTS", f"{desk.prefix}sources:vault/{APP}") == 0


async def test_a_change_while_volumes_are_missing_waits(valkey: Valkey) -> None:
    """Nobody can say what it concerns: it is neither taken for unknown nor remembered as done."""
    async with a_desk(valkey, built=False) as desk:
        with pytest.raises(NotBuilt):
            await desk.change(APP, id="e-1")
        await desk.publish(volume("a", sources=(APP,)))
        await desk.schedule.lock("t", hold_ms=1_000)
        await desk.schedule.unlock("t", built="stream-1")
        assert await desk.change(APP, id="e-1") == 1


async def test_a_change_replaces_the_next_poll(valkey: Valkey) -> None:
    """What was just refreshed for a change is due again an interval later, not as it happens to come."""
    async with a_desk(valkey, Policy(interval_ms=100_000)) as desk:
        held = {"a": volume("a", sources=(APP,))}
        await desk.publish(*held.values())
        desk.now += 40_000
        await desk.change(APP)
        await desk.answer(await desk.take(), held)
        assert await desk.run_until(START + 40_000 + 89_000) == []
