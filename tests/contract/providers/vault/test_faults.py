"""A Vault that is down, sealed, slow, overloaded or not Vault at all."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from fetcher.providers.vault import Vault, VaultSettings, open_provider
from keyferry.errors import ContentTooLarge, KeyferryError, ProviderUnavailable, RateLimited
from keyferry.testing.openbao import OpenBao, openbao_server
from keyferry.testing.ports import free_port
from keyferry.testing.proxy import CountingProxy, counting_proxy
from keyferry.testing.serving import serving

if TYPE_CHECKING:
    from tests.contract.providers.vault.conftest import Tenant

TEN_MEGABYTES = 10 * 1024 * 1024


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OpenBao]:
    """An OpenBao that a test may break."""
    with openbao_server(tmp_path) as running:
        yield running


@pytest.fixture
async def proxy(openbao: OpenBao) -> AsyncIterator[CountingProxy]:
    """Between the provider and the session's OpenBao."""
    async with counting_proxy(openbao.address) as proxy:
        yield proxy


def password(tenant: Tenant) -> dict[str, Any]:
    return {"objectName": "one", "secretPath": tenant.path("app"), "secretKey": "password"}


async def failure(vault: Vault, tenant: Tenant, *, seconds: float = 30.0) -> KeyferryError:
    with pytest.raises(KeyferryError) as caught:
        await vault.fetch(tenant.asks(password(tenant), seconds=seconds))
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    return caught.value


async def test_a_sealed_server_is_said_to_be_sealed(vault: Vault, own: OpenBao, tenants: Callable[..., Any]) -> None:
    """It is transient: somebody will unseal it."""
    tenant: Tenant = await tenants(bao=own)
    await tenant.put("app", password="horse")
    await vault.fetch(tenant.asks(password(tenant)))
    await own.call(lambda client: client.sys.seal())

    error = await failure(vault, tenant)

    assert isinstance(error, ProviderUnavailable)
    assert "Vault is sealed" in error.message
    assert error.retry_after is not None


async def test_a_server_that_is_down_is_unavailable(vault: Vault, own: OpenBao, tenants: Callable[..., Any]) -> None:
    """The address is named, the token is not lost: when the server is another one, a new login is made."""
    tenant: Tenant = await tenants(bao=own)
    await tenant.put("app", password="horse")
    await vault.fetch(tenant.asks(password(tenant)))
    own.process.stop()

    error = await failure(vault, tenant)

    assert isinstance(error, ProviderUnavailable)
    assert own.address in error.message


async def test_a_server_that_hangs_is_given_up_in_time(own: OpenBao, tenants: Callable[..., Any]) -> None:
    """The setting bounds each call."""
    tenant: Tenant = await tenants(bao=own)
    vault = Vault(VaultSettings(timeout=0.2))
    own.process.pause()

    error = await failure(vault, tenant)

    own.process.resume()
    await vault.close()
    assert isinstance(error, ProviderUnavailable)
    assert "in time" in error.message


async def test_a_deadline_bounds_all_calls_together(vault: Vault, tenant: Tenant, proxy: CountingProxy) -> None:
    """What is slow is given up when nobody waits any more, whatever the setting."""
    await tenant.put("app", password="horse")
    with proxy.held():
        error = await failure(vault, tenant.at(proxy.url), seconds=0.3)

    assert isinstance(error, ProviderUnavailable)
    assert "in time" in error.message


async def test_a_broken_connection_is_unavailable(vault: Vault, tenant: Tenant, proxy: CountingProxy) -> None:
    """Neither URL path nor token is in the message."""
    proxy.drop()

    error = await failure(vault, tenant.at(proxy.url))

    assert isinstance(error, ProviderUnavailable)
    assert error.message.startswith(f"Vault at {proxy.url} cannot be reached or broke off")


async def test_an_openbao_that_limits_rates_is_heeded(vault: Vault, own: OpenBao, tenants: Callable[..., Any]) -> None:
    """Its own quota answers 429 with Retry-After."""
    tenant: Tenant = await tenants(bao=own)
    await tenant.put("app", password="horse")
    await vault.fetch(tenant.asks(password(tenant)))
    await own.write("sys/quotas/rate-limit/one", {"path": "secret/", "rate": 0.01, "interval": "60s"})
    await vault.fetch(tenant.asks(password(tenant)))

    error = await failure(vault, tenant)

    assert isinstance(error, RateLimited)
    assert error.retry_after is not None


@pytest.mark.parametrize("wait", [("17", 17.0), ("999999", 300.0), ("soon", 5.0), ("", 5.0)])
@pytest.mark.parametrize("step", ["/login", "/secret/"])
async def test_retry_after_is_passed_on(
    vault: Vault, tenant: Tenant, proxy: CountingProxy, step: str, wait: tuple[str, float]
) -> None:
    """In seconds and within reason, for logins as for reads."""
    await tenant.put("app", password="horse")
    proxy.fail(status=429, match=step, headers={"Retry-After": wait[0]})

    error = await failure(vault, tenant.at(proxy.url))

    assert isinstance(error, RateLimited)
    assert error.retry_after == wait[1]


@pytest.mark.parametrize("status", [412, 500, 502, 503, 504, 301, 307])
@pytest.mark.parametrize("step", ["/login", "/secret/"])
async def test_a_failing_server_is_transient_and_its_text_is_not_shown(
    vault: Vault, tenant: Tenant, proxy: CountingProxy, step: str, status: int
) -> None:
    """A 500 may quote a connection string; a redirect is not followed, for the token would go along."""
    await tenant.put("app", password="horse")
    proxy.fail(
        status=status,
        match=step,
        body=json.dumps({"errors": ["canary at postgres://root:hunter2@db"]}),
        headers={"Location": f"{proxy.url}/elsewhere"},
    )

    error = await failure(vault, tenant.at(proxy.url))

    assert isinstance(error, ProviderUnavailable)
    assert str(status) in error.message
    assert "canary" not in error.message
    assert "hunter2" not in error.message
    assert proxy.count("elsewhere") == 0


@pytest.mark.parametrize("status", [200, 400, 403, 404])
@pytest.mark.parametrize("body", ["", "<html>login</html>", "[]", '{"data":', "[" * 100_000])
async def test_what_is_no_vault_is_said_to_be_none(
    vault: Vault, tenant: Tenant, proxy: CountingProxy, body: str, status: int
) -> None:
    """A proxy's login page, an ingress without that host: neither a secret nor a denial."""
    proxy.fail(status=status, match="/login", body=body)
    logging_in = await failure(vault, tenant.at(proxy.url))
    proxy.restore()
    proxy.fail(status=status, match="/secret/", body=body)

    error = await failure(vault, tenant.at(proxy.url))

    assert isinstance(logging_in, ProviderUnavailable)
    assert isinstance(error, ProviderUnavailable)
    assert "is no JSON object" in logging_in.message
    assert "is no JSON object" in error.message


@pytest.mark.parametrize("auth", [None, {}, {"client_token": ""}, {"client_token": "a\nb"}, {"client_token": 7}, "x"])
async def test_a_login_without_a_token_is_no_login(
    vault: Vault, tenant: Tenant, proxy: CountingProxy, auth: Any
) -> None:
    """MFA, for one, answers so."""
    proxy.fail(status=200, body=json.dumps({"auth": auth}))

    error = await failure(vault, tenant.at(proxy.url))

    assert "gives no token" in error.message


async def test_an_endless_answer_is_cut_off(vault: Vault, tenant: Tenant, proxy: CountingProxy) -> None:
    """What no volume can hold is not read into memory."""
    await tenant.put("app", password="horse")
    proxy.fail(status=200, match="/secret/", body=b" " * TEN_MEGABYTES)

    assert isinstance(await failure(vault, tenant.at(proxy.url)), ContentTooLarge)


async def test_a_server_that_drips_is_given_up_in_time(tenant: Tenant) -> None:
    """Each byte comes in time, the answer does not."""
    app = web.Application()

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b" ")
            await asyncio.sleep(0.02)
        return response

    app.router.add_route("*", "/{path:.*}", drip)
    vault = Vault(VaultSettings(timeout=0.3))
    async with serving(app) as url:
        error = await failure(vault, tenant.at(url))
    await vault.close()

    assert isinstance(error, ProviderUnavailable)
    assert "does not answer in time" in error.message


async def test_connections_are_kept(vault: Vault, tenant: Tenant) -> None:
    """Twenty reads one after the other need one connection."""
    seen: set[Any] = set()
    app = web.Application()

    async def answer(request: web.Request) -> web.Response:
        seen.add(request.transport)
        login = request.path.endswith("/login")
        return web.json_response(
            {"auth": {"client_token": "token", "lease_duration": 0}} if login else {"data": {"password": "x"}}
        )

    app.router.add_route("*", "/{path:.*}", answer)
    async with serving(app) as url:
        for _ in range(20):
            await vault.fetch(tenant.at(url).asks(password(tenant)))

    assert len(seen) == 1


async def test_cookies_are_not_kept(vault: Vault, tenant: Tenant) -> None:
    """All pods share the connections; what one is given must not be sent for another."""
    cookies: list[Any] = []
    app = web.Application()

    async def answer(request: web.Request) -> web.Response:
        cookies.extend(request.cookies)
        response = web.json_response({"auth": {"client_token": "t", "lease_duration": 0}, "data": {"password": "x"}})
        response.set_cookie("sticky", "1")
        return response

    app.router.add_route("*", "/{path:.*}", answer)
    async with serving(app) as url:
        await vault.fetch(tenant.at(url).asks(password(tenant)))
        await vault.fetch(tenant.at(url).asks(password(tenant)))

    assert cookies == []


async def test_a_dead_address_does_not_take_all_threads(tenant: Tenant) -> None:
    """Others are served while one Vault hangs: an address may use half of the threads."""
    await tenant.put("app", password="horse")
    vault = Vault(VaultSettings(threads=4))
    async with counting_proxy(tenant.bao.address) as hung:
        with hung.held():
            waiting = [
                asyncio.create_task(vault.fetch(tenant.of(f"sa{n}").at(hung.url).asks(password(tenant))))
                for n in range(10)
            ]
            await hung.arrived(2)

            (secret,) = await vault.fetch(tenant.asks(password(tenant), seconds=5))

        await asyncio.gather(*waiting, return_exceptions=True)
    await vault.close()
    assert secret.contents == b"horse"


async def test_threads_are_free_again_at_the_deadline(tenant: Tenant) -> None:
    """Calls that nobody waits for any more do not go on until the setting's bound."""
    await tenant.put("app", password="horse")
    vault = Vault(VaultSettings(threads=2, timeout=30))
    async with counting_proxy(tenant.bao.address) as hung:
        await vault.fetch(tenant.at(hung.url).asks(password(tenant)))
        with hung.held("/secret/"):
            for _ in range(2):
                await failure(vault, tenant.at(hung.url), seconds=0.3)

            (secret,) = await vault.fetch(tenant.asks(password(tenant), seconds=5))

    await vault.close()
    assert secret.contents == b"horse"


async def test_an_operator_decides_which_hosts_may_be_asked(tenant: Tenant) -> None:
    """A class names another Vault: nothing is sent there."""
    vault = await open_provider({"KEYFERRY_ALLOWED_BACKENDS": "*.vault.svc, 127.0.0.1:8200"})
    async with counting_proxy(tenant.bao.address) as proxy:
        error = await failure(vault, tenant.at(proxy.url))

        assert "KEYFERRY_ALLOWED_BACKENDS" in error.message
        assert proxy.calls == []
    await vault.close()


async def test_calls_go_through_the_proxy_that_is_set(tenant: Tenant) -> None:
    """VAULT_PROXY_ADDR, and no other variable of the environment."""
    port = free_port()
    vault = Vault(VaultSettings(proxy=f"http://user:canary@127.0.0.1:{port}"))

    error = await failure(vault, tenant)

    await vault.close()
    assert "VAULT_PROXY_ADDR" in error.message
    assert "canary" not in error.message + repr(VaultSettings(proxy="canary"))


async def test_nothing_secret_is_logged(
    vault: Vault, tenant: Tenant, proxy: CountingProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """At the lowest level, of every library, through success and failure."""
    caplog.set_level(logging.DEBUG)
    await tenant.put("app", password="canary-value")
    request = tenant.at(proxy.url).asks(password(tenant))
    await vault.fetch(request)
    proxy.fail(status=500, match="/secret/")
    with pytest.raises(ProviderUnavailable):
        await vault.fetch(request)

    text = caplog.text + repr(request) + repr(vault)

    assert "canary-value" not in text
    assert request.tokens["vault"] not in text
    assert "hvs." not in text
