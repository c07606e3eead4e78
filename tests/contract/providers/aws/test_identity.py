import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest

from fetcher.provider import Provider
from keyferry.errors import AccessDenied, InvalidSecretProviderClass
from keyferry.resources import Pod
from keyferry.testing.aws import Aws
from keyferry.testing.proxy import CountingProxy

STS = "AssumeRoleWithWebIdentity"


def secret(name: str) -> dict[str, object]:
    return {"objectName": name, "objectType": "secretsmanager"}


async def test_two_fetches_cost_one_exchange(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """Credentials are kept for the service account, whichever pod comes next."""
    await strict_aws.create_secret(account.name("db"), "value")
    request = account.request(secret(account.name("db")))

    await provider.fetch(request)
    await provider.fetch(replace(request, pod=replace(account.pod, name="web-1", uid="another")))

    assert (proxy.count(STS), proxy.count("GetSecretValue")) == (1, 2)


async def test_fetches_at_the_same_time_share_one_exchange(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """A deployment that starts asks STS once."""
    await strict_aws.create_secret(account.name("db"), "value")
    with proxy.held(STS):
        fetches = [asyncio.create_task(provider.fetch(account.request(secret(account.name("db"))))) for _ in range(8)]
        await proxy.arrived(1, STS)
        fetches[0].cancel()

    results = await asyncio.gather(*fetches[1:])

    assert {each.contents for found in results for each in found} == {b"value"}
    assert proxy.count(STS) == 1


async def test_another_service_account_gets_its_own_credentials(
    provider: Provider, make_account: Callable[..., Awaitable[Any]], strict_aws: Aws, proxy: CountingProxy
) -> None:
    """What one account may read another must not, even through the same connections."""
    arn = await strict_aws.create_secret("identity/theirs", "value")
    reader, stranger = await make_account(), await make_account(resources=["arn:aws:secretsmanager:*:*:secret:x"])

    await provider.fetch(reader.request({"objectName": arn}))
    with pytest.raises(AccessDenied):
        await provider.fetch(stranger.request({"objectName": arn}))

    keys = {call.headers["Authorization"].split("/")[0] for call in proxy.calls if "GetSecretValue" in call.target}
    assert (proxy.count(STS), len(keys)) == (2, 2)


async def test_a_token_of_another_subject_is_refused(provider: Provider, account: Any, proxy: CountingProxy) -> None:
    """STS enforces the role's trust policy; the refusal names role and service account, never the token."""
    token = account.token("sts.amazonaws.com", subject="system:serviceaccount:other:web")

    with pytest.raises(AccessDenied) as refused:
        await provider.fetch(account.request(secret("any"), tokens={"sts.amazonaws.com": token}))

    message = refused.value.message
    assert account.role in message
    assert f"service account {account.pod.namespace}/web" in message
    assert "trust policy" in message
    assert token not in message
    assert proxy.count("GetSecretValue") == 0


async def test_a_service_account_without_role_is_refused_in_upstreams_words(
    provider: Provider, account: Any, proxy: CountingProxy
) -> None:
    """People grep for this text."""
    with pytest.raises(AccessDenied) as refused:
        await provider.fetch(account.request(secret("any"), annotations={}))

    assert (
        f"An IAM role must be associated with service account web (namespace: {account.pod.namespace})"
        in refused.value.message
    )
    assert proxy.calls == []


async def test_an_annotation_that_is_no_role_is_refused(provider: Provider, account: Any) -> None:
    """A typing error in the annotation must be found from the message."""
    with pytest.raises(AccessDenied, match=r"eks.amazonaws.com/role-arn is no ARN of a role"):
        await provider.fetch(account.request(secret("any"), annotations={"eks.amazonaws.com/role-arn": "web-reader"}))


async def test_a_pod_without_the_audience_is_told_what_to_configure(
    provider: Provider, account: Any, proxy: CountingProxy
) -> None:
    """The CSIDriver object must request tokens for sts.amazonaws.com."""
    with pytest.raises(InvalidSecretProviderClass, match=r'audience "sts.amazonaws.com".* tokenRequests'):
        await provider.fetch(account.request(secret("any"), tokens={"other": "x"}))

    assert proxy.calls == []


async def test_the_fetchers_own_credentials_are_never_used(
    opened: Callable[..., AbstractAsyncContextManager[Provider]],
    account: Any,
    strict_aws: Aws,
    proxy: CountingProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Keys in the fetcher's environment, which may do everything here, sign nothing: a pod has its own or none."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    await strict_aws.create_secret(account.name("db"), "value")
    async with opened() as provider:
        await provider.fetch(account.request(secret(account.name("db"))))
        with pytest.raises(AccessDenied):
            await provider.fetch(account.request(secret(account.name("db")), annotations={}))

    signed = {call.target: call.headers.get("Authorization", "") for call in proxy.calls}
    assert signed[STS] == ""
    assert signed["secretsmanager.GetSecretValue"].startswith("AWS4-HMAC-SHA256 Credential=ASIA")
    assert not any("Credential=test/" in value for value in signed.values())


async def test_after_a_denial_a_changed_role_takes_effect(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """Credentials that AWS no longer knows are forgotten at once, so that the next try has new ones."""
    await strict_aws.create_secret(account.name("db"), "value")
    await provider.fetch(account.request(secret(account.name("db"))))
    proxy.fail(status=400, body='{"__type": "UnrecognizedClientException"}', match="GetSecretValue", times=1)

    with pytest.raises(AccessDenied, match="UnrecognizedClientException"):
        await provider.fetch(account.request(secret(account.name("db"))))
    (found,) = await provider.fetch(account.request(secret(account.name("db"))))

    assert (found.contents, proxy.count(STS)) == (b"value", 2)


async def test_sessions_are_named_for_the_service_account(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """CloudTrail must show who read; STS takes 64 characters."""
    await strict_aws.create_secret(account.name("db"), "value")
    long = Pod(account.pod.namespace, "p", "u", "web." + "x" * 80)

    await provider.fetch(account.request(secret(account.name("db"))))
    await provider.fetch(replace(account.request(secret(account.name("db"))), pod=long))

    sent = [call.body.decode() for call in proxy.calls if call.target == STS]
    names = [dict(part.split("=") for part in body.split("&"))["RoleSessionName"] for body in sent]
    assert names[0] == f"{account.pod.namespace}%40web"
    assert len(names[1].replace("%40", "@")) == 64
