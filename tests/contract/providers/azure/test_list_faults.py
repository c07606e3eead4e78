"""What Azure's bad days mean to lists: of a vault's objects, and of an object's versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from fetcher.provider import Provider
from keyferry.errors import ProviderError, ProviderUnavailable, RateLimited
from keyferry.testing.azure import Fault

if TYPE_CHECKING:
    from tests.contract.providers.azure.conftest import Tenant

LIST = "list secrets"
SELECTING: dict[str, Any] = {"selectPrefix": "shop-", "objectAlias": "shop"}
HISTORY: dict[str, Any] = {"objectName": "shop-0", "objectVersionHistory": 2}
WAYS = pytest.mark.parametrize("entry", [SELECTING, HISTORY], ids=["objects", "versions"])


def listing(value: Any, link: Any = None) -> Fault:
    """A list that holds something else than it should."""
    return Fault(body={"value": value, "nextLink": link})


def about(**more: Any) -> Fault:
    """A list of one item."""
    usual = {"id": f"https://localhost/secrets/shop-0/{'0' * 32}", "attributes": {"enabled": True, "created": 1}}
    return listing([{**usual, **more}])


ODD = [
    Fault(status=500),
    Fault(status=408),
    Fault(malformed=True),
    Fault(malformed=True, status=502),
    Fault(cut=True),
    Fault(body=[]),
    Fault(body="x"),
    Fault(status=404, body="<html>"),
    Fault(status=302, headers=(("Location", "/vaults/shop-vault/secrets"),)),
    listing("x"),
    listing({"a": 1}),
    listing(["x"]),
    listing([None]),
    listing([], link=7),
    listing([], link="/vaults/shop-vault/secrets?api-version=7.5"),
    listing([], link="https://elsewhere.example/secrets"),
    listing([], link="https://localhost:1/secrets"),
    listing([], link="http://localhost/secrets"),
    listing([], link="https://localhost:x/secrets"),
    about(id=None),
    about(id=7),
    about(id="nowhere"),
    about(id="https://localhost/secrets/..%2fx/1"),
    about(id="https://localhost/secrets/a b/1"),
    about(attributes={"created": 10**30}),
    about(attributes={"created": "yesterday"}),
    about(tags="x"),
    about(tags=["x"]),
]


@pytest.fixture
def many(tenant: Tenant) -> Tenant:
    """A vault whose objects, and one of whose objects' versions, fill three pages."""
    for number in range(60):
        tenant.vault.set_secret(f"shop-{number}", str(number))
        tenant.vault.set_secret("shop-0", str(number))
    return tenant


@WAYS
@pytest.mark.parametrize("page", [1, 2, 3])
async def test_a_passing_failure_costs_one_more_call(
    provider: Provider, many: Tenant, entry: dict[str, Any], page: int
) -> None:
    """Of the page that failed, not of those before it; nothing is twice in the list, and nothing lost."""
    many.azure.faults.once(LIST, *[Fault()] * (page - 1), Fault(status=503))

    found = await provider.fetch(many.asks(entry))

    assert len(found) == (2 if entry is HISTORY else 60)
    assert many.azure.faults.count(LIST) == 4


@WAYS
@pytest.mark.parametrize("fault", ODD, ids=repr)
async def test_a_lasting_failure_is_unavailable(
    opened: Callable[..., Any], tenant: Tenant, entry: dict[str, Any], fault: Fault
) -> None:
    """What makes no sense is no empty list, also where an empty one would do; all is well as soon as Azure is."""
    tenant.vault.set_secret("shop-0", "horse")
    tenant.azure.faults.always(LIST, fault)
    words = r"failed to list objectType:secret.* of vault shop-vault"

    async with opened(KEYFERRY_AZURE_ATTEMPTS="1") as provider:
        with pytest.raises(ProviderUnavailable, match=words) as refused:
            await provider.fetch(tenant.asks({**entry, "optional": True}))
        tenant.azure.faults.mend()

        assert (refused.value.__cause__, refused.value.__context__) == (None, None)
        assert await provider.fetch(tenant.asks(entry))


@WAYS
async def test_a_list_is_tried_three_times(provider: Provider, tenant: Tenant, entry: dict[str, Any]) -> None:
    """As every other call."""
    tenant.azure.faults.always(LIST, Fault(status=500))

    with pytest.raises(ProviderUnavailable, match="the vault failed"):
        await provider.fetch(tenant.asks(entry))

    assert tenant.azure.faults.count(LIST) == 3


@pytest.mark.parametrize("status", [400, 404])
async def test_a_refused_list_is_not_the_classs_fault(provider: Provider, tenant: Tenant, status: int) -> None:
    """It names nothing that could be wrong or missing."""
    tenant.azure.faults.always(LIST, Fault(status=status, code="BadParameter"))

    with pytest.raises(ProviderUnavailable, match="the vault does not list what it has"):
        await provider.fetch(tenant.asks({**SELECTING, "optional": True}))


@WAYS
async def test_throttling_within_a_list_is_not_answered_by_more_calls(
    provider: Provider, many: Tenant, entry: dict[str, Any]
) -> None:
    """The pause goes to kubelet, or to the budget of the vault."""
    many.azure.faults.once(LIST, Fault(), Fault(status=429, code="Throttled", retry_after=17))

    with pytest.raises(RateLimited, match="asks for fewer calls") as refused:
        await provider.fetch(many.asks(entry))

    assert refused.value.retry_after == 17
    assert many.azure.faults.count(LIST) == 2


async def test_throttling_while_a_selection_is_read_is_told(provider: Provider, many: Tenant) -> None:
    """With the pause, and no part of the class."""
    many.azure.faults.always("get secrets", Fault(status=429, code="Throttled", retry_after=17))

    with pytest.raises(RateLimited) as refused:
        await provider.fetch(many.asks(SELECTING))

    assert refused.value.retry_after == 17


@WAYS
async def test_each_page_has_its_own_time(opened: Callable[..., Any], many: Tenant, entry: dict[str, Any]) -> None:
    """A long list is no slow call."""
    many.azure.faults.always(LIST, Fault(seconds=0.4))

    async with opened(KEYFERRY_AZURE_TIMEOUT="1s", KEYFERRY_AZURE_ATTEMPTS="1") as provider:
        assert await provider.fetch(many.asks(entry))


@WAYS
async def test_no_list_outlives_the_deadline(provider: Provider, many: Tenant, entry: dict[str, Any]) -> None:
    """Whatever is left of its pages."""
    await provider.fetch(many.asks({"objectName": "shop-1"}))
    many.azure.faults.once(LIST, Fault())
    many.azure.faults.always(LIST, Fault(seconds=60))

    with pytest.raises(ProviderUnavailable, match="in time"):
        await provider.fetch(many.asks(entry, seconds=0.5))

    assert many.azure.faults.count(LIST) == 2


@WAYS
async def test_a_list_without_an_end_is_given_up(provider: Provider, tenant: Tenant, entry: dict[str, Any]) -> None:
    """Links that lead round in circles must not keep a fetcher busy until the deadline."""
    link = f"{tenant.azure.url}/vaults/shop-vault/secrets?api-version=7.5&$skiptoken=x"
    item = {"id": f"https://localhost/secrets/shop-0/{'0' * 32}", "attributes": {"enabled": True, "created": 1}}
    tenant.azure.faults.always(LIST, listing([item] * 1000, link))

    with pytest.raises(ProviderError, match=r"failed to list .*: there are more than (2000|25000) of them") as refused:
        await provider.fetch(tenant.asks(entry))

    assert (refused.value.code, refused.value.retry_after) == ("FAILED_PRECONDITION", None)


async def test_a_token_that_is_revoked_within_a_list_is_replaced(provider: Provider, many: Tenant) -> None:
    """The list goes on where it was."""
    await provider.fetch(many.asks({"objectName": "shop-1"}))
    many.azure.directory.revoke()

    assert len(await provider.fetch(many.asks(SELECTING))) == 60
    assert many.azure.faults.count("token") == 2


async def test_links_lead_to_no_other_host(provider: Provider, tenant: Tenant) -> None:
    """Nor to another port of the same one: no answer may point the fetcher at what only it can reach."""
    tenant.vault.set_secret("shop-0", "horse")
    tenant.azure.faults.always(LIST, listing([], tenant.azure.metadata_url.replace("http:", "https:")))

    with pytest.raises(ProviderUnavailable, match="makes no sense"):
        await provider.fetch(tenant.asks(SELECTING))

    assert {call.operation for call in tenant.azure.faults.calls} == {"token", LIST}
