from __future__ import annotations

from itertools import pairwise

from keyferry.events import VolumeRefreshed
from keyferry.testing.valkey import Valkey
from rotator.schedule import Policy

from .conftest import START, Desk, a_desk, names, replaced, volume

MINUTE = 60_000


async def test_a_content_is_due_within_its_interval(desk: Desk) -> None:
    """All its volumes, on every node, are told to ask for what was fetched since it was due."""
    await desk.publish(volume("a"), volume("b", node="n2"))
    ((at, claim),) = (await desk.run_until(START + 2 * MINUTE + 1))[:1]
    assert claim.nodes == {"n1": ("a",), "n2": ("b",)}
    assert (claim.why, claim.key) == ("interval", "k")
    assert START + MINUTE <= claim.due_ms == claim.asked_ms <= at <= START + 2 * MINUTE


async def test_nothing_is_due_twice_while_everyone_answers(desk: Desk) -> None:
    """In the steady state a content is hinted once an interval, give or take a tenth."""
    volumes = {name: volume(name) for name in "abc"}
    await desk.publish(*volumes.values())
    times = []
    while desk.now < START + 60 * MINUTE:
        claims = await desk.take()
        times += [desk.now for _ in claims]
        desk.now += 200
        await desk.answer(claims, volumes)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert len(times) in range(26, 35)
    assert all(0.9 * 2 * MINUTE - 500 <= pause <= 1.1 * 2 * MINUTE + 500 for pause in pauses)


async def test_a_burst_does_not_stay_one(desk: Desk) -> None:
    """A hundred contents that were published at once are due over half an interval: no ten of them in one second."""
    await desk.publish(*(volume(f"v{n}", key=f"k{n}") for n in range(100)))
    due = [claim.due_ms for _, claim in await desk.run_until(START + 2 * MINUTE + 1) if claim.why]
    assert len(due) == 100
    assert max(due) - min(due) > 45_000
    assert max(sum(second <= each < second + 1000 for each in due) for second in due) < 10


async def test_each_interval_spreads_further(desk: Desk) -> None:
    """Two contents that were due together by chance drift apart."""
    volumes = {f"v{n}": volume(f"v{n}", key=f"k{n}") for n in range(20)}
    for each in volumes.values():
        await desk.tell(VolumeRefreshed(each, changed=False))
    due = []
    while desk.now < START + 135_000:
        claims = await desk.take()
        due += [claim.due_ms for claim in claims]
        await desk.answer(claims, volumes)
        desk.now += 500
    assert max(due) - min(due) > 12_000


async def test_the_shortest_interval_counts(desk: Desk) -> None:
    """Two volumes of one content that want different intervals are both refreshed by the shorter."""
    volumes = {"a": volume("a", rotation_ms=60 * MINUTE), "b": volume("b", rotation_ms=10_000)}
    await desk.publish(*volumes.values())
    desk.now += 10_000
    (claim,) = await desk.take()
    assert names(claim) == ["a", "b"]


async def test_an_interval_grows_when_the_volume_that_wanted_less_leaves(desk: Desk) -> None:
    """From the next refresh on it is the others' interval."""
    volumes = {"a": volume("a", rotation_ms=60 * MINUTE), "b": volume("b", rotation_ms=10_000)}
    await desk.publish(*volumes.values())
    await desk.gone("b")
    desk.now += 11_000
    await desk.answer(await desk.take(), volumes)
    assert await desk.run_until(START + 40 * MINUTE, step=5_000) == []


async def test_an_interval_that_shrinks_takes_hold_at_once(desk: Desk) -> None:
    """A class that is edited to be refreshed more often is, from the first word of it on."""
    first = volume("a", rotation_ms=60 * MINUTE)
    await desk.publish(first)
    await desk.tell(VolumeRefreshed(volume("a", rotation_ms=10_000), changed=False))
    desk.now += 11_000
    assert [claim.key for claim in await desk.take()] == ["k"]


async def test_never_is_never(desk: Desk) -> None:
    """A class with interval 0 is not polled, and still hears of changes."""
    await desk.publish(volume("a", rotation_ms=0, sources=("secret/data/app",)))
    assert await desk.run_until(START + 60 * MINUTE, step=10_000) == []
    await desk.change("secret/data/app")
    assert [names(claim) for claim in await desk.take()] == [["a"]]


async def test_switched_off(valkey: Valkey) -> None:
    """With rotation off only classes that say otherwise are polled."""
    async with a_desk(valkey, Policy(interval_ms=0)) as desk:
        await desk.publish(volume("a"), volume("b", key="k2", rotation_ms=MINUTE))
        assert {claim.key for _, claim in await desk.run_until(START + 10 * MINUTE, step=5_000)} == {"k2"}


async def test_a_lease_is_due_whatever_the_interval(valkey: Valkey) -> None:
    """Content with refresh_by is asked for again by then, polled or not, and once for each time (VSO #319, #610)."""
    async with a_desk(valkey, Policy(interval_ms=0)) as desk:
        await desk.publish(volume("a", refresh_by_ms=START + 30_000))
        assert await desk.run_until(START + 30_000) == []
        (claim,) = await desk.take()
        assert (claim.why, claim.due_ms, claim.asked_ms) == ("lease", START + 30_000, START + 30_000)
        renewed = volume("a", fetched=desk.now, refresh_by_ms=START + 60_000)
        await desk.tell(VolumeRefreshed(renewed, changed=False))
        found = [(at, claim.why) for at, claim in await desk.run_until(START + 61_000)]
        assert found[0] == (START + 60_000, "lease")


async def test_an_hour_of_leases_asks_once_for_each(valkey: Valkey) -> None:
    """Each poll does not mint a credential: as many rounds as the lease has renewals (upstream #1453)."""
    async with a_desk(valkey, Policy(interval_ms=0)) as desk:
        held = {"a": volume("a", refresh_by_ms=START + 300_000)}
        await desk.publish(*held.values())
        rounds = 0
        while desk.now < START + 3_600_000:
            claims = await desk.take()
            rounds += sum(1 for claim in claims if claim.why)
            for _ in claims:
                held["a"] = volume("a", fetched=desk.now, refresh_by_ms=desk.now + 300_000)
                await desk.tell(VolumeRefreshed(held["a"], changed=True))
            desk.now += 1_000
        assert rounds == 11


async def test_a_lease_that_has_ended_makes_no_loop(valkey: Valkey) -> None:
    """A backend whose leases end as they are made is asked every other second at most."""
    async with a_desk(valkey, Policy(interval_ms=0)) as desk:
        await desk.publish(volume("a", refresh_by_ms=START + 1))
        asked = 0
        while desk.now < START + 60_000:
            claims = await desk.take()
            asked += len(claims)
            for _ in claims:
                await desk.tell(
                    VolumeRefreshed(volume("a", fetched=desk.now, refresh_by_ms=desk.now + 1), changed=True)
                )
            desk.now += 100
        assert asked <= 31


async def test_after_a_long_silence_old_fetches_do_not_count(desk: Desk) -> None:
    """When all rotators were down for an hour, a volume that was mounted in between is as old as the rest."""
    await desk.publish(volume("a"))
    desk.now += 60 * MINUTE
    await desk.publish(volume("b", fetched=START + 20 * MINUTE))
    (claim,) = await desk.take()
    assert names(claim) == ["a", "b"]


async def test_a_mount_in_time_needs_no_hint(desk: Desk) -> None:
    """A content that everybody has fetched since it was due is not asked for again."""
    await desk.publish(volume("a"))
    desk.now += 3 * MINUTE
    await desk.tell(VolumeRefreshed(replaced(volume("a"), desk.now - 1), changed=False))
    assert await desk.take() == ()


async def test_what_was_told_late_comes_as_no_storm(desk: Desk) -> None:
    """Contents that are long overdue when they are told of are spread over half a minute (ESO #5045)."""
    desk.now += 60 * MINUTE
    await desk.publish(*(volume(f"v{n}", key=f"k{n}") for n in range(60)))
    found = [at for at, claim in await desk.run_until(desk.now + 31_000) if claim.why]
    assert len(found) == 60
    assert max(sum(second <= each < second + 1000 for each in found) for second in found) < 10


async def test_a_limit_leaves_the_rest_for_others(desk: Desk) -> None:
    """Two rotators that take ten each share twenty contents."""
    await desk.publish(*(volume(f"v{n}", key=f"k{n}") for n in range(20)))
    desk.now += 2 * MINUTE
    one, other = await desk.take(limit=10, settle=False), await desk.take(limit=10, settle=False)
    assert sorted(claim.key for claim in (*one, *other)) == sorted(f"k{n}" for n in range(20))
    assert await desk.take() == ()


async def test_a_volume_without_a_rotator_interval_follows_it(valkey: Valkey, desk: Desk) -> None:
    """A rotator that is started with another interval has the schedule made anew, by the words it was made from."""
    await desk.schedule.adopt_interval()
    told = volume("a")
    await desk.tell(told, at_us=1)
    async with a_desk(valkey, Policy(interval_ms=10_000)) as other:
        other.schedule._prefix = desk.prefix
        await other.schedule.adopt_interval()
        assert await other.schedule.built() == ""
        await other.tell(told, at_us=1)
        other.now += 10_000
        assert [claim.key for claim in await other.take()] == ["k"]
