"""What Google's bad days mean to a mount, and that no attempt outlives it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from fetcher.provider import Provider, ProviderRequest, Secret
from keyferry.errors import AccessDenied, InvalidSecretProviderClass, KeyferryError, ProviderUnavailable, RateLimited
from keyferry.testing.gcp import Fault

if TYPE_CHECKING:
    from tests.contract.providers.gcp.conftest import Tenant

Code = grpc.StatusCode

ACCESS = "AccessSecretVersion"
ACCOUNT = "app@demo.iam.gserviceaccount.com"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(code=Code.UNAVAILABLE),
        Fault(code=Code.INTERNAL),
        Fault(code=Code.DEADLINE_EXCEEDED),
        Fault(code=Code.UNKNOWN),
        Fault(wrong_checksum=True),
        Fault(malformed=True),
    ],
    ids=repr,
)
async def test_a_passing_failure_is_not_seen(
    provider: Provider, tenant: Tenant, db: dict[str, str], fault: Fault
) -> None:
    """Another try is made; contents that broke on the way never reach a file."""
    tenant.gcp.faults.once(ACCESS, fault)

    (found,) = await provider.fetch(tenant.asks(db))

    assert found.contents == b"horse"
    assert tenant.gcp.faults.count(ACCESS) == 2


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(code=Code.UNAVAILABLE), r"cannot be reached or failed \(UNAVAILABLE\)"),
        (Fault(code=Code.INTERNAL), r"\(INTERNAL\)"),
        (Fault(code=Code.DEADLINE_EXCEEDED), "no answer in time"),
        (Fault(wrong_checksum=True), "do not match their checksum"),
        (Fault(malformed=True), "makes no sense"),
    ],
    ids=repr,
)
async def test_a_lasting_failure_is_unavailable_after_three_tries(
    provider: Provider, tenant: Tenant, db: dict[str, str], fault: Fault, words: str
) -> None:
    """The text names the secret and whose pod it was; all is well as soon as Google is."""
    tenant.gcp.faults.always(ACCESS, fault)

    with pytest.raises(ProviderUnavailable, match=f"reading secret .*/db/versions/latest as .*shop/web: .*{words}"):
        await provider.fetch(tenant.asks(db))

    assert tenant.gcp.faults.count(ACCESS) == 3
    tenant.gcp.faults.mend()
    assert await provider.fetch(tenant.asks(db))


async def test_throttling_is_not_answered_by_more_calls(provider: Provider, tenant: Tenant, db: dict[str, str]) -> None:
    """The pause that Google asks for goes to kubelet; without one it is ours."""
    tenant.gcp.faults.once(
        ACCESS, Fault(code=Code.RESOURCE_EXHAUSTED, retry_after=17.5), Fault(code=Code.RESOURCE_EXHAUSTED)
    )

    for pause in (17.5, RateLimited.retry_after):
        with pytest.raises(RateLimited) as refused:
            await provider.fetch(tenant.asks(db))
        assert refused.value.retry_after == pause
    assert tenant.gcp.faults.count(ACCESS) == 2


async def test_a_name_that_google_refuses_is_the_classes(
    provider: Provider, tenant: Tenant, db: dict[str, str]
) -> None:
    """It is not tried again, nor by kubelet before someone mends it."""
    tenant.gcp.faults.always(ACCESS, Fault(code=Code.INVALID_ARGUMENT, retry_after=3))

    with pytest.raises(InvalidSecretProviderClass, match="resourceName") as refused:
        await provider.fetch(tenant.asks(db))

    assert refused.value.retry_after is None
    assert tenant.gcp.faults.count(ACCESS) == 1


async def test_no_attempt_outlives_the_deadline(provider: Provider, tenant: Tenant, db: dict[str, str]) -> None:
    """Each call carries what is left, and none is made after it."""
    await provider.fetch(tenant.asks(db))
    tenant.gcp.faults.always(ACCESS, Fault(seconds=60))

    with pytest.raises(ProviderUnavailable, match="in time"):
        await provider.fetch(tenant.asks(db, seconds=0.5))

    calls = [call for call in tenant.gcp.faults.calls if call.method == ACCESS][1:]
    assert len(calls) == 1
    assert calls[0].seconds_left is not None
    assert calls[0].seconds_left < 1.0  # gRPC rounds up


async def test_a_deadline_that_has_passed_asks_nobody(provider: Provider, tenant: Tenant, db: dict[str, str]) -> None:
    """Kubelet has given up already."""
    await provider.fetch(tenant.asks(db))
    tenant.gcp.faults.calls.clear()

    with pytest.raises(ProviderUnavailable):
        await provider.fetch(tenant.asks(db, seconds=-1))

    assert not tenant.gcp.faults.calls


async def test_a_slow_try_gives_way_to_another(opened: Callable[..., Any], tenant: Tenant, db: dict[str, str]) -> None:
    """One lost answer must not cost the mount."""
    tenant.gcp.faults.once(ACCESS, Fault(seconds=60))

    async with opened(KEYFERRY_GCP_TIMEOUT="300ms") as provider:
        (found,) = await provider.fetch(tenant.asks(db))

    assert found.contents == b"horse"


async def test_a_passing_failure_does_not_hide_what_only_people_can_mend(provider: Provider, tenant: Tenant) -> None:
    """Of several the permanent one is told: trying again would not help."""
    denied = tenant.put("other", b"1", readable=False)
    throttled = "projects/demo/locations/global/parameters/app/versions/v1"
    tenant.gcp.faults.always("RenderParameterVersion", Fault(code=Code.RESOURCE_EXHAUSTED))

    with pytest.raises(AccessDenied) as refused:
        await provider.fetch(
            tenant.asks(
                {"resourceName": throttled, "path": "app"}, {"resourceName": f"{denied}/versions/1", "path": "other"}
            )
        )

    assert "secrets/other/versions/1" in refused.value.message
    assert "fewer calls" not in refused.value.message


async def test_an_outage_ends_when_google_is_back(provider: Provider, tenant: Tenant, db: dict[str, str]) -> None:
    """The kept connection is found broken, and a new one made within seconds rather than minutes."""
    await provider.fetch(tenant.asks(db))
    await tenant.gcp.stop()
    with pytest.raises(ProviderUnavailable):
        await provider.fetch(tenant.asks(db, seconds=1))
    await tenant.gcp.start()

    assert (await _insistently(provider, tenant.asks(db)))[0].contents == b"horse"


async def _insistently(provider: Provider, request: ProviderRequest) -> Sequence[Secret]:
    """What the provider gives once it gives something; fails after the request's deadline."""
    while True:
        try:
            return await provider.fetch(request)
        except ProviderUnavailable:
            if not request.seconds_left():
                raise
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("method", ["identitybindingtoken", "generateAccessToken"])
async def test_a_passing_failure_of_an_exchange_is_not_seen(
    provider: Provider, tenant: Tenant, db: dict[str, str], method: str
) -> None:
    """As with reads."""
    account = tenant.gcp.identities.create_account(ACCOUNT)["client_email"]
    tenant.gcp.policies.allow(tenant.member, f"serviceAccounts/{account}", "roles/iam.workloadIdentityUser")
    tenant.gcp.policies.allow(f"serviceAccount:{account}", "projects/demo", "roles/secretmanager.secretAccessor")
    tenant.gcp.faults.once(method, Fault(status=503))

    found = await provider.fetch(tenant.asks(db, annotations={"iam.gke.io/gcp-service-account": account}))

    assert found[0].contents == b"horse"
    assert tenant.gcp.faults.count(method) == 2


@pytest.mark.parametrize(
    "case",
    [
        (Fault(status=503), ProviderUnavailable, r"failed \(503\)"),
        (Fault(status=429, retry_after=9), RateLimited, "fewer calls"),
        (Fault(malformed=True), ProviderUnavailable, "holds no token"),
    ],
    ids=repr,
)
async def test_a_lasting_failure_of_the_exchange_is_told(
    provider: Provider, tenant: Tenant, db: dict[str, str], case: tuple[Fault, type[KeyferryError], str]
) -> None:
    """In upstream's words, and then what it was; it is no denial, so that kubelet tries again."""
    fault, error, words = case
    tenant.gcp.faults.always("identitybindingtoken", fault)

    with pytest.raises(error, match=f"unable to obtain auth for mount: .*{words}") as refused:
        await provider.fetch(tenant.asks(db))

    assert refused.value.retry_after == (fault.retry_after or error.retry_after)


async def test_an_exchange_that_hangs_ends_with_the_mount(
    provider: Provider, tenant: Tenant, db: dict[str, str]
) -> None:
    """Others who wait for the same exchange still get their token."""
    tenant.gcp.faults.once("identitybindingtoken", Fault(seconds=1))

    hasty = asyncio.create_task(provider.fetch(tenant.asks(db, seconds=0.2)))
    patient = asyncio.create_task(provider.fetch(tenant.asks(db)))

    with pytest.raises(ProviderUnavailable, match="in time"):
        await hasty
    assert (await patient)[0].contents == b"horse"
    assert tenant.gcp.faults.count("identitybindingtoken") == 1


async def test_what_answers_in_googles_place_is_not_taken_for_it(
    opened: Callable[..., Any], tenant: Tenant, db: dict[str, str]
) -> None:
    """A proxy's 404 is no denial."""
    async with opened(GAIA_TOKEN_EXCHANGE_ENDPOINT=f"{tenant.gcp.url}/elsewhere") as provider:
        with pytest.raises(ProviderUnavailable, match=r"the answer \(404\) is none of Google's"):
            await provider.fetch(tenant.asks(db))
