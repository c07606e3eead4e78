"""How often pods log in: once per identity and token, whatever the number of fetches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from fetcher.providers.vault import Vault, VaultSettings
from keyferry.errors import AccessDenied, ProviderUnavailable
from keyferry.testing.proxy import counting_proxy

if TYPE_CHECKING:
    from tests.contract.providers.vault.conftest import Tenant


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """What it shows."""
        return self.now


@asynccontextmanager
async def provider(settings: VaultSettings | None = None, *, clock: Clock) -> AsyncIterator[Vault]:
    vault = Vault(settings or VaultSettings(), clock=clock)
    yield vault
    await vault.close()


@pytest.fixture
def clock() -> Clock:
    """The provider's clock."""
    return Clock()


def password(tenant: Tenant) -> dict[str, Any]:
    return {"objectName": "one", "secretPath": tenant.path("app"), "secretKey": "password"}


async def test_two_fetches_are_one_login(vault: Vault, tenant: Tenant) -> None:
    """The token is kept; the secret is read each time."""
    await tenant.put("app", password="horse")

    await vault.fetch(tenant.asks(password(tenant)))
    await vault.fetch(tenant.asks(password(tenant)))

    assert tenant.logins() == 1
    assert tenant.bao.count_requests(tenant.path("app"), operation="read") == 2


async def test_many_fetches_at_once_are_one_login(vault: Vault, tenant: Tenant) -> None:
    """A deployment that scales up does not log in once per pod."""
    await tenant.put("app", password="horse")

    fetched = await asyncio.gather(*(vault.fetch(tenant.asks(password(tenant))) for _ in range(50)))

    assert {secret.contents for (secret,) in fetched} == {b"horse"}
    assert tenant.logins() == 1


@pytest.mark.parametrize("other", [{"service": "batch"}, {"role": "second"}, {"audience": "own"}])
async def test_another_identity_logs_in_itself(
    vault: Vault, tenants: Callable[..., Any], other: dict[str, str]
) -> None:
    """A token is never used for another service account, role or audience."""
    tenant: Tenant = await tenants(bound_subject="", bound_audiences=["vault", "own"])
    await tenant.bao.write(
        f"auth/{tenant.name}/role/second",
        {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "token_policies": [tenant.name]},
    )
    await tenant.put("app", password="horse")
    parameters: dict[str, Any] = {
        "roleName": other.get("role", tenant.name),
        "audience": other.get("audience", "vault"),
    }

    await vault.fetch(tenant.asks(password(tenant)))
    await vault.fetch(tenant.of(other.get("service", "web")).asks(password(tenant), **parameters))

    assert tenant.logins() == 2


async def test_a_token_is_not_used_up_to_its_very_end(tenants: Callable[..., Any], clock: Clock) -> None:
    """A minute before its end, or a tenth of its life, the pod logs in again."""
    tenant: Tenant = await tenants(token_ttl="1h")
    await tenant.put("app", password="horse")
    async with provider(clock=clock) as vault:
        await vault.fetch(tenant.asks(password(tenant)))
        clock.now += 3539
        await vault.fetch(tenant.asks(password(tenant)))
        assert tenant.logins() == 1
        clock.now += 2

        await vault.fetch(tenant.asks(password(tenant)))

        assert tenant.logins() == 2


async def test_a_revoked_token_is_replaced_once(tenant: Tenant, clock: Clock) -> None:
    """403 on a kept token: one login, the same call again, and the pod notices nothing."""
    await tenant.put("app", password="horse")
    await tenant.put("other", password="staple")
    both = (password(tenant), {"objectName": "two", "secretPath": tenant.path("other"), "secretKey": "password"})
    async with provider(clock=clock) as vault:
        await vault.fetch(tenant.asks(*both))
        await tenant.bao.write(f"sys/leases/revoke-prefix/auth/{tenant.name}", {})
        clock.now += 1

        secrets = await vault.fetch(tenant.asks(*both))

        assert [secret.contents for secret in secrets] == [b"horse", b"staple"]
        assert tenant.logins() == 2


async def test_what_stays_denied_is_denied_after_one_more_login(tenant: Tenant, clock: Clock) -> None:
    """The role may have been given more since the token was made; if not, that is the answer."""
    await tenant.put("app", password="horse")
    async with provider(clock=clock) as vault:
        await vault.fetch(tenant.asks(password(tenant)))
        clock.now += 1

        with pytest.raises(AccessDenied, match="secret/data/other"):
            await vault.fetch(tenant.asks({"objectName": "one", "secretPath": "secret/data/other"}))

        assert tenant.logins() == 2


async def test_a_new_token_that_is_denied_is_not_replaced(vault: Vault, tenant: Tenant) -> None:
    """A second login within the same fetch could change nothing."""
    with pytest.raises(AccessDenied):
        await vault.fetch(tenant.asks({"objectName": "one", "secretPath": "secret/data/other"}))

    assert tenant.logins() == 1


async def test_a_policy_added_to_the_role_counts_at_the_next_fetch(tenant: Tenant, clock: Clock) -> None:
    """The reason for trying again: tokens carry the policies of the day they were made."""
    await tenant.bao.put("shared/app", {"password": "common"})
    await tenant.put("app", password="horse")
    async with provider(clock=clock) as vault:
        await vault.fetch(tenant.asks(password(tenant)))
        await tenant.bao.allow_read(f"{tenant.name}-more", "secret/data/shared/app")
        await tenant.bao.write(
            f"auth/{tenant.name}/role/{tenant.name}",
            {"role_type": "jwt", "token_policies": [tenant.name, f"{tenant.name}-more"]},
        )
        clock.now += 1

        (secret,) = await vault.fetch(
            tenant.asks({"objectName": "one", "secretPath": "secret/data/shared/app", "secretKey": "password"})
        )

    assert secret.contents == b"common"


async def test_without_a_token_cache_every_fetch_logs_in(tenant: Tenant, clock: Clock) -> None:
    """KEYFERRY_VAULT_TOKENS=0, as upstream's -cache-size."""
    await tenant.put("app", password="horse")
    async with provider(VaultSettings(tokens=0), clock=clock) as vault:
        await vault.fetch(tenant.asks(password(tenant)))
        await vault.fetch(tenant.asks(password(tenant)))

    assert tenant.logins() == 2


async def test_the_least_recently_used_token_goes_first(tenants: Callable[..., Any], clock: Clock) -> None:
    """The cache is bounded."""
    tenant: Tenant = await tenants(bound_subject="")
    await tenant.put("app", password="horse")
    async with provider(VaultSettings(tokens=2), clock=clock) as vault:
        for account in ("a", "b", "a", "c", "a"):
            await vault.fetch(tenant.of(account).asks(password(tenant)))
        assert tenant.logins() == 3

        await vault.fetch(tenant.of("b").asks(password(tenant)))

        assert tenant.logins() == 4


async def test_a_token_with_counted_uses_is_not_kept(vault: Vault, tenants: Callable[..., Any]) -> None:
    """It might be used up when the next fetch needs it."""
    tenant: Tenant = await tenants(token_num_uses=5)
    await tenant.put("app", password="horse")

    await vault.fetch(tenant.asks(password(tenant)))
    await vault.fetch(tenant.asks(password(tenant)))

    assert tenant.logins() == 2


async def test_a_login_outlives_the_fetch_that_began_it(vault: Vault, tenant: Tenant) -> None:
    """Who waits for the same login is not failed by another's deadline."""
    await tenant.put("app", password="horse")
    async with counting_proxy(tenant.bao.address) as proxy:
        there = tenant.at(proxy.url)
        with proxy.held("/login"):
            hasty = asyncio.create_task(vault.fetch(there.asks(password(tenant), seconds=0.2)))
            patient = asyncio.create_task(vault.fetch(there.asks(password(tenant))))
            with pytest.raises(ProviderUnavailable, match="in time"):
                await hasty

        (secret,) = await patient

        assert secret.contents == b"horse"
        assert proxy.count("/login") == 1


async def test_a_refused_login_is_not_kept(vault: Vault, tenant: Tenant) -> None:
    """When the operator has mended the role, the next fetch succeeds."""
    await tenant.put("app", password="horse")
    role = f"auth/{tenant.name}/role/{tenant.name}"
    await tenant.bao.write(role, {"role_type": "jwt", "bound_subject": "nobody"})
    with pytest.raises(AccessDenied):
        await vault.fetch(tenant.asks(password(tenant)))
    await tenant.bao.write(role, {"role_type": "jwt", "bound_subject": "system:serviceaccount:shop:web"})

    (secret,) = await vault.fetch(tenant.asks(password(tenant)))

    assert secret.contents == b"horse"
