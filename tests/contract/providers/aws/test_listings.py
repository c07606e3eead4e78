from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from fetcher.provider import Provider
from keyferry.errors import KeyferryError, ProviderUnavailable, RateLimited, SecretNotFound
from keyferry.testing.proxy import CountingProxy

Opened = Callable[..., AbstractAsyncContextManager[Provider]]

THROTTLED = '{"__type": "ThrottlingException", "message": "canary-message"}'

LISTINGS = [
    ("ListSecrets", {"objectType": "secretsmanager", "selectPrefix": "a/"}),
    ("GetParametersByPath", {"objectType": "ssmparameter", "selectPrefix": "/a/"}),
    ("DescribeParameters", {"objectType": "ssmparameter", "selectPrefix": "/a"}),
]


@pytest.mark.parametrize(("operation", "entry"), LISTINGS)
async def test_a_listing_that_is_throttled_says_how_long_to_wait(
    opened: Opened, account: Any, proxy: CountingProxy, operation: str, entry: dict[str, object]
) -> None:
    """Selections are not read in part, and not tried on past AWS's word."""
    proxy.fail(status=400, body=THROTTLED, headers={"Retry-After": "17"}, match=operation)
    async with opened(KEYFERRY_AWS_ATTEMPTS="1") as provider:
        with pytest.raises(RateLimited, match=operation) as refused:
            await provider.fetch(account.request(entry))

    assert refused.value.retry_after == 17
    assert "canary-message" not in refused.value.message


@pytest.mark.parametrize(("operation", "entry"), LISTINGS)
async def test_a_listing_is_ridden_out_and_ends_at_the_deadline(
    provider: Provider, account: Any, proxy: CountingProxy, operation: str, entry: dict[str, object]
) -> None:
    """One hiccup costs another try; a silent listing ends with the mount's time."""
    proxy.fail(status=500, match=operation, times=1)
    with pytest.raises(SecretNotFound):
        await provider.fetch(account.request(entry))
    with proxy.held(operation), pytest.raises(ProviderUnavailable, match="no answer in time"):
        await provider.fetch(account.request(entry, seconds=1.0))

    assert proxy.count(operation) == 3


@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize(
    "body",
    [
        "null",
        "<html>canary-message</html>",
        '{"SecretList": 3, "Parameters": 3}',
        '{"SecretList": [3], "Parameters": [3]}',
        '{"SecretList": [{}], "Parameters": [{}], "NextToken": "same"}',
        '{"SecretList": [{"Name": "a/x", "Tags": 3}], "Parameters": [{"Name": "/a/x"}], "NextToken": {}}',
    ],
)
async def test_a_listing_that_makes_no_sense_is_not_a_selection(
    opened: Opened, account: Any, proxy: CountingProxy, listing: tuple[str, dict[str, object]], body: str
) -> None:
    """Whatever is answered with status 200, it ends, as one of our errors that quotes nothing."""
    operation, entry = listing
    proxy.fail(status=200, body=body, match=operation)
    async with opened(KEYFERRY_AWS_ATTEMPTS="1") as provider:
        with pytest.raises(KeyferryError) as refused:
            await provider.fetch(account.request(entry))

    assert "canary-message" not in refused.value.message
    assert proxy.count(operation) <= 2
