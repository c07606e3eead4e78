"""Fetchers that share contents through a real Valkey: one call to the backend for all of them."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from keyferry.errors import AccessDenied, ProviderUnavailable

from .conftest import CANARY, KEY, Asking, Backend, Fetcher, NewFetcher, now_ms, password


async def test_one_call_for_all(three: list[Fetcher], asking: Asking, backend: Backend) -> None:
    """Any number of pods at any number of fetchers make one call, and all get the same."""
    backend.gate.clear()
    waiting = [
        asyncio.create_task(fetcher.coalescer.get(KEY, 0, asking)) for fetcher in itertools.islice(three * 100, 300)
    ]
    await backend.begun(1)
    await asyncio.sleep(0.2)
    backend.gate.set()

    assert {password(kept) for kept in await asyncio.gather(*waiting)} == {"1"}
    assert backend.calls == 1


async def test_a_kept_content_is_shared(three: list[Fetcher], asking: Asking, backend: Backend) -> None:
    """What one fetcher has fetched, others hand out as if they had: files, versions, sources and all."""
    first = await three[0].coalescer.get(KEY, 0, asking)
    second = await three[1].coalescer.get(KEY, 0, asking)

    assert second == first
    assert second.content.sources == ("secret/db",)
    assert second.content.left_out == ("extra",)
    assert backend.calls == 1


@pytest.mark.parametrize("window", [0.0, 5.0])
async def test_a_mount_takes_what_is_under_way(
    new: NewFetcher, asking: Asking, backend: Backend, window: float
) -> None:
    """At another fetcher too, and without any window."""
    one, other = await new(window=window), await new(window=window)
    backend.gate.clear()
    first = asyncio.create_task(one.coalescer.get(KEY, 0, asking))
    await backend.begun(1)
    await asyncio.sleep(0.02)
    second = asyncio.create_task(other.coalescer.get(KEY, 0, asking))
    await asyncio.sleep(0.1)
    backend.gate.set()

    assert (password(await first), password(await second)) == ("1", "1")


async def test_no_window_shares_nothing_that_is_over(new: NewFetcher, asking: Asking) -> None:
    """A mount that comes later has the backend asked, as its operator wants it."""
    one, other = await new(window=0.0), await new(window=0.0)
    await one.coalescer.get(KEY, 0, asking)
    await asyncio.sleep(0.002)

    assert password(await other.coalescer.get(KEY, 0, asking)) == "2"


async def test_a_refresh_is_one_call(three: list[Fetcher], asking: Asking, backend: Backend) -> None:
    """Nodes that were given one hint share one new fetch, and none gets the old content."""
    await three[0].coalescer.get(KEY, 0, asking)
    await asyncio.sleep(0.005)
    hint = now_ms()
    await asyncio.sleep(0.005)
    contents = await asyncio.gather(*(fetcher.coalescer.get(KEY, hint, asking) for fetcher in three * 20))

    assert {password(kept) for kept in contents} == {"2"}
    assert all(kept.fetched_at_ms >= hint for kept in contents)
    assert backend.calls == 2


async def test_a_refresh_gets_nothing_that_was_under_way_before(
    three: list[Fetcher], asking: Asking, backend: Backend
) -> None:
    """A fetch that began before the hint may have read the old value."""
    backend.gate.clear()
    old = asyncio.create_task(three[0].coalescer.get(KEY, 0, asking))
    await backend.begun(1)
    await asyncio.sleep(0.005)
    fresh = asyncio.create_task(three[1].coalescer.get(KEY, now_ms(), asking))
    await asyncio.sleep(0.1)
    backend.gate.set()

    assert (password(await old), password(await fresh)) == ("1", "2")


async def test_the_provider_is_told_what_was_held(three: list[Fetcher], asking: Asking, backend: Backend) -> None:
    """On a refresh, in whichever fetcher; never on a mount, which the backend must authorise."""
    first = await three[0].coalescer.get(KEY, 0, asking)
    await asyncio.sleep(0.005)
    await three[1].coalescer.get(KEY, now_ms(), asking)
    for fetcher in three:
        await fetcher.store.call("HSET", f"keyferry:content:{KEY}", "at", "1")
        fetcher.coalescer.forget(KEY)
    await three[2].coalescer.get(KEY, 0, asking)

    held = [kept and kept.by_object()["db"][0] for kept in backend.held]
    assert held == [None, first.secrets[0], None]


async def test_a_failure_reaches_all_who_wait_and_no_one_else(
    three: list[Fetcher], asking: Asking, backend: Backend
) -> None:
    """A backend that has just said no is not asked by each; who comes later asks anew."""
    backend.failures = [AccessDenied("no", retry_after=7.0)]
    backend.gate.clear()
    waiting = [asyncio.create_task(fetcher.coalescer.get(KEY, 0, asking)) for fetcher in three]
    await backend.begun(1)
    await asyncio.sleep(0.1)
    backend.gate.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)

    assert [(type(error), str(error), getattr(error, "retry_after", 0)) for error in outcomes] == [
        (AccessDenied, "no", 7.0)
    ] * 3
    assert backend.calls == 1
    assert password(await three[1].coalescer.get(KEY, 0, asking)) == "2"


async def test_a_failure_is_that_of_its_moment(three: list[Fetcher], asking: Asking, backend: Backend) -> None:
    """Volumes that refresh for one moment, one after the other, cost a backend that refuses one call.

    Another moment is another call, and so is a mount.
    """
    backend.failures = [AccessDenied("no")]
    moment = now_ms()
    for fetcher in (*three, three[0]):
        with pytest.raises(AccessDenied, match="no"):
            await fetcher.coalescer.get(KEY, moment, asking)

    assert backend.calls == 1
    assert password(await three[1].coalescer.get(KEY, 0, asking)) == "2"
    assert password(await three[2].coalescer.get(KEY, now_ms() + 1, asking)) == "3"


async def test_a_defect_frees_the_lock(three: list[Fetcher], asking: Asking, backend: Backend) -> None:
    """It is no answer of the backend's: the next fetcher tries itself."""
    backend.failures = [ValueError("a defect")]
    with pytest.raises(ValueError, match="a defect"):
        await three[0].coalescer.get(KEY, 0, asking)

    assert password(await three[1].coalescer.get(KEY, 0, asking)) == "2"


async def test_keys_apart(three: list[Fetcher], backend: Backend) -> None:
    """Contents of other keys are others' business."""
    other = KEY[::-1]
    await three[0].coalescer.get(KEY, 0, Asking(backend))

    assert password(await three[1].coalescer.get(other, 0, Asking(backend, key=other))) == "2"


async def test_redis_holds_nothing_in_the_clear(three: list[Fetcher], asking: Asking, backend: Backend) -> None:
    """Neither a value, nor a name, nor a failure's text; and everything has an end."""
    await three[0].coalescer.get(KEY, 0, asking)
    backend.failures = [ProviderUnavailable(f"reading {CANARY}")]
    await asyncio.sleep(0.002)
    with pytest.raises(ProviderUnavailable):
        await three[0].coalescer.get(KEY, now_ms(), asking)
    call = three[0].store.call
    names = await call("KEYS", "*")
    dump = b"".join([await call("DUMP", name) for name in names])

    assert sorted(name.decode().partition(":failed:")[0] for name in names) == [f"keyferry:content:{KEY}"] * 3
    assert not [word for word in (CANARY, "password", "vault", "secret/db", "swordfish") if word.encode() in dump]
    assert all([await call("PTTL", name) > 0 for name in names])


async def test_round_trips(three: list[Fetcher], asking: Asking) -> None:
    """Two for a content that nobody has, one for another fetcher's, none for our own."""

    async def commands() -> int:
        told = await three[2].store.call("INFO", "commandstats")
        lines = dict(line.split(":", 1) for line in told.decode().splitlines() if ":" in line)
        return int(lines["cmdstat_evalsha"].partition("calls=")[2].partition(",")[0])

    for fetcher in three:  # the scripts are loaded by then
        await fetcher.coalescer.get("0" * 32, 0, Asking(asking.backend, key="0" * 32))
    counts = [await commands()]
    for fetcher in (three[0], three[1], three[0]):
        await fetcher.coalescer.get(KEY, 0, asking)
        counts.append(await commands())

    assert [after - before for before, after in itertools.pairwise(counts)] == [2, 1, 0]
