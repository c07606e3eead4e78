from __future__ import annotations

from keyferry.events import VolumeRefreshed

from .conftest import START, Desk, names, replaced, volume

SECOND = 1_000


async def due(desk: Desk) -> None:
    """Make everything of the class due, some time after it was published."""
    desk.now += 10 * SECOND
    assert await desk.request("shop", "db")


async def times(desk: Desk, seconds: int) -> list[float]:
    """When volumes are told, in seconds from now, while nobody answers."""
    start = desk.now
    return [(at - start) / SECOND for at, _ in await desk.run_until(start + seconds * SECOND, step=100)]


async def test_what_is_taken_is_nobody_elses(desk: Desk) -> None:
    """A second rotator that looks at the same moment finds nothing."""
    await desk.publish(volume("a"))
    await due(desk)
    assert len(await desk.take(settle=False)) == 1
    assert await desk.take() == ()


async def test_a_claim_runs_out(desk: Desk) -> None:
    """A rotator that died on the way costs five seconds, and is counted."""
    await desk.publish(volume("a"))
    await due(desk)
    await desk.take(settle=False)
    desk.now += 5 * SECOND - 1
    assert await desk.take() == ()
    desk.now += 1
    taken = await desk.look()
    assert (taken.lost, [names(claim) for claim in taken.claims]) == (1, [["a"]])


async def test_a_claim_that_ran_out_does_not_count_as_a_hint(desk: Desk) -> None:
    """A volume that has been told in vain, and now was not told at all, does not wait for its next turn."""
    await desk.publish(volume("a", rotation_ms=0))
    await due(desk)
    await desk.run_until(desk.now + 31 * SECOND, step=100)
    assert len(await desk.take(settle=False)) == 1
    desk.now += 5 * SECOND
    assert [names(claim) for claim in await desk.take()] == [["a"]]


async def test_a_claim_that_ran_out_settles_nothing(desk: Desk) -> None:
    """A rotator that wakes up late does not speak for the one that took over."""
    await desk.publish(volume("a"))
    await due(desk)
    await desk.take(settle=False)
    desk.now += 5 * SECOND
    await desk.take(settle=False)
    assert await desk.schedule.settle(desk.tokens[0], ["k"], desk.now) == 0
    assert await desk.schedule.settle(desk.tokens[1], ["k"], desk.now) == 1


async def test_a_change_overtakes_a_claim(desk: Desk) -> None:
    """Contents that are being hinted and change once more need not wait for the claim to end."""
    await desk.publish(volume("a"))
    await due(desk)
    await desk.take(settle=False)
    desk.now += 2 * SECOND
    await desk.request("shop", "db")
    taken = await desk.look()
    assert ([claim.asked_ms for claim in taken.claims], taken.lost) == ([desk.now + 1], 0)


async def test_hints_are_repeated_with_growing_pauses(desk: Desk) -> None:
    """A node that does not answer is told after 1, 2, 4 seconds and so on, and then once a minute."""
    await desk.publish(volume("a", rotation_ms=0))
    await due(desk)
    told = await times(desk, 240)
    assert told == [0, 1, 3, 7, 15, 31, 63, 123, 183]


async def test_only_those_who_have_not_answered_are_told_again(desk: Desk) -> None:
    """A volume that has asked is left alone; so is one that left."""
    await desk.publish(*(volume(name) for name in "abc"))
    await due(desk)
    await desk.take()
    desk.now += 1
    await desk.tell(VolumeRefreshed(volume("b", fetched=desk.now), changed=False))
    await desk.gone("c")
    desk.now += SECOND
    (claim,) = await desk.take()
    assert (names(claim), claim.again, claim.why) == (["a"], 1, "")


async def test_a_lost_node_does_not_hold_up_the_others(desk: Desk) -> None:
    """While one node is silent, the volumes elsewhere are refreshed at every interval as before."""
    held = {"a": volume("a")}
    await desk.publish(volume("dead", node="n2"), *held.values())
    told = []
    while desk.now < START + 600 * SECOND:
        for claim in await desk.take():
            alive = tuple(name for name in names(claim) if name != "dead")
            told += [desk.now for _ in alive]
            for _ in alive:
                held["a"] = replaced(held["a"], desk.now)
                await desk.tell(VolumeRefreshed(held["a"], changed=False))
        desk.now += 200
    assert len(told) in (4, 5, 6)


async def test_a_failing_class_is_not_hammered(desk: Desk) -> None:
    """A backend that is down for two hours is asked once a minute, and once for each interval; then all is well."""
    held = volume("a")
    await desk.publish(held)
    told = 0
    while desk.now < START + 7_200 * SECOND:
        claims = await desk.take()
        told += len(claims)
        for claim in claims:
            await desk.fail(held, asked_for=claim.asked_ms)
        desk.now += 500
    assert told < 7_200 / 60 + 7_200 / 108 + 10
    ((at, _),) = (await desk.run_until(desk.now + 61 * SECOND))[:1]
    await desk.tell(VolumeRefreshed(replaced(held, at), changed=True))
    assert await desk.run_until(at + 50 * SECOND) == []


async def test_what_only_people_can_mend_waits_for_the_interval(desk: Desk) -> None:
    """A denied identity is tried at every interval and not in between (ESO #4925)."""
    held = volume("a")
    await desk.publish(held)
    told = 0
    while desk.now < START + 3_600 * SECOND:
        claims = await desk.take()
        told += len(claims)
        for claim in claims:
            await desk.fail(held, "PERMISSION_DENIED", asked_for=claim.asked_ms)
        desk.now += 500
    assert told in range(27, 36)


async def test_what_only_people_can_mend_is_tried_when_something_changes(desk: Desk) -> None:
    """The change may be the cure."""
    held = volume("a", rotation_ms=0, sources=("secret/data/app",))
    await desk.publish(held)
    await due(desk)
    (claim,) = await desk.take()
    await desk.fail(held, "NOT_FOUND", asked_for=claim.asked_ms)
    desk.now += 120 * SECOND
    assert await desk.take() == ()
    await desk.change("secret/data/app")
    assert len(await desk.take()) == 1


async def test_an_old_failure_says_nothing_of_a_new_round(desk: Desk) -> None:
    """A refresh that failed for an earlier hint does not count against the one under way."""
    held = volume("a")
    await desk.publish(held)
    await due(desk)
    (claim,) = await desk.take()
    assert await desk.fail(held, "NOT_FOUND", asked_for=claim.asked_ms - 1) == "kept"
    desk.now += SECOND
    assert len(await desk.take()) == 1


async def test_stale_content_is_no_answer(desk: Desk) -> None:
    """A volume that was given its last known content, since the backend is down, is told again."""
    await desk.publish(volume("a"))
    await due(desk)
    await desk.take()
    await desk.tell(VolumeRefreshed(volume("a", stale_since_ms=desk.now), changed=False))
    desk.now += SECOND
    assert [names(claim) for claim in await desk.take()] == [["a"]]


async def test_a_fetchers_clock_may_be_behind(desk: Desk) -> None:
    """Its fetches seem too old for a while; that makes a few more of them, not hundreds."""
    held = {"a": volume("a", rotation_ms=0)}
    await desk.publish(*held.values())
    await due(desk)
    rounds = 0
    for _ in range(100):
        claims = await desk.take()
        rounds += len(claims)
        for _ in claims:
            await desk.tell(VolumeRefreshed(replaced(held["a"], desk.now - 2 * SECOND), changed=False))
        desk.now += 100
    assert rounds == 3


async def test_a_content_without_volumes_ends_after_a_minute(desk: Desk) -> None:
    """Once, for what was fetched before the last volume left, and it is forgotten then."""
    await desk.publish(volume("a"))
    desk.now += 5 * SECOND
    await desk.gone("a")
    left = desk.now
    found = await desk.run_until(desk.now + 300 * SECOND)
    assert [(at, claim.key, claim.empty_since_ms) for at, claim in found] == [(left + 60 * SECOND, "k", left)]
    assert (await desk.look()).contents == 0


async def test_an_end_that_was_not_told_is_told_again(desk: Desk) -> None:
    """A rotator that dies between the claim and the message leaves it to another."""
    await desk.publish(volume("a"))
    await desk.gone("a")
    desk.now += 60 * SECOND
    assert len(await desk.take(settle=False)) == 1
    desk.now += 5 * SECOND
    assert [claim.key for claim in await desk.take()] == ["k"]


async def test_a_rolling_deployment_keeps_its_lease(desk: Desk) -> None:
    """A content that gets a volume within the minute, even while its end is being told, lives on."""
    await desk.publish(volume("a"))
    await desk.gone("a")
    desk.now += 59 * SECOND
    await desk.publish(volume("b", fetched=desk.now))
    assert [claim for _, claim in await desk.run_until(desk.now + 59 * SECOND) if claim.empty_since_ms] == []
    await desk.gone("b")
    desk.now += 60 * SECOND
    await desk.take(settle=False)
    await desk.publish(volume("c", fetched=desk.now))
    await desk.schedule.settle(desk.tokens[-1], ["k"], desk.now)
    await due(desk)
    assert [names(claim) for claim in await desk.take()] == [["c"]]


async def test_nothing_ends_while_volumes_are_missing(desk: Desk) -> None:
    """A schedule that is being made anew does not know who else holds a content."""
    await desk.publish(volume("a"))
    await desk.gone("a")
    await desk.store.call("DEL", f"{desk.prefix}built")
    assert await desk.run_until(desk.now + 300 * SECOND) == []
    await desk.store.call("SET", f"{desk.prefix}built", "stream-1")
    assert [claim.key for _, claim in await desk.run_until(desk.now + 10 * SECOND)] == ["k"]
