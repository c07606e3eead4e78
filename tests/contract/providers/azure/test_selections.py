"""Objects that a class names by what they have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from fetcher.provider import Answer, Provider
from keyferry.errors import AccessDenied, InvalidSecretProviderClass, SecretNotFound
from keyferry.testing.azure import Fault

if TYPE_CHECKING:
    from tests.contract.providers.azure.conftest import Tenant

Files = Callable[..., Any]
CLIENT = "aaaaaaaa-1111-2222-3333-444444444444"
SHOP = {"selectPrefix": "shop-"}


@pytest.fixture
def shop(tenant: Tenant) -> Tenant:
    """A vault with some secrets of the shop's, and some of others."""
    tenant.vault.set_secret("shop-db", "horse", tags={"team": "db", "env": "live"})
    tenant.vault.set_secret("Shop-Web", "staple", tags={"team": "web", "env": "live"})
    tenant.vault.set_secret("shop-off", "x", enabled=False, tags={"team": "web"})
    tenant.vault.set_secret("other", "battery", tags={"team": "web"})
    return tenant


def contents(found: dict[str, Any]) -> dict[str, bytes]:
    return {path: each.contents for path, each in found.items()}


@pytest.mark.usefixtures("shop")
async def test_a_prefix_selects(files: Files) -> None:
    """Files have the rest of the name; disabled secrets are passed over."""
    assert contents(await files(SHOP)) == {"Web": b"staple", "db": b"horse"}


@pytest.mark.usefixtures("shop")
async def test_tags_select(files: Files) -> None:
    """All of them, with their values; without a prefix names stay whole."""
    assert contents(await files({"selectTags": {"team": "web"}})) == {"Shop-Web": b"staple", "other": b"battery"}


@pytest.mark.usefixtures("shop")
async def test_prefix_and_tags_select_together(files: Files) -> None:
    """What does both."""
    assert contents(await files({**SHOP, "selectTags": {"team": "web", "env": "live"}})) == {"Web": b"staple"}


async def test_a_selected_object_is_like_one_that_is_named(files: Files, shop: Tenant) -> None:
    """Its id and name in events are its own; alias and permission hold for all."""
    found = await files({**SHOP, "objectAlias": "etc/shop", "filePermission": "0400"})

    newest = shop.vault.find("secrets", "Shop-Web")
    assert newest is not None
    assert sorted(found) == ["etc/shop/Web", "etc/shop/db"]
    one = found["etc/shop/Web"]
    assert (one.object_id, one.version, one.mode) == ("secret/Shop-Web", newest.id, 0o400)
    assert one.source == "shop-vault/secret/shop-web"


@pytest.mark.parametrize("kind", ["key", "cert", "secret"])
async def test_keys_and_certificates_are_selected_too(files: Files, certificate: Callable[..., Any], kind: str) -> None:
    """And the secrets that certificates keep."""
    certificate("shop-a")
    certificate("shop-b", pfx=True)

    found = await files({**SHOP, "objectType": kind})

    assert sorted(found) == ["a", "b"]
    assert all(each.contents.startswith(b"-----BEGIN ") for each in found.values())


async def test_a_disabled_key_or_certificate_is_not_selected(files: Files, tenant: Tenant) -> None:
    """As with secrets, although Key Vault would give out its public half."""
    tenant.vault.create_key("shop-a")
    tenant.vault.create_key("shop-b", enabled=False)

    assert list(await files({**SHOP, "objectType": "key"})) == ["a"]


async def test_all_pages_of_a_large_vault_are_looked_through(files: Files, tenant: Tenant) -> None:
    """25 at a time, whatever is on them; each vault is listed once for all selections of a class."""
    for number in range(130):
        tenant.vault.set_secret(f"{'shop' if number % 10 == 9 else 'other'}-{number}", str(number), tags={"n": "1"})

    found = await files({**SHOP, "objectAlias": "a"}, {**SHOP, "objectAlias": "b", "selectTags": {"n": "1"}})

    assert sorted(found) == sorted(f"{folder}/{number}" for folder in "ab" for number in range(9, 130, 10))
    assert tenant.azure.faults.count("list secrets") == 6
    assert tenant.azure.faults.count("get secrets") == 13


async def test_the_newest_version_is_what_counts(files: Files, tenant: Tenant) -> None:
    """Its tags, and whether it is enabled."""
    tenant.vault.set_secret("a", "old", tags={"team": "web"})
    tenant.vault.set_secret("a", "new", tags={})
    tenant.vault.set_secret("b", "old", tags={})
    tenant.vault.set_secret("b", "new", tags={"team": "web"})
    tenant.vault.set_secret("c", "old", tags={"team": "web"})
    tenant.vault.set_secret("c", "new", enabled=False, tags={"team": "web"})

    assert contents(await files({"selectTags": {"team": "web"}})) == {"b": b"new"}


async def test_a_new_object_comes_and_a_deleted_one_goes(files: Files, shop: Tenant) -> None:
    """With the next fetch."""
    await files(SHOP)
    shop.vault.set_secret("shop-new", "1")
    shop.vault.delete("secrets", "shop-db")

    assert sorted(await files(SHOP)) == ["Web", "new"]


async def test_options_hold_for_each_object(provider: Provider, tenant: Tenant) -> None:
    """One without the key is left out by its own name."""
    tenant.vault.set_secret("shop-a", '{"user": "web"}')
    tenant.vault.set_secret("shop-b", '{"name": "web"}')
    wanted = {**SHOP, "extractJSONKey": "user"}
    with pytest.raises(SecretNotFound, match=r"objectName:shop-b .*key 'user' not found"):
        await provider.fetch(tenant.asks(wanted))

    found = await provider.fetch(tenant.asks({**wanted, "optional": True}))

    assert isinstance(found, Answer)
    assert [(each.path, each.contents) for each in found] == [("a", b"web")]
    assert found.left_out == ("secret/shop-b",)


async def test_selected_documents_become_folders(files: Files, tenant: Tenant) -> None:
    """Below the alias."""
    tenant.vault.set_secret("shop-a", '{"user": "web"}')

    assert contents(await files({**SHOP, "expand": "json", "objectAlias": "etc"})) == {"etc/a/user": b"web"}


@pytest.mark.parametrize("prefix", ["none-", "shop-off"])
async def test_a_selection_of_nothing_is_an_error_unless_it_is_optional(
    provider: Provider, shop: Tenant, prefix: str
) -> None:
    """As one name that is missing would be; it is left out by how names begin."""
    with pytest.raises(
        SecretNotFound, match=r"objects\[0\]: vault shop-vault has no enabled secret of this selectPrefix"
    ):
        await provider.fetch(shop.asks({"selectPrefix": prefix}))

    assert await provider.fetch(shop.asks({"selectPrefix": prefix, "optional": True})) == Answer(
        (), (f"secret/{prefix}*",)
    )


@pytest.mark.parametrize(
    "code",
    [Fault(status=404, code="SecretNotFound"), Fault(status=403, code="Forbidden", inner="SecretDisabled")],
    ids=["deleted", "disabled"],
)
async def test_what_goes_between_list_and_turn_is_passed_over(files: Files, shop: Tenant, code: Fault) -> None:
    """The class then has what it would have had a moment later."""
    shop.azure.faults.once("get secrets", code)

    assert len(await files(SHOP)) == 1


async def test_when_all_go_nothing_is_left(provider: Provider, shop: Tenant) -> None:
    """That is an error as if they had not been listed."""
    shop.azure.faults.always("get secrets", Fault(status=404, code="SecretNotFound"))

    with pytest.raises(SecretNotFound, match="has no enabled secret"):
        await provider.fetch(shop.asks(SHOP))


async def test_a_selection_means_a_number_of_objects_at_most(provider: Provider, tenant: Tenant) -> None:
    """And none of them is read when it means more."""
    for number in range(1001):
        tenant.vault.set_secret(f"shop-{number}", "")

    with pytest.raises(InvalidSecretProviderClass, match=r"objects\[0\] stands for 1001 objects .*1000 are the most"):
        await provider.fetch(tenant.asks(SHOP))

    assert tenant.azure.faults.count("get secrets") == 0


@pytest.mark.parametrize(("kind", "right"), [("secret", "secrets"), ("key", "keys"), ("cert", "certificates")])
@pytest.mark.parametrize("optional", [True, False])
async def test_the_right_to_list_is_named(
    provider: Provider, shop: Tenant, kind: str, right: str, optional: object
) -> None:
    """It is not that of reading, and its absence is no absence of objects."""
    shop.vault.forbid(CLIENT)
    shop.vault.allow(CLIENT, f"{right}/get")

    with pytest.raises(AccessDenied, match=f"failed to list objectType:{kind} of vault .* does not grant {right}/list"):
        await provider.fetch(shop.asks({**SHOP, "objectType": kind, "optional": optional}))


async def test_the_role_to_list_by_is_named(provider: Provider, shop: Tenant) -> None:
    """Where the vault goes by roles."""
    shop.azure.faults.always("list secrets", Fault(status=403, code="Forbidden", inner="ForbiddenByRbac"))

    with pytest.raises(AccessDenied, match="no role assignment grants secrets/list: assign Key Vault Secrets User"):
        await provider.fetch(shop.asks(SHOP))


@pytest.mark.parametrize("optional", [True, False])
async def test_one_that_may_not_be_read_is_an_error(provider: Provider, shop: Tenant, optional: object) -> None:
    """Never a part of what was selected."""
    shop.azure.faults.once("get secrets", Fault(status=403, code="Forbidden", inner="ForbiddenByRbac"))

    with pytest.raises(AccessDenied, match="secrets/get"):
        await provider.fetch(shop.asks({**SHOP, "optional": optional}))
