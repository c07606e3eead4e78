import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fetcher.provider import Provider
from keyferry.errors import AccessDenied, ContentTooLarge, InvalidSecretProviderClass
from keyferry.testing.aws import Aws
from keyferry.testing.proxy import CountingProxy


def secrets(prefix: str) -> dict[str, object]:
    return {"objectType": "secretsmanager", "selectPrefix": prefix}


def parameters(prefix: str) -> dict[str, object]:
    return {"objectType": "ssmparameter", "selectPrefix": prefix}


@pytest.mark.parametrize(
    ("entry", "allowed", "action"),
    [
        (secrets("a/"), "secretsmanager:GetSecretValue", "secretsmanager:ListSecrets"),
        (parameters("/a/"), "ssm:GetParameters", "ssm:GetParametersByPath"),
        (parameters("/a"), "ssm:GetParameters", "ssm:DescribeParameters"),
    ],
)
async def test_a_role_that_may_not_list_is_told_the_action(
    provider: Provider,
    make_account: Callable[..., Awaitable[Any]],
    entry: dict[str, object],
    allowed: str,
    action: str,
) -> None:
    """Listing takes a permission that reading does not: the message must name it, also where the entry is optional."""
    account = await make_account(actions=[allowed])

    with pytest.raises(AccessDenied, match=f"allow {action} to it") as refused:
        await provider.fetch(account.request({**entry, "optional": True}))

    assert account.role in refused.value.message


async def test_a_selected_secret_that_is_denied_is_an_error(
    provider: Provider, make_account: Callable[..., Awaitable[Any]], strict_aws: Aws
) -> None:
    """A volume never has a part of what its class selects: the one that the role may not read is named."""
    arn = await strict_aws.create_secret("select-denied/mine", "value")
    await strict_aws.create_secret("select-denied/theirs", "value")
    account = await make_account(actions=["secretsmanager:GetSecretValue"], resources=[arn])
    policy = {"Effect": "Allow", "Action": ["secretsmanager:ListSecrets"], "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [policy]})
    name = account.role.rpartition("/")[2]
    await strict_aws.call(
        "iam", lambda client: client.put_role_policy(RoleName=name, PolicyName="list", PolicyDocument=document)
    )

    with pytest.raises(AccessDenied, match="reading secret select-denied/theirs") as refused:
        await provider.fetch(account.request(secrets("select-denied/")))

    assert "select-denied/mine" not in refused.value.message


async def test_more_than_a_volume_is_meant_for_is_refused(
    provider: Provider, account: Any, proxy: CountingProxy
) -> None:
    """A careless prefix must not fetch an account's every secret: nothing is read."""
    page = {"SecretList": [{"Name": f"a/{i}"} for i in range(1001)]}
    proxy.fail(status=200, body=json.dumps(page), match="ListSecrets")

    with pytest.raises(ContentTooLarge, match="more than 1000 match"):
        await provider.fetch(account.request(secrets("a/")))

    assert proxy.count("GetSecretValue") == 0


@pytest.mark.parametrize("name", ["a/../../etc", "a/..data", "a/x//y", "a/" + "x" * 300])
async def test_a_selected_name_that_makes_no_file_is_refused(
    provider: Provider, account: Any, proxy: CountingProxy, name: str
) -> None:
    """Whoever may name secrets must not be able to leave the volume."""
    proxy.fail(status=200, body=json.dumps({"SecretList": [{"Name": name}]}), match="ListSecrets")

    with pytest.raises(InvalidSecretProviderClass, match=r"objects\[0\] selects a/"):
        await provider.fetch(account.request(secrets("a/"), pathTranslation="False"))

    assert proxy.count("GetSecretValue") == 0


async def test_a_selected_file_below_another_is_refused(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """AWS takes both `a` and `a/b`; a directory does not."""
    for name in ("a", "a/b"):
        await strict_aws.create_secret(account.name(name), name)

    with pytest.raises(InvalidSecretProviderClass, match="file a/b would lie below a"):
        await provider.fetch(account.request(secrets(account.name("")), pathTranslation="False"))
