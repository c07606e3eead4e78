from __future__ import annotations

from keyferry.events import RefreshFailed, VolumeEvent, VolumeRefreshed, VolumeUnpublished
from keyferry.testing.valkey import Valkey
from rotator.schedule import Claim, Outcome
from rotator.words import Word

from .conftest import START, Desk, a_desk, names, replaced, volume

HOUR = 3_600_000


async def pending(desk: Desk) -> list[str]:
    """Who is told to ask when everything has changed."""
    desk.now += 10
    await desk.request("shop", "db")
    return sorted(name for claim in await desk.take() for name in names(claim))


async def test_repeated_words_change_nothing(desk: Desk) -> None:
    """The same message a second time, which JetStream may deliver, leaves one volume."""
    assert await desk.tell(volume("a"), at_us=5) == "joined"
    assert await desk.tell(volume("a"), at_us=5) == "kept"
    assert (await desk.look()).volumes == 1


async def test_older_words_move_nothing_backwards(desk: Desk) -> None:
    """A publish that is delivered after the refresh that followed it does not undo that."""
    await desk.tell(VolumeRefreshed(volume("a", fetched=START + 9_000), changed=True), at_us=20)
    assert await desk.tell(volume("a", fetched=START), at_us=10) == "stale"
    desk.now += 10_000
    ((_, claim),) = (await desk.run_until(START + 150_000))[:1]
    assert claim.due_ms > START + 9_000 + 0.9 * 120_000


async def test_a_late_unpublish_does_not_take_a_volume_that_is_back(desk: Desk) -> None:
    """A volume that was unpublished and published again under its id stays, in whatever order that is heard."""
    await desk.tell(volume("a"), at_us=10)
    await desk.tell(volume("a", fetched=START + 1), at_us=30)
    assert await desk.gone("a", at_us=20) == "stale"
    assert await pending(desk) == ["a"]


async def test_a_late_publish_does_not_bring_a_volume_back(desk: Desk) -> None:
    """A publish that is delivered after the unpublish that followed it leaves nothing behind."""
    await desk.tell(volume("a"), at_us=desk.now * 1000)
    await desk.gone("a", at_us=desk.now * 1000 + 20)
    assert await desk.tell(volume("a"), at_us=desk.now * 1000 + 10) == "stale"
    assert (await desk.look()).volumes == 0


async def test_an_unpublish_may_come_first(desk: Desk) -> None:
    """A volume whose end is heard of before its beginning is not there."""
    assert await desk.gone("a", at_us=desk.now * 1000 + 20) == "unknown"
    assert await desk.tell(volume("a"), at_us=desk.now * 1000 + 10) == "stale"


async def test_a_volume_that_is_published_anew_counts_as_it_is(desk: Desk) -> None:
    """Mounted again with shared content older than what it had, it is asked to catch up."""
    await desk.tell(volume("a", fetched=START + 5_000))
    await desk.request("shop", "db")
    desk.now += 1_000
    await desk.take()
    await desk.tell(VolumeRefreshed(volume("a", fetched=desk.now), changed=True))
    await desk.gone("a")
    await desk.tell(volume("a", fetched=START - 1_000))
    assert [names(claim) for claim in await desk.take()] == [["a"]]


async def test_a_volume_moves_to_another_content(desk: Desk) -> None:
    """After its class was edited a volume is a member of the new content alone, and the old one ends."""
    await desk.publish(volume("a", key="old"))
    await desk.publish(volume("a", key="new"))
    taken = await desk.look()
    assert (taken.contents, taken.volumes) == (2, 1)
    desk.now += 60_000
    (ended,) = [claim for claim in await desk.take() if claim.empty_since_ms]
    assert ended.key == "old"


async def test_a_node_cannot_speak_for_another(desk: Desk) -> None:
    """What it says of a volume that is elsewhere, before or after the true word, neither moves nor ends it."""
    await desk.tell(volume("a", node="evil", key="other"))
    await desk.publish(volume("a", node="n1"))
    await desk.tell(volume("a", node="evil", key="other"))
    await desk.gone("a", node="evil")
    await desk.request("shop", "db")
    assert [claim.nodes for claim in await desk.take()] == [{"n1": ("a",)}]


async def test_a_fetch_in_times_to_come_is_not_believed(desk: Desk) -> None:
    """A node that claims to have fetched next year does not keep the others from being told."""
    await desk.publish(volume("evil", node="n2", fetched=START + 365 * 24 * HOUR), volume("a"))
    found = await desk.run_until(START + 140_000)
    assert "a" in [name for _, claim in found for name in names(claim)]


async def test_a_lost_node_drops_out(desk: Desk) -> None:
    """Volumes nobody spoke of for long are found, and dropped unless something is heard of them after all."""
    await desk.tell(volume("lost", key="k1"), at_us=10)
    await desk.tell(volume("back", key="k2"), at_us=10)
    await desk.tell(volume("here", key="k3"), at_us=1_000)
    cursor, silent = await desk.schedule.silent(500, desk.now, "0")
    assert (cursor, sorted(silent)) == ("0", ["n1 back", "n1 lost"])
    await desk.tell(volume("back", key="k2"), at_us=2_000)
    assert await desk.schedule.drop(silent, 500, desk.now) == 1
    assert (await desk.look()).volumes == 2


async def test_a_finished_pod_is_not_told(desk: Desk) -> None:
    """Its volumes are not hinted, the others of the content are; a word that is only repeated does not change that."""
    await desk.publish(volume("a"), volume("b"))
    assert await desk.schedule.finish("uid-a", desk.now) == 1
    await desk.publish(volume("a"))
    assert await pending(desk) == ["b"]


async def test_a_pod_may_finish_before_its_volume_is_told_of(desk: Desk) -> None:
    """A job that is over in a second is not hinted for ever."""
    assert await desk.schedule.finish("uid-a", desk.now) == 0
    await desk.publish(volume("a"))
    assert await pending(desk) == []


async def test_a_refresh_in_flight_does_not_revive_a_finished_pod(desk: Desk) -> None:
    """The answer to a hint that was under way changes nothing, a publish with a later fetch does."""
    await desk.publish(volume("a"))
    await desk.schedule.finish("uid-a", desk.now)
    await desk.tell(VolumeRefreshed(volume("a", fetched=START + 1), changed=True))
    assert await pending(desk) == []
    await desk.publish(volume("a", fetched=START + 2))
    desk.now += 5_000
    assert await pending(desk) == ["a"]


async def test_nothing_is_left_behind(desk: Desk) -> None:
    """When the last volume of the last content is gone and has ended, Redis holds no more than it did at first."""
    held = volume("a", sources=("secret/data/a", "secret/data/b"), left_out=("c",))
    await desk.publish(held, replaced(held, START + 1))
    await desk.publish(volume("a", key="k2", sources=("secret/data/b",)))
    await desk.gone("a")
    for _ in range(3):
        desk.now += 61_000
        await desk.take()
    left = await desk.store.call("KEYS", f"{desk.prefix}*")
    assert sorted(key.decode().removeprefix(desk.prefix) for key in left) == ["built", "gone:n1 a"]


async def test_what_is_kept_of_the_gone_is_bounded(desk: Desk) -> None:
    """Every key that outlasts its volume has a lifetime."""
    await desk.gone("a", at_us=desk.now * 1000)
    await desk.change("secret/data/unknown", id="e-1")
    await desk.schedule.finish("uid-z", desk.now)
    kept = [key for key in await desk.store.call("KEYS", f"{desk.prefix}*") if not key.endswith(b":built")]
    lifetimes = [await desk.store.call("PTTL", key) for key in kept]
    assert len(kept) == 3
    assert all(0 < lifetime <= HOUR for lifetime in lifetimes)


async def test_foreign_texts_are_texts(valkey: Valkey) -> None:
    """Names with every kind of sign in them are kept and given back as they were."""
    odd = 'n|"\\\n\u2028ü{}%s[0]'
    async with a_desk(valkey) as desk:
        await desk.publish(volume(odd, key=odd, node=odd, sources=(odd,)))
        await desk.change(odd)
        assert [(claim.key, claim.nodes) for claim in await desk.take()] == [(odd, {odd: (odd,)})]
        assert await desk.gone(odd, node=odd) == "left"


async def told_how(desk: Desk, words: list[Word], size: int) -> tuple[list[Outcome], list[Claim]]:
    """What comes of words that are told so many at a time, and who is told to ask when everything has changed."""
    outcomes: list[Outcome] = []
    for first in range(0, len(words), size):
        outcomes += await desk.schedule.tell_all(words[first : first + size], desk.now)
    desk.now += 10
    await desk.request("shop", "db")
    return outcomes, sorted(await desk.take(), key=lambda claim: claim.key)


async def test_words_that_come_together_are_as_good_as_one_by_one(valkey: Valkey) -> None:
    """Whatever they say, and of whichever volume: each finds what those before it have made of the schedule."""
    a, b = volume("a", sources=("s",)), volume("b", key="k2")
    told: tuple[VolumeEvent, ...] = (
        *(a, b, a, VolumeRefreshed(volume("a", fetched=START + 5), changed=True), VolumeUnpublished("b", "n1"), b),
        *(volume("c"), volume("c", key="k2"), RefreshFailed(volume("d"), START, "NOT_FOUND", "Why", "why")),
        *(VolumeUnpublished("never", "n1"), volume("e", node="n2"), volume("a", fetched=START)),
    )
    at_us = [START * 1000 + us for us in (10, 11, 10, 12, 13, 12, 14, 15, 16, 17, 18, 1)]
    words = [Word(event, us) for event, us in zip(told, at_us, strict=True)]
    found = []
    for size in (1, 5, len(words)):
        async with a_desk(valkey) as desk:
            found.append(await told_how(desk, words, size))
    assert found[0] == found[1] == found[2]
    outcomes, claims = found[0]
    assert [outcome for outcome, _ in outcomes[3:7]] == ["kept", "left", "stale", "joined"]
    assert [(claim.key, names(claim)) for claim in claims] == [("k", ["a", "d", "e"]), ("k2", ["c"])]
