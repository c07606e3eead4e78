import asyncio
from dataclasses import replace

import pytest

from fetcher.provider import ProviderRequest
from fetcher.providers.aws.clients import Credentials
from fetcher.providers.aws.credentials import CredentialCache, Identity, identify, session_name
from fetcher.providers.aws.denials import Denials
from keyferry.errors import KeyferryError, ProviderUnavailable
from keyferry.resources import Pod

WEB = Identity("arn:aws:iam::1:role/web", "eu-west-1", "shop", "web")


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        """Unix seconds."""
        return self.now


class Sts:
    """Gives credentials for an hour, and counts."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: KeyferryError | None = None

    async def exchange(self) -> Credentials:
        """One exchange."""
        self.asked += 1
        await self.gate.wait()
        if self.error:
            raise self.error
        return Credentials(f"key {self.asked}", "s", "t", self.clock.now + 3600, self.clock.now)


@pytest.fixture
def clock() -> Clock:
    """Time that moves when told."""
    return Clock()


@pytest.fixture
async def sts(clock: Clock) -> Sts:
    """Counts exchanges."""
    return Sts(clock)


@pytest.mark.parametrize(("later", "exchanges"), [(0, 1), (3299, 1), (3301, 2), (9999, 2)])
async def test_credentials_are_renewed_five_minutes_before_they_expire(
    clock: Clock, sts: Sts, later: float, exchanges: int
) -> None:
    """A fetch must never start with credentials that end before it does."""
    cache = CredentialCache(clock)
    await cache.get(WEB, sts.exchange)
    clock.now += later
    await cache.get(WEB, sts.exchange)
    assert sts.asked == exchanges


@pytest.mark.parametrize("field", ["role", "region", "namespace", "service_account"])
async def test_identities_that_differ_in_anything_share_nothing(clock: Clock, sts: Sts, field: str) -> None:
    """Role, region, namespace and service account are all part of who somebody is."""
    cache = CredentialCache(clock)
    mine = await cache.get(WEB, sts.exchange)
    theirs = await cache.get(replace(WEB, **{field: "other"}), sts.exchange)
    assert mine is not theirs


async def test_a_failed_exchange_reaches_all_who_wait_and_is_not_kept(clock: Clock, sts: Sts) -> None:
    """An outage of STS is told to everyone once; the next fetch asks again."""
    cache = CredentialCache(clock)
    sts.error = ProviderUnavailable("down")
    results = await asyncio.gather(*(cache.get(WEB, sts.exchange) for _ in range(5)), return_exceptions=True)
    assert (sts.asked, {type(each) for each in results}) == (1, {ProviderUnavailable})
    sts.error = None
    assert (await cache.get(WEB, sts.exchange)).access_key == "key 2"


async def test_one_who_gives_up_does_not_take_the_others_along(clock: Clock, sts: Sts) -> None:
    """The exchange goes on for those who still wait."""
    cache = CredentialCache(clock)
    sts.gate.clear()
    first, second = (asyncio.create_task(cache.get(WEB, sts.exchange)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    sts.gate.set()
    assert (await second).access_key == "key 1"
    assert first.cancelled()


async def test_an_exchange_that_fails_with_nobody_waiting_is_no_surprise(clock: Clock, sts: Sts) -> None:
    """The event loop must not complain of an error that was never looked at."""
    cache = CredentialCache(clock)
    sts.gate.clear()
    sts.error = ProviderUnavailable("down")
    only = asyncio.create_task(cache.get(WEB, sts.exchange))
    await asyncio.sleep(0)
    only.cancel()
    sts.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await only
    await cache.close()


@pytest.mark.parametrize(("age", "at_once", "exchanges"), [(10, False, 1), (61, False, 2), (10, True, 2)])
async def test_denied_credentials_are_forgotten_once_they_are_old_enough(
    clock: Clock, sts: Sts, age: float, at_once: bool, exchanges: int
) -> None:
    """A pod that is denied for good must not ask STS at every try; one whose role was replaced must come through."""
    cache = CredentialCache(clock)
    found = await cache.get(WEB, sts.exchange)
    clock.now += age
    cache.forget(WEB, found, at_once=at_once)
    await cache.get(WEB, sts.exchange)
    assert sts.asked == exchanges


async def test_forgetting_old_credentials_keeps_newer_ones(clock: Clock, sts: Sts) -> None:
    """Two fetches that failed with the same credentials cost one exchange, not two."""
    cache = CredentialCache(clock)
    old = await cache.get(WEB, sts.exchange)
    cache.forget(WEB, old, at_once=True)
    new = await cache.get(WEB, sts.exchange)
    cache.forget(WEB, old, at_once=True)
    assert await cache.get(WEB, sts.exchange) is new


def test_session_names_fit_and_stay_apart() -> None:
    """STS takes 64 characters; two long names must not become one."""
    long = [session_name(replace(WEB, namespace="n" * 63, service_account=account)) for account in ("web", "api")]
    assert session_name(WEB) == "shop@web"
    assert [len(name) for name in long] == [64, 64]
    assert long[0] != long[1]


def test_pod_identity_ignores_the_role_annotation() -> None:
    """With usePodIdentity AWS knows the role; an annotation left over must not divide the cache."""
    request = ProviderRequest(
        parameters={},
        pod=Pod("shop", "web-0", "uid", "web"),
        service_account_annotations={"eks.amazonaws.com/role-arn": WEB.role},
    )
    assert identify(request, "eu-west-1", use_pod_identity=True).role == ""
    assert identify(request, "eu-west-1", use_pod_identity=False) == WEB


def test_a_denial_of_batches_is_forgotten_after_ten_minutes(clock: Clock) -> None:
    """Once the policy allows batches they must be used without a restart."""
    denials = Denials(clock)
    denials.add(WEB)
    assert denials.holds(WEB)
    assert not denials.holds(replace(WEB, role="other"))
    clock.now += 601
    assert not denials.holds(WEB)
