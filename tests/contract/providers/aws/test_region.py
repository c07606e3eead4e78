from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest

from fetcher.provider import Provider, scope_of
from keyferry.errors import InvalidSecretProviderClass
from keyferry.testing.proxy import CountingProxy

Opened = Callable[..., AbstractAsyncContextManager[Provider]]
ELSEWHERE = "eu-west-3"


def secret(name: str) -> dict[str, object]:
    return {"objectName": name, "objectType": "secretsmanager", "objectAlias": "db"}


async def test_a_class_without_region_reads_where_its_node_is(
    opened: Opened, account: Any, proxy: CountingProxy
) -> None:
    """Nodes of two regions can share a class: each pod's secrets are those of its own region."""
    await account.in_region(ELSEWHERE).create_secret(account.name("db"), "elsewhere")
    await account.in_region("eu-central-1").create_secret(account.name("db"), "here")
    request = account.request(secret(account.name("db")))
    async with opened(AWS_REGION="") as provider:
        assert scope_of(provider, request.parameters).by_region
        (far,) = await provider.fetch(replace(request, region=ELSEWHERE))
        (near,) = await provider.fetch(replace(request, region="eu-central-1"))

    assert (far.contents, near.contents) == (b"elsewhere", b"here")
    assert f"/{ELSEWHERE}/secretsmanager/" in next(
        call.headers["Authorization"] for call in proxy.calls if call.matches("GetSecretValue")
    )


async def test_the_class_and_the_operator_go_before_the_node(opened: Opened, account: Any) -> None:
    """Where they name a region the node's is not asked for, and not used."""
    await account.in_region(ELSEWHERE).create_secret(account.name("db"), "elsewhere")
    request = account.request(secret(account.name("db")))
    by_class = account.request(secret(account.name("db")), region=ELSEWHERE)
    async with opened(AWS_REGION="") as provider:
        assert not scope_of(provider, by_class.parameters).by_region
        (one,) = await provider.fetch(replace(by_class, region="ap-south-1"))
    async with opened(AWS_REGION=ELSEWHERE) as provider:
        assert not scope_of(provider, request.parameters).by_region
        (two,) = await provider.fetch(replace(request, region="ap-south-1"))

    assert (one.contents, two.contents) == (b"elsewhere", b"elsewhere")


@pytest.mark.parametrize(("region", "message"), [("", "region is not set"), ("no region", "is not a region")])
async def test_without_a_usable_region_nothing_is_asked(
    opened: Opened, account: Any, proxy: CountingProxy, region: str, message: str
) -> None:
    """The message names the three places where a region can come from."""
    async with opened(AWS_REGION="") as provider:
        with pytest.raises(InvalidSecretProviderClass, match=message):
            await provider.fetch(replace(account.request(secret("any")), region=region))

    assert proxy.calls == []
