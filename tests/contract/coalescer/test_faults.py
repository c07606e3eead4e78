"""Redis and fetchers on a bad day: no mount fails for it, and no content is wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fetcher import shared
from keyferry.keys import FetcherKeys, KeyFile, Keys
from keyferry.testing.valkey import Valkey

from .conftest import KEY, Asking, Backend, Fetcher, NewFetcher, now_ms, password

CONTENT = f"keyferry:content:{KEY}"


async def test_a_killed_fetcher_is_replaced(three: list[Fetcher], asking: Asking, backend: Backend) -> None:
    """Its lock expires, and one of those who waited takes over; one, not all."""
    await three[0].store.call("SET", f"{CONTENT}:lock", f"token-of-the-killed:{now_ms()}", "PX", "500")
    contents = await asyncio.gather(*(fetcher.coalescer.get(KEY, 0, asking) for fetcher in three))

    assert {password(kept) for kept in contents} == {"1"}
    assert backend.calls == 1


async def test_a_slow_fetch_keeps_its_lock(
    three: list[Fetcher], asking: Asking, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fetch may take longer than a lock lives."""
    monkeypatch.setattr(shared, "LOCK_MS", 400)
    monkeypatch.setattr("fetcher.claims.EXTEND_SECONDS", 0.1)
    backend.gate.clear()
    waiting = [asyncio.create_task(fetcher.coalescer.get(KEY, 0, asking)) for fetcher in three]
    await asyncio.sleep(1.5)
    backend.gate.set()

    assert {password(kept) for kept in await asyncio.gather(*waiting)} == {"1"}
    assert backend.calls == 1


async def test_whoever_lost_the_lock_takes_nobody_elses(three: list[Fetcher], asking: Asking, backend: Backend) -> None:
    """A fetch that ends after its lock has expired frees no other's, and replaces no newer content."""
    backend.gate.clear()
    slow = asyncio.create_task(three[0].coalescer.get(KEY, 0, asking))
    await backend.begun(1)
    call = three[2].store.call
    await call("SET", f"{CONTENT}:lock", "another:1")
    await call("HSET", CONTENT, "at", now_ms() + 1000, "sealed", "another's")
    backend.gate.set()
    await slow

    assert await call("GET", f"{CONTENT}:lock") == b"another:1"
    assert await call("HGET", CONTENT, "sealed") == b"another's"


async def test_without_redis_each_fetcher_shares_within_itself(
    three: list[Fetcher], asking: Asking, backend: Backend, own: Valkey
) -> None:
    """One call for each fetcher, and none fails."""
    await asyncio.to_thread(own.process.kill)
    contents = await asyncio.gather(*(fetcher.coalescer.get(KEY, 0, asking) for fetcher in three * 20))

    assert len(contents) == 60
    assert backend.calls == 3


async def test_a_hanging_redis_slows_mounts_once(
    three: list[Fetcher], asking: Asking, backend: Backend, own: Valkey
) -> None:
    """Each fetcher notices once; after that nothing waits for Redis."""
    own.process.pause()
    try:
        async with asyncio.timeout(5):
            await asyncio.gather(*(fetcher.coalescer.get(KEY, 0, asking) for fetcher in three))
        assert backend.calls == 3
        assert not any(fetcher.store.is_connected for fetcher in three)
    finally:
        own.process.resume()


async def test_redis_dies_while_others_wait(
    three: list[Fetcher], asking: Asking, backend: Backend, own: Valkey
) -> None:
    """Who waited asks for itself; who was asking is not disturbed."""
    backend.gate.clear()
    waiting = [asyncio.create_task(fetcher.coalescer.get(KEY, 0, asking)) for fetcher in three]
    await backend.begun(1)
    await asyncio.to_thread(own.process.kill)
    await backend.begun(3)
    backend.gate.set()

    assert len(await asyncio.gather(*waiting)) == 3


FORGETTING: dict[str, Callable[[Fetcher, Valkey], Awaitable[Any]]] = {
    "flush": lambda fetcher, _: fetcher.store.call("FLUSHALL"),
    "restart": lambda _, server: asyncio.to_thread(server.process.restart),
}


@pytest.mark.parametrize("forget", FORGETTING.values(), ids=FORGETTING)
async def test_redis_forgets_while_others_wait(
    three: list[Fetcher],
    asking: Asking,
    backend: Backend,
    own: Valkey,
    forget: Callable[[Fetcher, Valkey], Awaitable[Any]],
) -> None:
    """Lock and all: at worst the backend is asked once more, and sharing goes on afterwards."""
    backend.gate.clear()
    waiting = [asyncio.create_task(fetcher.coalescer.get(KEY, 0, asking)) for fetcher in three]
    await backend.begun(1)
    await forget(three[0], own)
    await backend.begun(2)
    backend.gate.set()
    await asyncio.gather(*waiting)
    calls = backend.calls
    async with asyncio.timeout(10):
        while not all(fetcher.store.is_connected for fetcher in three):  # noqa: ASYNC110 - the store has no bell
            await asyncio.sleep(0.05)
    other = "f" * 32
    for fetcher in three:
        await fetcher.coalescer.get(other, 0, Asking(backend, key=other))

    assert calls <= 3
    assert backend.calls == calls + 1


FORGERIES = {
    "nothing": lambda _: b"",
    "garbage": lambda _: b"\x01" + b"x" * 60,
    "altered": lambda box: box[:-1] + bytes([box[-1] ^ 1]),
    "another version": lambda box: b"\x02" + box[1:],
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
async def test_a_corrupted_content_is_fetched_anew(
    three: list[Fetcher], asking: Asking, forge: Callable[[bytes], bytes]
) -> None:
    """Whatever stands in Redis, a pod gets what the backend gave, or nothing."""
    await three[0].coalescer.get(KEY, 0, asking)
    call = three[2].store.call
    await call("HSET", CONTENT, "sealed", forge(await call("HGET", CONTENT, "sealed")))
    before = shared.REFUSED._value.get()

    assert password(await three[1].coalescer.get(KEY, 0, asking)) == "2"
    assert shared.REFUSED._value.get() == before + 1
    assert password(await three[2].coalescer.get(KEY, 0, asking)) == "2"


async def test_another_contents_box_is_not_taken(three: list[Fetcher], backend: Backend) -> None:
    """One content cannot be passed off as another by who can write to Redis."""
    other = KEY[::-1]
    await three[0].coalescer.get(other, 0, Asking(backend, key=other))
    await three[0].store.call("RENAME", f"keyferry:content:{other}", CONTENT)

    assert password(await three[1].coalescer.get(KEY, 0, Asking(backend))) == "2"


async def test_an_old_box_is_not_taken_for_a_new_one(three: list[Fetcher], asking: Asking) -> None:
    """The time in the clear cannot bring back what was fetched before a refresh."""
    await three[0].coalescer.get(KEY, 0, asking)
    await asyncio.sleep(0.005)
    await three[0].store.call("HSET", CONTENT, "at", now_ms() + 3_600_000)

    assert password(await three[1].coalescer.get(KEY, now_ms(), asking)) == "2"


async def test_a_box_of_other_keys_is_not_taken(
    three: list[Fetcher], asking: Asking, private: KeyFile[FetcherKeys]
) -> None:
    """Another cluster on the same Redis has its own keys."""
    await three[0].coalescer.get(KEY, 0, asking)
    object.__setattr__(private.keys, "macs", Keys((("", 0.0, b"another" * 5),)))

    assert password(await three[1].coalescer.get(KEY, 0, asking)) == "2"


async def test_foreign_types_in_redis_fail_no_mount(three: list[Fetcher], asking: Asking) -> None:
    """What somebody else has put where our hash should be is an outage of Redis, not of mounts."""
    await three[0].store.call("SET", CONTENT, "a string")

    assert password(await three[0].coalescer.get(KEY, 0, asking)) == "1"


async def test_clocks_that_differ(new: NewFetcher, asking: Asking) -> None:
    """Seconds apart, a refresh is one call still, and a hint from a clock ahead is met by what is fetched for it."""
    ahead, exact, behind = await new(skew=3.0), await new(), await new(skew=-3.0)
    await behind.coalescer.get(KEY, 0, asking)
    hint = now_ms() + 4_000  # by a rotator whose clock is ahead of all
    contents = [await fetcher.coalescer.get(KEY, hint, asking) for fetcher in (behind, exact, ahead)]

    assert {password(kept) for kept in contents} == {"2"}
    assert all(kept.fetched_at_ms >= hint for kept in contents)


async def test_a_hint_from_the_far_future_is_no_hint(new: NewFetcher, asking: Asking) -> None:
    """A mad clock must not stamp contents with a time that keeps refreshes away for a year."""
    fetcher = await new()
    kept = await fetcher.coalescer.get(KEY, now_ms() + 365 * 86_400_000, asking)

    assert kept.fetched_at_ms <= (time.time() + 61) * 1000
