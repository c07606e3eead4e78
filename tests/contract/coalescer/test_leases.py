"""Credentials that a backend makes for one content: once for all pods, renewed while it lives, revoked when it ends."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fetcher import contents
from fetcher.budgets import Grant
from fetcher.endings import Endings
from fetcher.kept import Kept
from fetcher.provider import Answer, Lease, Secret
from fetcher.settings import Settings
from keyferry import keymaking, streams
from keyferry.bus import Delivery
from keyferry.changes import EndContent
from keyferry.errors import AccessDenied, KeyferryError, ProviderUnavailable, RateLimited, VolumeBusy
from keyferry.settings import load
from keyferry.streams import ENDINGS
from keyferry.testing.valkey import Valkey

from .conftest import CANARY, KEY, Asking, Backend, Fetcher, now_ms, password


def lease(*, renew_in: float, ends_in: float) -> Lease:
    return Lease(time.time() + renew_in, time.time() + ends_in, f"{CANARY}-lease".encode())


@dataclass
class Revoking:
    """A provider as far as endings need it."""

    revoked: list[bytes] = field(default_factory=list)
    failures: list[KeyferryError] = field(default_factory=list)

    async def renew(self, _lease: Lease, _deadline: float) -> Lease | None:
        """See `fetcher.provider.Leasing`."""
        raise NotImplementedError

    async def revoke(self, lease: Lease, _deadline: float) -> None:
        """See `fetcher.provider.Leasing`."""
        if self.failures:
            raise self.failures.pop(0)
        self.revoked.append(lease.handle)

    async def fetch(self, _request: object) -> list[object]:
        """See `fetcher.provider.Provider`."""
        raise NotImplementedError

    async def close(self) -> None:
        """See `fetcher.provider.Provider`."""


async def end(fetcher: Fetcher, provider: Revoking, fetched_before_ms: int) -> None:
    endings = Endings(fetcher.shared, fetcher.alone, fetcher.coalescer, {"vault": provider}, 30.0)  # type: ignore[dict-item]
    payload = EndContent(KEY, fetched_before_ms).to_bytes()
    await endings(Delivery("keyferry.fetch.end", payload, float("inf"), attempt=1, last=False))


async def test_mounts_share_a_lease_however_old(three: list[Fetcher], asking: Asking, backend: Backend) -> None:
    """Neither window nor fetcher makes another set of credentials."""
    backend.lease = lease(renew_in=100, ends_in=300)
    first = await three[0].coalescer.get(KEY, 0, asking)
    for fetcher in three:
        fetcher.skew = 60.0
    others = [await fetcher.coalescer.get(KEY, 0, asking) for fetcher in three]

    assert {password(kept) for kept in [first, *others]} == {"1"}
    assert all(kept.fetched_at_ms > first.fetched_at_ms + 50_000 for kept in others)
    assert first.content.refresh_by_ms == int(backend.lease.renew_at * 1000)
    assert (backend.calls, backend.renewed) == (1, 0)


async def test_a_refresh_confirms_a_live_lease(three: list[Fetcher], asking: Asking, backend: Backend) -> None:
    """The content's time moves forward, so that the rotator is content; nothing is made anew."""
    backend.lease = lease(renew_in=100, ends_in=300)
    first = await three[0].coalescer.get(KEY, 0, asking)
    hint = now_ms() + 1
    second = await three[1].coalescer.get(KEY, hint, asking)

    assert second.content.digest == first.content.digest
    assert second.fetched_at_ms >= hint
    assert backend.calls == 1


async def test_a_lease_that_is_due_is_renewed_once(three: list[Fetcher], asking: Asking, backend: Backend) -> None:
    """By one fetcher, for all."""
    backend.lease = lease(renew_in=-1, ends_in=300)
    backend.renewals = [lease(renew_in=200, ends_in=600)]
    await three[0].coalescer.get(KEY, 0, asking)
    hint = now_ms() + 1
    contents = [await fetcher.coalescer.get(KEY, hint, asking) for fetcher in three]

    assert {password(kept) for kept in contents} == {"1"}
    assert {kept.content.refresh_by_ms > now_ms() + 190_000 for kept in contents} == {True}
    assert (backend.calls, backend.renewed) == (1, 1)


@pytest.mark.parametrize("outcome", [None, AccessDenied("revoked by somebody")])
async def test_a_lease_that_cannot_be_renewed_is_replaced(
    three: list[Fetcher], asking: Asking, backend: Backend, outcome: Exception | None
) -> None:
    """New credentials come when renewal ends."""
    backend.lease = lease(renew_in=-1, ends_in=300)
    backend.renewals = [outcome]
    await three[0].coalescer.get(KEY, 0, asking)

    assert password(await three[1].coalescer.get(KEY, now_ms() + 1, asking)) == "2"


@pytest.mark.parametrize("trouble", [ProviderUnavailable("down"), RateLimited("slower", retry_after=20.0)])
async def test_a_backend_in_trouble_leaves_a_live_lease(
    three: list[Fetcher], asking: Asking, backend: Backend, trouble: KeyferryError
) -> None:
    """What lives is kept, and is not asked for again at once."""
    backend.lease = lease(renew_in=-1, ends_in=300)
    backend.renewals = [trouble]
    await three[0].coalescer.get(KEY, 0, asking)
    kept = await three[1].coalescer.get(KEY, now_ms() + 1, asking)

    assert password(kept) == "1"
    assert kept.content.refresh_by_ms > now_ms() + 4_000


@dataclass
class Mixed(Asking):
    """A class with credentials that are made for it, and a secret beside them that changes with every read."""

    made: int = 0

    async def fetch(self, fetched_at_ms: int, held: Kept | None, grant: Grant) -> Kept:
        """See `fetcher.leases.Source`."""
        grant.check("vault")
        backend = self.backend
        backend.calls += 1
        backend.held.append(held)
        if backend.failures:
            raise backend.failures.pop(0)
        alive = held.by_object().get("user", ()) if held else ()
        self.made += not alive
        user = alive or (Secret("user", f"user-{self.made}".encode(), "user", None, is_leased=True),)
        static = Secret("static", f"static-{backend.calls}".encode(), "static", None)
        answer = Answer((*user, static), (), None if alive else backend.lease)
        return contents.build(
            backend.keys.keys, answer, provider="vault", key=self.key, fetched_at_ms=fetched_at_ms, mode=0o600
        )


def both(kept: Kept) -> list[str]:
    """What a pod would read."""
    return [file.contents.decode() for file in kept.content.files or ()]


async def test_what_stands_beside_a_lease_rotates(three: list[Fetcher], backend: Backend) -> None:
    """Each refresh has what the backend has now, whether the lease is renewed by it or not; nothing is made for it."""
    asking = Mixed(backend)
    backend.lease = lease(renew_in=100, ends_in=300)
    first = await three[0].coalescer.get(KEY, 0, asking)
    second = await three[1].coalescer.get(KEY, now_ms() + 1, asking)
    three[2].skew, backend.renewals = 110.0, [lease(renew_in=200, ends_in=600)]
    third = await three[2].coalescer.get(KEY, now_ms() + 110_000, asking)

    assert [both(kept) for kept in (first, second, third)] == [["user-1", f"static-{n}"] for n in (1, 2, 3)]
    assert second.content.refresh_by_ms == first.content.refresh_by_ms
    assert len({kept.content.digest for kept in (first, second, third)}) == 3
    assert third.content.refresh_by_ms > now_ms() + 190_000
    assert (asking.made, backend.renewed) == (1, 1)


async def test_a_mount_has_what_stands_beside_a_lease_as_it_is(three: list[Fetcher], backend: Backend) -> None:
    """It shares the lease however old; of the rest only what is within the window, and the backend's word beyond."""
    asking = Mixed(backend)
    backend.lease = lease(renew_in=100, ends_in=300)
    await three[0].coalescer.get(KEY, 0, asking)
    assert both(await three[1].coalescer.get(KEY, 0, asking)) == ["user-1", "static-1"]
    three[1].skew = 10.0
    assert both(await three[1].coalescer.get(KEY, 0, asking)) == ["user-1", "static-2"]
    held = backend.held[-1]
    assert held
    assert list(held.by_object()) == ["user"]


@pytest.mark.parametrize("trouble", [ProviderUnavailable("down"), RateLimited("slower")])
async def test_a_mount_beside_a_lease_goes_on_without_the_backend(
    three: list[Fetcher], backend: Backend, trouble: KeyferryError
) -> None:
    """It does so where there is nothing but the lease."""
    asking = Mixed(backend)
    backend.lease = lease(renew_in=100, ends_in=300)
    await three[0].coalescer.get(KEY, 0, asking)
    backend.failures, three[1].skew = [trouble], 10.0

    assert both(await three[1].coalescer.get(KEY, 0, asking)) == ["user-1", "static-1"]


async def test_a_refresh_beside_a_lease_fails_as_any(three: list[Fetcher], backend: Backend) -> None:
    """The volume's owner hears of it, and the lease lives on."""
    asking = Mixed(backend)
    backend.lease = lease(renew_in=100, ends_in=300)
    await three[0].coalescer.get(KEY, 0, asking)
    backend.failures = [AccessDenied("not any more")]
    with pytest.raises(AccessDenied):
        await three[1].coalescer.get(KEY, now_ms() + 1, asking)

    assert both(await three[2].coalescer.get(KEY, 0, asking)) == ["user-1", "static-1"]


async def test_a_renewal_is_kept_whatever_happens_beside_it(three: list[Fetcher], backend: Backend) -> None:
    """Or the next refresh would take the lease for ended, and have new credentials made."""
    asking = Mixed(backend)
    backend.lease = lease(renew_in=-1, ends_in=300)
    backend.renewals = [lease(renew_in=200, ends_in=600)]
    await three[0].coalescer.get(KEY, 0, asking)
    backend.failures = [AccessDenied("not any more")]
    second = await three[1].coalescer.get(KEY, now_ms() + 1, asking)
    three[2].skew = 20.0
    third = await three[2].coalescer.get(KEY, now_ms() + 20_000, asking)

    assert [both(kept)[0] for kept in (second, third)] == ["user-1", "user-1"]
    assert both(third)[1] == "static-3"
    assert third.content.refresh_by_ms == second.content.refresh_by_ms
    assert backend.renewed == 1


async def test_what_an_ended_lease_made_is_not_handed_back(three: list[Fetcher], backend: Backend) -> None:
    """All of the class is fetched anew."""
    asking = Mixed(backend)
    backend.lease = lease(renew_in=-1, ends_in=300)
    backend.renewals = [None]
    await three[0].coalescer.get(KEY, 0, asking)

    assert both(await three[1].coalescer.get(KEY, now_ms() + 1, asking)) == ["user-2", "static-2"]


async def test_a_lease_that_has_ended_is_no_content(three: list[Fetcher], asking: Asking, backend: Backend) -> None:
    """Nobody mounts what the backend has taken away."""
    backend.lease = lease(renew_in=1, ends_in=2)
    await three[0].coalescer.get(KEY, 0, asking)
    three[1].skew = 10.0

    assert password(await three[1].coalescer.get(KEY, 0, asking)) == "2"


async def test_a_lease_lives_without_redis_too(
    three: list[Fetcher], asking: Asking, backend: Backend, own: Valkey
) -> None:
    """Within one process."""
    own.process.kill()
    backend.lease = lease(renew_in=100, ends_in=300)
    await three[0].coalescer.get(KEY, 0, asking)
    three[0].skew = 60.0

    assert password(await three[0].coalescer.get(KEY, 0, asking)) == "1"
    assert password(await three[0].coalescer.get(KEY, now_ms() + 61_000, asking)) == "1"
    provider = Revoking()
    object.__setattr__(three[0].store, "_pipes", None)
    await end(three[0], provider, now_ms() + 100_000)
    assert len(provider.revoked) == 1


async def test_the_end_of_a_content_revokes_its_lease(three: list[Fetcher], asking: Asking, backend: Backend) -> None:
    """By any fetcher, once, however often it is told; afterwards there is nothing to share."""
    backend.lease = lease(renew_in=100, ends_in=300)
    kept = await three[0].coalescer.get(KEY, 0, asking)
    provider = Revoking()
    for fetcher in three:
        await end(fetcher, provider, kept.fetched_at_ms)

    assert provider.revoked == [f"{CANARY}-lease".encode()]
    assert await three[0].store.call("DBSIZE") == 0
    assert password(await three[0].coalescer.get(KEY, 0, asking)) == "2"


async def test_a_content_in_use_again_is_not_ended(three: list[Fetcher], asking: Asking, backend: Backend) -> None:
    """Somebody has mounted it since the rotator looked."""
    backend.lease = lease(renew_in=100, ends_in=300)
    first = await three[0].coalescer.get(KEY, 0, asking)
    await three[1].coalescer.get(KEY, now_ms() + 1, asking)
    provider = Revoking()
    await end(three[2], provider, first.fetched_at_ms)

    assert provider.revoked == []
    assert password(await three[2].coalescer.get(KEY, 0, asking)) == "1"


async def test_a_late_refresh_keeps_nothing_alive(three: list[Fetcher], asking: Asking, backend: Backend) -> None:
    """It asked for a moment at which the last volume was still there, and got to the backend after that had left."""
    backend.lease = lease(renew_in=-1, ends_in=300)
    backend.renewals = [lease(renew_in=200, ends_in=600)]
    first = await three[0].coalescer.get(KEY, 0, asking)
    left = first.fetched_at_ms + 5_000
    three[1].skew = 20.0
    assert (await three[1].coalescer.get(KEY, left - 1, asking)).fetched_at_ms > left
    provider = Revoking()
    await end(three[2], provider, left)

    assert len(provider.revoked) == 1


async def test_a_mount_of_what_a_late_refresh_got_is_not_ended(
    three: list[Fetcher], asking: Asking, backend: Backend
) -> None:
    """Whatever it was fetched for, somebody has it since, although nobody was told yet."""
    backend.lease = lease(renew_in=100, ends_in=300)
    first = await three[0].coalescer.get(KEY, 0, asking)
    left = first.fetched_at_ms + 5_000
    for fetcher in three:
        fetcher.skew = 20.0
    await three[1].coalescer.get(KEY, left - 1, asking)
    await three[2].coalescer.get(KEY, 0, asking)
    provider = Revoking()
    await end(three[0], provider, left)

    assert provider.revoked == []


async def test_what_an_older_version_kept_is_ended(three: list[Fetcher], asking: Asking, backend: Backend) -> None:
    """Nothing says for which moment it was fetched: then it counts when."""
    backend.lease = lease(renew_in=100, ends_in=300)
    kept = await three[0].coalescer.get(KEY, 0, asking)
    old = {
        name: await three[0].store.call("HGET", f"keyferry:content:{KEY}", name) for name in ("at", "sealed", "lease")
    }
    await three[0].store.call("DEL", f"keyferry:content:{KEY}")
    await three[0].store.call("HSET", f"keyferry:content:{KEY}", *(part for item in old.items() for part in item))
    provider = Revoking()
    await end(three[1], provider, kept.fetched_at_ms - 1)
    assert provider.revoked == []
    await end(three[1], provider, kept.fetched_at_ms)

    assert len(provider.revoked) == 1


def test_an_end_outlasts_whoever_is_at_the_content() -> None:
    """It is told again while the slowest backend answers a refresh, and is buried before its stream forgets it."""
    busy, limited = VolumeBusy("").retry_after, RateLimited("").retry_after
    assert busy
    assert limited
    (fetch,) = [each for each in streams.streams(load(streams.Settings, {})) if each.name == "FETCH"]
    assert ENDINGS.max_deliveries * busy > load(Settings, {}).fetch_timeout
    assert ENDINGS.max_deliveries * limited < (fetch.max_age or 0)


async def test_a_revocation_that_fails_is_tried_again(three: list[Fetcher], asking: Asking, backend: Backend) -> None:
    """By whichever fetcher gets the message next; meanwhile nobody mounts what is about to go."""
    backend.lease = lease(renew_in=100, ends_in=300)
    kept = await three[0].coalescer.get(KEY, 0, asking)
    provider = Revoking(failures=[ProviderUnavailable("down")])
    with pytest.raises(ProviderUnavailable):
        await end(three[0], provider, kept.fetched_at_ms)
    backend.lease = None
    assert password(await three[1].coalescer.get(KEY, 0, asking)) == "2"
    await end(three[2], provider, kept.fetched_at_ms)

    assert len(provider.revoked) == 1
    assert password(await three[2].coalescer.get(KEY, 0, asking)) == "2"


async def test_a_content_that_is_being_asked_for_is_left(
    three: list[Fetcher], asking: Asking, backend: Backend
) -> None:
    """Whoever is at it may be about to confirm it: the ending comes again."""
    backend.lease = lease(renew_in=100, ends_in=300)
    kept = await three[0].coalescer.get(KEY, 0, asking)
    await three[0].store.call("SET", f"keyferry:content:{KEY}:lock", "somebody:1")
    with pytest.raises(VolumeBusy):
        await end(three[0], Revoking(), kept.fetched_at_ms)


async def test_the_mac_key_is_rotated(three: list[Fetcher], asking: Asking, backend: Backend, tmp_path: Path) -> None:
    """What was sealed before is shared and ended as ever; after the next rotation it is not believed any more."""
    backend.lease = lease(renew_in=100, ends_in=300)
    await three[0].coalescer.get(KEY, 0, asking)
    keymaking.rotate(tmp_path / "keys", delay=0.0, mac=True)
    assert password(await three[1].coalescer.get(KEY, 0, asking)) == "1"
    provider = Revoking()
    await end(three[2], provider, now_ms())
    assert len(provider.revoked) == 1

    keymaking.rotate(tmp_path / "keys", delay=0.0, mac=True)
    await three[0].coalescer.get(KEY, 0, asking)
    for _ in range(2):
        keymaking.rotate(tmp_path / "keys", delay=0.0, mac=True)
    assert password(await three[1].coalescer.get(KEY, 0, asking)) == "3"


async def test_a_content_without_a_lease_is_forgotten(three: list[Fetcher], asking: Asking) -> None:
    """Values are kept no longer than somebody mounts them."""
    kept = await three[0].coalescer.get(KEY, 0, asking)
    provider = Revoking()
    await end(three[1], provider, kept.fetched_at_ms)

    assert provider.revoked == []
    assert await three[0].store.call("DBSIZE") == 0


def test_a_handle_is_as_hidden_as_a_value() -> None:
    """It is what ends, or prolongs, a credential's life."""
    assert CANARY not in repr(replace(lease(renew_in=1, ends_in=2), renew_at=0.0))
