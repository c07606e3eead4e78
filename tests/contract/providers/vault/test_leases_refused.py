"""Renewing and revoking against a Vault that is away, busy, forbidden, or answers in odd ways."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from fetcher.provider import Lease
from fetcher.providers.vault import Vault, VaultSettings, open_provider
from keyferry.errors import AccessDenied, KeyferryError, ProviderUnavailable, RateLimited
from keyferry.testing.openbao import OpenBao
from keyferry.testing.proxy import CountingProxy, counting_proxy
from keyferry.testing.valkey import Valkey

if TYPE_CHECKING:
    from tests.contract.providers.vault.conftest import Tenant

RENEW_TOKEN = "/auth/token/renew-self"
RENEW_LEASE = "/sys/leases/renew"


@pytest.fixture
async def proxy(openbao: OpenBao) -> AsyncIterator[CountingProxy]:
    """Between the provider and the session's OpenBao."""
    async with counting_proxy(openbao.address) as proxy:
        yield proxy


@pytest.fixture
async def lease(vault: Vault, tenant: Tenant, valkey: Valkey, proxy: CountingProxy) -> Lease:
    """Of credentials that were fetched through the proxy: 300 of at most 600 seconds."""
    path = await tenant.database(valkey)
    answer = await vault.fetch(
        tenant.at(proxy.url).asks({"objectName": "user", "secretPath": path, "secretKey": "username"})
    )
    assert answer.lease is not None
    return answer.lease


def deadline() -> float:
    return time.time() + 30


def granted(seconds: Any) -> str:
    return json.dumps({"lease_id": "x", "lease_duration": seconds, "renewable": True, "data": None})


@pytest.mark.parametrize("step", [RENEW_TOKEN, RENEW_LEASE])
@pytest.mark.parametrize("failure", [(429, RateLimited), (500, ProviderUnavailable), (503, ProviderUnavailable)])
async def test_a_vault_that_is_busy_or_failing_is_asked_again_later(
    vault: Vault, lease: Lease, proxy: CountingProxy, step: str, failure: tuple[int, type[KeyferryError]]
) -> None:
    """The lease has not ended for that."""
    status, expected = failure
    proxy.fail(status=status, match=step, headers={"Retry-After": "17"})

    with pytest.raises(expected) as caught:
        await vault.renew(lease, deadline())

    assert caught.value.retry_after is not None
    proxy.restore()
    assert await vault.renew(lease, deadline()) is not None


async def test_a_vault_that_is_busy_is_asked_to_revoke_again_later(
    vault: Vault, lease: Lease, proxy: CountingProxy
) -> None:
    """Nothing has been taken away yet."""
    proxy.fail(status=503, match="revoke-self")
    with pytest.raises(ProviderUnavailable):
        await vault.revoke(lease, deadline())
    proxy.restore()

    await vault.revoke(lease, deadline())

    assert proxy.count("revoke-self") == 2


@pytest.mark.parametrize("body", ["<html>login</html>", "[]", ""])
async def test_what_is_no_vault_ends_no_lease(vault: Vault, lease: Lease, proxy: CountingProxy, body: str) -> None:
    """A proxy's error page says nothing about the lease."""
    proxy.fail(status=403, match="/v1/", body=body)

    with pytest.raises(ProviderUnavailable):
        await vault.renew(lease, deadline())
    with pytest.raises(ProviderUnavailable):
        await vault.revoke(lease, deadline())


async def test_a_deadline_that_is_over_asks_nothing(vault: Vault, lease: Lease, proxy: CountingProxy) -> None:
    """Neither to renew nor to revoke."""
    before = proxy.count()

    with pytest.raises(ProviderUnavailable, match="in time"):
        await vault.renew(lease, time.time() - 1)
    with pytest.raises(ProviderUnavailable, match="in time"):
        await vault.revoke(lease, time.time() - 1)

    assert proxy.count() == before


@pytest.mark.parametrize("seconds", [99, 0, None, "300", True])
async def test_a_renewal_that_leaves_little_is_none(
    vault: Vault, lease: Lease, proxy: CountingProxy, seconds: Any
) -> None:
    """Less than a third of the first 300 seconds: what is made anew must reach the pods in that time."""
    proxy.fail(status=200, match=RENEW_LEASE, body=granted(seconds))

    assert await vault.renew(lease, deadline()) is None


async def test_a_renewal_that_is_cut_short_counts_as_far_as_it_goes(
    vault: Vault, lease: Lease, proxy: CountingProxy
) -> None:
    """Its next one is due before two thirds of what is left."""
    proxy.fail(status=200, match=RENEW_LEASE, body=granted(101))
    began = time.time()

    renewed = await vault.renew(lease, deadline())

    ended = time.time()
    assert renewed is not None
    assert began + 101 <= renewed.expires_at <= ended + 101
    assert began + 54 <= renewed.renew_at <= ended + 68


async def test_a_renewal_that_is_due_must_gain_time(vault: Vault, lease: Lease, proxy: CountingProxy) -> None:
    """A maximum has been reached, though plenty of time may be left."""
    due = dataclasses.replace(lease, renew_at=time.time())
    left = int(lease.expires_at - time.time())
    proxy.fail(status=200, match=RENEW_LEASE, body=granted(left))

    assert await vault.renew(due, deadline()) is None
    assert await vault.renew(lease, deadline()) is not None


async def test_the_first_duration_is_asked_for_every_time(vault: Vault, lease: Lease, proxy: CountingProxy) -> None:
    """Or a life that a maximum cut short would be renewed by ever smaller pieces."""
    renewed = await vault.renew(lease, deadline())
    assert renewed is not None
    await vault.renew(renewed, deadline())

    asked = [json.loads(call.body)["increment"] for call in proxy.calls if call.matches(RENEW_LEASE)]
    assert asked == [300, 300]


async def test_a_host_that_is_no_longer_allowed_is_not_asked(lease: Lease, proxy: CountingProxy) -> None:
    """The policy binds what was made before it, too; the pod's token would not be sent there either."""
    strict = await open_provider({"KEYFERRY_ALLOWED_BACKENDS": "vault.example.com"})
    before = proxy.count()

    assert await strict.renew(lease, deadline()) is None
    with pytest.raises(AccessDenied, match="KEYFERRY_ALLOWED_BACKENDS"):
        await strict.revoke(lease, deadline())

    await strict.close()
    assert proxy.count() == before


@pytest.mark.parametrize("handle", [b"", b"[]", b"{}", b'{"server": {"tls": 1}}', b"\xff", b'{"leases": [1]}'])
async def test_a_handle_of_another_version_is_no_lease(vault: Vault, lease: Lease, handle: bytes) -> None:
    """After an upgrade or a downgrade; Vault ends it by itself."""
    other = dataclasses.replace(lease, handle=handle)

    assert await vault.renew(other, deadline()) is None
    with pytest.raises(AccessDenied, match="of another version's making"):
        await vault.revoke(other, deadline())


async def test_a_fetch_that_nobody_waits_for_makes_nothing(
    tenant: Tenant, valkey: Valkey, proxy: CountingProxy
) -> None:
    """Its token is taken back while its call is still on the way."""
    path = await tenant.database(valkey)
    asks = {"objectName": "user", "secretPath": path, "secretKey": "username"}
    vault = Vault(VaultSettings())
    await vault.fetch(tenant.at(proxy.url).asks(asks))
    with proxy.held("/creds/"):
        with pytest.raises(ProviderUnavailable, match="in time"):
            await vault.fetch(tenant.at(proxy.url).asks(asks, seconds=0.5))
        await vault.close()

    assert proxy.count("revoke-self") == 1
    assert len(await tenant.bao.leases(path)) == 1


async def test_nothing_of_a_lease_is_shown_or_logged(
    vault: Vault, lease: Lease, proxy: CountingProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """The handle has a token in it."""
    caplog.set_level(logging.DEBUG)
    token = json.loads(lease.handle)["token"]
    proxy.fail(status=400, match=RENEW_LEASE, body=json.dumps({"errors": [f"no {token}"]}))
    await vault.renew(lease, deadline())
    proxy.restore()
    await vault.revoke(lease, deadline())

    assert token not in caplog.text + repr(lease) + repr(vault)
    assert token.startswith(("s.", "hvs."))
