"""Connections: trusted, shared and bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from fetcher.accesstoken import Token
from fetcher.provider import Provider
from fetcher.providers.azure.clients import Clients
from fetcher.providers.azure.parameters import parse
from fetcher.providers.azure.settings import AzureSettings
from fetcher.providers.azure.transport import Transport
from fetcher.providers.azure.wanted import Reference
from keyferry.errors import InvalidSecretProviderClass, ProviderUnavailable
from keyferry.settings import SettingsError
from keyferry.testing.azure import AzureEmulator, Fault
from keyferry.testing.serving import serving

if TYPE_CHECKING:
    from tests.contract.providers.azure.conftest import Tenant

GET = "get secrets"
BUNDLE = {"id": f"https://localhost/secrets/db/{'0' * 32}", "attributes": {"enabled": True}}


@pytest.mark.parametrize("which", ["KEYFERRY_AZURE_AUTHORITY", "KEYFERRY_AZURE_VAULT_URL"])
async def test_a_server_whose_certificate_is_not_trusted_gets_no_call(
    opened: Callable[..., Any], tenant: Tenant, db: dict[str, str], which: str
) -> None:
    """Nor any token: another authority signed it."""
    async with AzureEmulator() as stranger, opened(**{which: stranger.environ()[which]}) as provider:
        with pytest.raises(ProviderUnavailable, match=r"certificate .*is not trusted.*KEYFERRY_AZURE_CA_FILE"):
            await provider.fetch(tenant.asks(db))

        assert not stranger.faults.calls


async def test_the_public_authorities_do_not_do_for_a_private_cloud(
    opened: Callable[..., Any], tenant: Tenant, db: dict[str, str]
) -> None:
    """Unless the operator names the cloud's own."""
    async with opened(KEYFERRY_AZURE_CA_FILE="") as provider:
        with pytest.raises(ProviderUnavailable, match="certificate that is not trusted"):
            await provider.fetch(tenant.asks(db))


async def test_a_ca_file_that_is_none_ends_the_start(opened: Callable[..., Any], tmp_path: Path) -> None:
    """Not the first fetch."""
    (tmp_path / "ca.crt").write_text("none")

    for file in ("ca.crt", "missing"):
        with pytest.raises(SettingsError, match="KEYFERRY_AZURE_CA_FILE"):
            async with opened(KEYFERRY_AZURE_CA_FILE=str(tmp_path / file)):
                pass


async def test_all_fetches_share_their_connections(provider: Provider, tenant: Tenant, db: dict[str, str]) -> None:
    """Also those of other identities: a handshake costs more than a read."""
    other = tenant.of("other")
    tenant.azure.directory.federate(
        "11111111-2222-3333-4444-555555555555",
        "second",
        issuer="https://cluster.example",
        subject="system:serviceaccount:shop:other",
    )
    tenant.vault.allow("second")

    for _ in range(3):
        await provider.fetch(tenant.asks(db))
        await provider.fetch(other.asks(db, clientID="second"))

    assert len({call.port for call in tenant.azure.faults.calls if call.operation == GET}) == 1


@pytest.mark.parametrize(("calls", "most"), [("3", 3), ("64", 16)])
async def test_calls_at_the_same_time_are_bounded(
    opened: Callable[..., Any], tenant: Tenant, calls: str, most: int
) -> None:
    """Per vault by the operator, and within a class so that others have a turn."""
    for number in range(40):
        tenant.vault.set_secret(f"s{number}", "1")
    request = tenant.asks(*({"objectName": f"s{number}"} for number in range(40)))
    tenant.azure.faults.always(GET, Fault(seconds=0.02))

    async with opened(KEYFERRY_AZURE_CALLS=calls) as provider:
        found = await provider.fetch(request)

    assert len(found) == 40
    assert tenant.azure.faults.peak == most


@pytest.mark.parametrize(
    "fault",
    [
        Fault(body={**BUNDLE, "value": "x" * 2 * 1024 * 1024}),
        Fault(body={**BUNDLE, "value": "x"}, compressed=True),
    ],
    ids=["large", "compressed"],
)
async def test_an_answer_is_read_up_to_a_size_and_not_unpacked(
    provider: Provider, tenant: Tenant, db: dict[str, str], fault: Fault
) -> None:
    """Key Vault keeps 25 kB; what answers with megabytes, or with a kilobyte that may hold them, is something else."""
    tenant.azure.faults.always(GET, fault)

    with pytest.raises(ProviderUnavailable, match="makes no sense"):
        await provider.fetch(tenant.asks(db))


async def test_a_vault_of_azures_must_be_of_the_domain_that_it_asks_tokens_for(tenant: Tenant) -> None:
    """The SDK's own check, which only an operator's other URL turns off: no other host gets a token for vaults."""
    asked = parse(tenant.asks({"objectName": "db"}).parameters, AzureSettings(), has_tenant=False)
    elsewhere = replace(asked, cloud=replace(asked.cloud, vault_url=tenant.azure.vault_url))
    transport = Transport(AzureSettings(ca_file=tenant.azure.ca_file))
    clients = Clients(transport.sdk(), elsewhere, Token("canary", since=0.0, expires=10.0**10))
    tenant.vault.set_secret("db", "horse")

    with pytest.raises(ValueError, match="does not match the requested domain"):
        await clients.get(Reference("secret", "db"))
    await transport.close()

    assert asked.cloud.verified
    assert [call.authorized for call in tenant.azure.faults.calls] == [False]


@pytest.fixture
async def elsewhere(azure: AzureEmulator) -> AsyncIterator[list[str | None]]:
    """A vault that sends readers on to another host; gives the Authorization headers that arrive there."""
    seen: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.json_response({"value": "x"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with serving(app) as url:
        azure.faults.always(GET, Fault(status=307, headers=(("Location", url),)))
        yield seen


async def test_a_redirection_is_not_followed(
    provider: Provider, tenant: Tenant, db: dict[str, str], elsewhere: list[str | None]
) -> None:
    """The token would go along."""
    with pytest.raises(ProviderUnavailable, match="makes no sense"):
        await provider.fetch(tenant.asks(db))

    assert elsewhere == []


async def test_hosts_can_be_limited_by_the_operator(
    opened: Callable[..., Any], tenant: Tenant, db: dict[str, str]
) -> None:
    """As for other backends; nobody is asked."""
    async with opened(KEYFERRY_ALLOWED_BACKENDS="*.vault.azure.net") as provider:
        with pytest.raises(InvalidSecretProviderClass, match=r"keyvaultName names host localhost.*does not allow"):
            await provider.fetch(tenant.asks(db))

    assert not tenant.azure.faults.calls
