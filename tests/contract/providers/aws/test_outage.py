import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

import pytest

from fetcher.provider import Provider
from keyferry.errors import AccessDenied, KeyferryError, ProviderError, ProviderUnavailable, RateLimited, SecretNotFound
from keyferry.testing.aws import Aws
from keyferry.testing.proxy import CountingProxy

Opened = Callable[..., AbstractAsyncContextManager[Provider]]

SECOND = "eu-west-3"


def error(code: str) -> str:
    return f'{{"__type": "{code}", "message": "canary-message"}}'


def secret(name: str, **fields: object) -> dict[str, object]:
    return {"objectName": name, "objectType": "secretsmanager", **fields}


def parameter(name: str, **fields: object) -> dict[str, object]:
    return {"objectName": name, "objectType": "ssmparameter", **fields}


class Refusal(NamedTuple):
    """An answer of AWS, and what it must become."""

    status: int
    code: str
    kind: type[KeyferryError]


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(400, "ThrottlingException", RateLimited),
        Refusal(429, "TooManyRequestsException", RateLimited),
        Refusal(400, "AccessDeniedException", AccessDenied),
        Refusal(400, "DecryptionFailure", AccessDenied),
        Refusal(400, "ResourceNotFoundException", SecretNotFound),
        Refusal(400, "SomethingNewException", ProviderError),
        Refusal(500, "InternalServiceError", ProviderUnavailable),
        Refusal(503, "anything", ProviderUnavailable),
    ],
)
async def test_each_refusal_of_aws_has_its_meaning(
    opened: Opened, account: Any, proxy: CountingProxy, refusal: Refusal
) -> None:
    """The error names object and code; AWS's message, which may quote what was sent, stays out."""
    proxy.fail(status=refusal.status, body=error(refusal.code), match="GetSecretValue")
    async with opened(KEYFERRY_AWS_ATTEMPTS="1") as provider:
        with pytest.raises(refusal.kind, match="reading secret some/name") as refused:
            await provider.fetch(account.request(secret("some/name")))

    assert "canary-message" not in refused.value.message


async def test_throttling_passes_on_how_long_to_wait(opened: Opened, account: Any, proxy: CountingProxy) -> None:
    """A Retry-After of AWS's becomes the error's own."""
    proxy.fail(status=429, body=error("ThrottlingException"), headers={"Retry-After": "17"}, match="GetSecretValue")
    async with opened(KEYFERRY_AWS_ATTEMPTS="1") as provider:
        with pytest.raises(RateLimited) as refused:
            await provider.fetch(account.request(secret("some/name")))

    assert refused.value.retry_after == 17


async def test_a_hiccup_is_ridden_out(provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy) -> None:
    """One failed answer costs another try, not the mount."""
    await strict_aws.create_secret(account.name("db"), "value")
    proxy.fail(status=500, match="GetSecretValue", times=1)

    (found,) = await provider.fetch(account.request(secret(account.name("db"))))

    assert (found.contents, proxy.count("GetSecretValue")) == (b"value", 2)


STEPS = [
    ("AssumeRoleWithWebIdentity", "ssmparameter"),
    ("GetSecretValue", "secretsmanager"),
    ("GetParameters", "ssmparameter"),
]


@pytest.mark.parametrize(("step", "kind"), STEPS)
async def test_aws_that_is_gone_is_unavailable(
    opened: Opened, account: Any, proxy: CountingProxy, step: str, kind: str
) -> None:
    """A reset connection at any step is an outage, which kubelet may retry."""
    proxy.drop(match=step)
    async with opened(KEYFERRY_AWS_ATTEMPTS="1") as provider:
        with pytest.raises(ProviderUnavailable, match="ConnectionClosedError"):
            await provider.fetch(account.request({"objectName": "some/name", "objectType": kind}))


@pytest.mark.parametrize("case", STEPS)
@pytest.mark.parametrize("body", ["", "[]", "null", "<html>canary-message</html>", '{"Parameters": 3}', "{"])
async def test_an_answer_that_makes_no_sense_is_unavailable(
    opened: Opened, account: Any, proxy: CountingProxy, case: tuple[str, str], body: str
) -> None:
    """Whatever a middlebox answers with status 200 must not pass for a secret, nor be quoted."""
    step, kind = case
    proxy.fail(status=200, body=body, match=step)
    async with opened(KEYFERRY_AWS_ATTEMPTS="1") as provider:
        with pytest.raises(ProviderUnavailable) as refused:
            await provider.fetch(account.request({"objectName": "some/name", "objectType": kind}))

    assert "canary-message" not in refused.value.message


async def test_no_answer_is_awaited_beyond_the_deadline(provider: Provider, account: Any, proxy: CountingProxy) -> None:
    """A backend that holds its answer ends as unavailable when the mount's time is over."""
    with proxy.held("GetSecretValue"), pytest.raises(ProviderUnavailable, match="no answer in time"):
        await provider.fetch(account.request(secret("some/name"), seconds=1.0))


@pytest.fixture
async def two_regions(account: Any, strict_aws: Aws) -> tuple[str, str]:
    """A secret and a parameter that exist in both regions, with other values."""
    name, path = account.name("db"), f"/{account.name('p')}"
    for aws, value in ((strict_aws, "primary"), (account.in_region(SECOND), "standby")):
        await aws.create_secret(name, value)
        await aws.put_parameter(path, value)
    return name, path


async def test_the_primary_region_is_preferred_and_the_other_not_asked(
    provider: Provider, account: Any, proxy: CountingProxy, two_regions: tuple[str, str]
) -> None:
    """A failover region costs nothing while the primary one answers."""
    found = await provider.fetch(
        account.request(secret(two_regions[0]), parameter(two_regions[1]), failoverRegion=SECOND)
    )

    assert [each.contents for each in found] == [b"primary", b"primary"]
    assert not any(SECOND in call.headers.get("Authorization", "") for call in proxy.calls)


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_the_failover_region_answers_for_a_primary_that_cannot(
    opened: Opened, account: Any, proxy: CountingProxy, two_regions: tuple[str, str], status: int
) -> None:
    """A server error or throttling in the first region is what the second is for."""
    for target in ("GetSecretValue", "GetParameters"):
        proxy.fail(status=status, body=error("Anything"), match=target, times=1)
    async with opened(KEYFERRY_AWS_ATTEMPTS="1") as provider:
        found = await provider.fetch(
            account.request(secret(two_regions[0]), parameter(two_regions[1]), failoverRegion=SECOND)
        )

    assert [each.contents for each in found] == [b"standby", b"standby"]


async def test_the_failover_region_has_an_sts_of_its_own(
    opened: Opened, account: Any, proxy: CountingProxy, two_regions: tuple[str, str]
) -> None:
    """A region that is gone takes its STS along; the other region's gives the credentials."""
    proxy.drop(match="AssumeRoleWithWebIdentity", times=1)
    async with opened(KEYFERRY_AWS_ATTEMPTS="1") as provider:
        (found,) = await provider.fetch(account.request(secret(two_regions[0]), failoverRegion=SECOND))

    assert found.contents == b"standby"


async def test_a_primary_that_is_silent_leaves_time_for_the_other(
    provider: Provider, account: Any, proxy: CountingProxy, two_regions: tuple[str, str]
) -> None:
    """Half of the mount's time belongs to the failover region."""
    request = account.request(secret(two_regions[0]), failoverRegion=SECOND, seconds=4.0)
    with proxy.held("GetSecretValue"):
        fetching = asyncio.create_task(provider.fetch(request))
        await proxy.arrived(2, "GetSecretValue")

    (found,) = await fetching

    assert found.contents == b"standby"


@pytest.mark.parametrize(
    "refusal",
    [Refusal(400, "ResourceNotFoundException", SecretNotFound), Refusal(400, "AccessDeniedException", AccessDenied)],
)
async def test_a_refusal_of_the_primary_region_is_final(
    opened: Opened, account: Any, proxy: CountingProxy, two_regions: tuple[str, str], refusal: Refusal
) -> None:
    """A missing secret or permission must not be papered over by another region's value."""
    proxy.fail(status=400, body=error(refusal.code), match="GetSecretValue", times=1)
    async with opened(KEYFERRY_AWS_ATTEMPTS="1") as provider:
        with pytest.raises(refusal.kind):
            await provider.fetch(account.request(secret(two_regions[0]), failoverRegion=SECOND))

    assert proxy.count("GetSecretValue") == 1


async def test_a_refusal_of_the_failover_region_fails_the_mount_and_tells_both_stories(
    opened: Opened, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """Whoever reads the message must learn that the primary region is down and the other has no such secret."""
    await strict_aws.create_secret(account.name("only-here"), "value")
    proxy.fail(status=500, match="GetSecretValue", times=1)
    async with opened(KEYFERRY_AWS_ATTEMPTS="1") as provider:
        with pytest.raises(SecretNotFound) as refused:
            await provider.fetch(account.request(secret(account.name("only-here")), failoverRegion=SECOND))

    assert strict_aws.region in refused.value.message
    assert f"in the failover region: reading secret {account.name('only-here')} in {SECOND}" in refused.value.message


async def test_the_failover_object_is_read_in_the_failover_region(
    opened: Opened, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """The standby may have another name, even a full ARN of the other region."""
    await strict_aws.create_secret(account.name("db"), "primary")
    arn = await account.in_region(SECOND).create_secret(account.name("db-standby"), "standby")
    entry = secret(account.name("db"), objectAlias="db", failoverObject={"objectName": arn})
    proxy.fail(status=500, match="GetSecretValue", times=1)
    async with opened(KEYFERRY_AWS_ATTEMPTS="1") as provider:
        (from_standby,) = await provider.fetch(account.request(entry, failoverRegion=SECOND))
        (from_primary,) = await provider.fetch(account.request(entry, failoverRegion=SECOND))

    assert (from_standby.path, from_standby.contents) == ("db", b"standby")
    assert (from_primary.path, from_primary.contents) == ("db", b"primary")


async def test_a_big_class_fails_over_as_a_whole(
    opened: Opened, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """All parameters come from the same region, even if only one batch of the primary's failed."""
    names = [f"/{account.name(f'p{i}')}" for i in range(15)]
    for name in names:
        await strict_aws.put_parameter(name, "primary")
        await account.in_region(SECOND).put_parameter(name, "standby")
    proxy.fail(status=500, match="GetParameters", times=1)
    async with opened(KEYFERRY_AWS_ATTEMPTS="1") as provider:
        found = await provider.fetch(account.request(*map(parameter, names), failoverRegion=SECOND))

    assert {each.contents for each in found} == {b"standby"}


async def test_without_failover_region_an_outage_is_an_outage(
    opened: Opened, account: Any, proxy: CountingProxy, two_regions: tuple[str, str]
) -> None:
    """The other region is asked only where the class names it."""
    proxy.fail(status=500, match="GetSecretValue", times=1)
    async with opened(KEYFERRY_AWS_ATTEMPTS="1") as provider:
        with pytest.raises(ProviderUnavailable):
            await provider.fetch(account.request(secret(two_regions[0])))
