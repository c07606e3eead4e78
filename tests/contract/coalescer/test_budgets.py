"""What all fetchers may ask of one backend: its own word, and the operator's."""

from __future__ import annotations

import asyncio

import pytest

from fetcher.budgets import Budgets, Grant, Spending
from fetcher.stale import LastKnown
from keyferry.errors import ProviderUnavailable, RateLimited
from keyferry.testing.valkey import Valkey

from .conftest import KEY, Asking, Backend, Fetcher, now_ms, password


def named(number: int) -> str:
    return f"{number:032x}"


async def test_retry_after_holds_for_all_fetchers(three: list[Fetcher], backend: Backend) -> None:
    """No fetcher calls a backend that has asked one of them for fewer calls; another backend's pods mount on."""
    backend.failures = [RateLimited("slower", retry_after=30.0)]
    with pytest.raises(RateLimited, match="slower"):
        await three[0].coalescer.get(KEY, 0, Asking(backend))
    with pytest.raises(RateLimited, match="left alone") as refused:
        await three[1].coalescer.get(named(1), 0, Asking(backend, key=named(1)))

    assert 25 < (refused.value.retry_after or 0) <= 30
    assert backend.calls == 1
    other = Asking(backend, key=named(2), spending=Spending("another backend"))
    assert password(await three[1].coalescer.get(named(2), 0, other)) == "2"


async def test_a_refusal_does_not_lengthen_the_pause(three: list[Fetcher], backend: Backend) -> None:
    """A storm of retries does not keep itself away for ever (external-secrets #4107)."""
    backend.failures = [RateLimited("slower", retry_after=0.5)]
    with pytest.raises(RateLimited):
        await three[0].coalescer.get(KEY, 0, Asking(backend))
    for number in range(5):
        with pytest.raises(RateLimited):
            await three[1].coalescer.get(named(number), 0, Asking(backend, key=named(number)))
    await asyncio.sleep(0.6)

    assert password(await three[2].coalescer.get(KEY, 0, Asking(backend))) == "2"


async def test_a_budget_is_shared(three: list[Fetcher], backend: Backend) -> None:
    """Beyond a second's worth of calls, refreshes come again later and mounts wait for their turn."""

    async def outcome(number: int, *, mount: bool) -> bool:
        spending = Spending("backend", rate=10, mount=mount)
        asking = Asking(backend, key=named(number), spending=spending)
        not_before = 0 if mount else now_ms()
        try:
            await three[number % 3].coalescer.get(named(number), not_before, asking)
        except RateLimited:
            return False
        return True

    refreshes = await asyncio.gather(*(outcome(number, mount=False) for number in range(30)))
    mounts = await asyncio.gather(*(outcome(100 + number, mount=True) for number in range(5)))

    assert 8 <= sum(refreshes) <= 12
    assert all(mounts)


async def test_the_pause_holds_without_redis(three: list[Fetcher], backend: Backend, own: Valkey) -> None:
    """Within one process."""
    own.process.kill()
    backend.failures = [RateLimited("slower", retry_after=30.0)]
    for _ in range(2):
        with pytest.raises(RateLimited):
            await three[0].coalescer.get(KEY, 0, Asking(backend))

    assert backend.calls == 1


def test_a_process_keeps_a_budget_of_its_own() -> None:
    """As Redis would: a burst, then a turn at a time for mounts, and none for refreshes."""
    now = 1000.0
    budgets = Budgets(clock=lambda: now)
    mount, refresh = Spending("b", 10, mount=True), Spending("b", 10, mount=False)
    granted = [budgets.grant(mount) for _ in range(10)]

    assert granted == [Grant()] * 10
    budgets.grant(mount)
    assert budgets.grant(refresh).pause > 0
    assert 0 < budgets.grant(mount).wait <= 0.2
    now += 5
    assert budgets.grant(refresh) == Grant()


async def test_the_last_known_content_is_handed_out_and_says_so(
    three: list[Fetcher], asking: Asking, backend: Backend
) -> None:
    """By any fetcher, with the time of the first failure, until the backend confirms it; never older than allowed."""
    kept = await three[0].coalescer.get(KEY, 0, asking)
    known = [LastKnown(fetcher.shared, fetcher.alone) for fetcher in three]
    why = ProviderUnavailable("down")
    first = await known[1].get(KEY, 3_600_000, why)
    await asyncio.sleep(0.01)
    second = await known[2].get(KEY, 3_600_000, why)
    await asyncio.sleep(0.01)

    assert first is not None
    assert second is not None
    assert first.files == kept.content.files
    assert first.stale_since_ms == second.stale_since_ms > kept.fetched_at_ms
    assert await known[1].get(KEY, 5, why) is None
    await three[0].coalescer.get(KEY, now_ms(), asking)
    third = await known[1].get(KEY, 3_600_000, why)
    assert third is not None
    assert third.stale_since_ms > second.stale_since_ms
    assert backend.calls == 2


async def test_the_last_known_content_without_redis(three: list[Fetcher], backend: Backend, own: Valkey) -> None:
    """A process remembers it itself where the class may need it, and else does not."""
    own.process.kill()
    known, why = LastKnown(three[0].shared, three[0].alone), ProviderUnavailable("down")
    await three[0].coalescer.get(KEY, 0, Asking(backend, stale_ms=3_600_000))
    await three[0].coalescer.get(named(1), 0, Asking(backend, key=named(1)))

    assert await known.get(KEY, 3_600_000, why) is not None
    assert await known.get(named(1), 3_600_000, why) is None
