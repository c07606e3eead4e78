"""Whom Key Vault sees (upstream's e2e: workload identity, user-assigned identity, service principal, pod identity)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from fetcher.provider import Provider
from keyferry.errors import AccessDenied, InvalidSecretProviderClass, KeyferryError
from keyferry.testing.azure import TENANT, AzureEmulator, Fault

if TYPE_CHECKING:
    from tests.contract.providers.azure.conftest import Tenant

CLIENT = "aaaaaaaa-1111-2222-3333-444444444444"
OTHER = "bbbbbbbb-1111-2222-3333-444444444444"
ANNOTATION = "azure.workload.identity/client-id"
TENANT_ANNOTATION = "azure.workload.identity/tenant-id"
AUDIENCE = "api://AzureADTokenExchange"
MANAGED = {"KEYFERRY_AZURE_ALLOW_MANAGED_IDENTITY": "true"}


@pytest.fixture
def node(azure: AzureEmulator, monkeypatch: pytest.MonkeyPatch) -> AzureEmulator:
    """The fetcher's node has an identity that may read, and one of its own that may not."""
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.metadata_url)
    azure.directory.assign(TENANT, "node-reader")
    azure.directory.assign(TENANT, "node-itself", system=True)
    azure.vault("shop-vault").allow("node-reader")
    return azure


async def refused(provider: Provider, request: Any, expected: type[KeyferryError]) -> str:
    """Fetch, expect this class of error, see that nothing hangs on it, and give its message."""
    with pytest.raises(expected) as caught:
        await provider.fetch(request)
    assert caught.value.reason == expected.reason
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert not [token for token in request.tokens.values() if token in str(caught.value)]
    return caught.value.message


async def test_a_token_is_exchanged_once_for_many_fetches(
    provider: Provider, tenant: Tenant, db: dict[str, str]
) -> None:
    """Of one service account; a pod that comes later has another token and needs none."""
    for number in range(3):
        await provider.fetch(tenant.asks(db, tokens={AUDIENCE: tenant.token(jti=str(number))}))

    assert tenant.azure.faults.count("token") == 1


async def test_fetches_at_the_same_time_wait_for_one_exchange(
    provider: Provider, tenant: Tenant, db: dict[str, str]
) -> None:
    """A hundred pods that start at once are one client."""
    tenant.azure.faults.always("token", Fault(seconds=0.1))

    found = await asyncio.gather(*(provider.fetch(tenant.asks(db)) for _ in range(20)))

    assert {secret.contents for secrets in found for secret in secrets} == {b"horse"}
    assert tenant.azure.faults.count("token") == 1


async def test_a_token_is_exchanged_again_before_it_expires(
    provider: Provider, tenant: Tenant, db: dict[str, str]
) -> None:
    """One that holds a second is not used for long."""
    tenant.azure.token_seconds = 2.0
    await provider.fetch(tenant.asks(db))
    await asyncio.sleep(2.1)

    await provider.fetch(tenant.asks(db))

    assert tenant.azure.faults.count("token") == 2


async def test_a_token_that_was_revoked_is_exchanged_again(
    provider: Provider, tenant: Tenant, db: dict[str, str]
) -> None:
    """Within the fetch; nobody sees it."""
    await provider.fetch(tenant.asks(db))
    tenant.azure.directory.revoke()

    (found,) = await provider.fetch(tenant.asks(db))

    assert found.contents == b"horse"
    assert tenant.azure.faults.count("token") == 2


async def test_tokens_are_not_kept_where_the_operator_wants_none(
    opened: Callable[..., Any], tenant: Tenant, db: dict[str, str]
) -> None:
    """A federated credential that is taken away then ends access at once."""
    async with opened(KEYFERRY_AZURE_TOKENS="0") as provider:
        for _ in range(2):
            await provider.fetch(tenant.asks(db))

    assert tenant.azure.faults.count("token") >= 2


async def test_another_service_account_does_not_share_the_token(
    provider: Provider, tenant: Tenant, db: dict[str, str]
) -> None:
    """The same class and client, a moment later: Entra decides anew, by the subject."""
    await provider.fetch(tenant.asks(db))

    message = await refused(provider, tenant.of("intruder").asks(db), AccessDenied)

    assert "system:serviceaccount:shop:intruder" in message
    assert "AADSTS700213" in message


async def test_the_same_account_of_another_namespace_is_refused(
    provider: Provider, tenant: Tenant, db: dict[str, str]
) -> None:
    """Its name alone says nothing."""
    await provider.fetch(tenant.asks(db))

    message = await refused(provider, tenant.of("web", "elsewhere").asks(db), AccessDenied)

    assert "service account elsewhere/web" in message
    assert "AADSTS700213" in message


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"aud": ["elsewhere"]}, "AADSTS700212"),
        ({"iss": "https://other.example"}, "AADSTS700211"),
        ({"sub": "system:serviceaccount:shop:other"}, "AADSTS700213"),
        ({"exp": 1}, r"not valid at this time: compare clocks \(AADSTS700024\)"),
    ],
)
async def test_a_token_that_does_not_match_is_refused(
    provider: Provider, tenant: Tenant, db: dict[str, str], claims: dict[str, Any], words: str
) -> None:
    """Audience, issuer, subject and time are Entra's to check; the message says what must match."""
    with pytest.raises(AccessDenied, match=words):
        await provider.fetch(tenant.asks(db, tokens={AUDIENCE: tenant.token(**claims)}))

    assert tenant.azure.faults.count("get secrets") == 0


async def test_a_forged_token_is_refused(
    provider: Provider, tenant: Tenant, db: dict[str, str], azure: AzureEmulator
) -> None:
    """Entra finds the issuer's keys itself."""
    import jwt  # noqa: PLC0415 - for this test alone

    claims = jwt.decode(tenant.token(), options={"verify_signature": False})
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forged = jwt.encode(claims, stranger, algorithm="RS256", headers={"kid": "1"})

    message = await refused(provider, tenant.asks(db, tokens={AUDIENCE: forged}), AccessDenied)

    assert "AADSTS50013" in message
    assert azure.faults.count("get secrets") == 0


async def test_a_pod_without_the_token_is_told_what_to_request(
    provider: Provider, tenant: Tenant, db: dict[str, str]
) -> None:
    """In the CSIDriver object; nobody is asked."""
    message = await refused(provider, tenant.asks(db, tokens={"keyferry": "ours"}), InvalidSecretProviderClass)

    assert f'no service account token for audience "{AUDIENCE}"' in message
    assert not tenant.azure.faults.calls


async def test_the_service_account_may_name_client_and_tenant(
    provider: Provider, tenant: Tenant, db: dict[str, str]
) -> None:
    """As Azure's webhook reads them, where the class names none."""
    request = tenant.asks(db, clientID="", tenantID="", annotations={ANNOTATION: CLIENT, TENANT_ANNOTATION: TENANT})

    (found,) = await provider.fetch(request)

    assert found.contents == b"horse"


async def test_the_class_comes_before_the_service_account(
    provider: Provider, tenant: Tenant, db: dict[str, str]
) -> None:
    """What a class says needs no second word."""
    annotations = {ANNOTATION: "nobody", TENANT_ANNOTATION: "nowhere"}

    (found,) = await provider.fetch(tenant.asks(db, annotations=annotations))

    assert found.contents == b"horse"


async def test_an_annotation_cannot_change_where_the_token_goes(
    provider: Provider, tenant: Tenant, db: dict[str, str]
) -> None:
    """It becomes part of a URL."""
    for annotation in ({ANNOTATION: "a&b"}, {ANNOTATION: CLIENT, TENANT_ANNOTATION: "../../x"}):
        request = tenant.asks(db, clientID="", tenantID="", annotations={TENANT_ANNOTATION: TENANT, **annotation})

        assert "has characters that it cannot have" in await refused(provider, request, AccessDenied)
    assert not tenant.azure.faults.calls


async def test_without_anybody_to_read_all_ways_are_named(
    provider: Provider, tenant: Tenant, db: dict[str, str]
) -> None:
    """With upstream's words among them."""
    message = await refused(provider, tenant.asks(db, clientID=""), InvalidSecretProviderClass)

    assert "clientID is not set" in message
    assert "failed to get credentials, nodePublishSecretRef secret is not set" in message
    assert ANNOTATION in message


@pytest.mark.parametrize("names", [("clientid", "clientsecret"), ("clientID", "ClientSecret")])
async def test_a_pod_may_bring_a_service_principal(
    provider: Provider, tenant: Tenant, db: dict[str, str], names: tuple[str, str]
) -> None:
    """In its nodePublishSecretRef, whose keys may have any case; it needs no token then."""
    tenant.vault.allow(OTHER)
    given = dict(zip(names, (OTHER, tenant.azure.directory.create_secret(TENANT, OTHER)), strict=True))

    for _ in range(2):
        (found,) = await provider.fetch(tenant.asks(db, clientID="", secret=given, tokens={}))

        assert found.contents == b"horse"
    assert tenant.azure.faults.count("token") == 1


async def test_another_client_secret_is_proved_anew(provider: Provider, tenant: Tenant, db: dict[str, str]) -> None:
    """Whoever knows only the client's id must not read by what was kept for another."""
    tenant.vault.allow(OTHER)
    secret = tenant.azure.directory.create_secret(TENANT, OTHER)
    good = tenant.asks(db, clientID="", secret={"clientid": OTHER, "clientsecret": secret}, tokens={})
    bad = tenant.asks(db, clientID="", secret={"clientid": OTHER, "clientsecret": "guessed"}, tokens={})
    await provider.fetch(good)

    message = await refused(provider, bad, AccessDenied)

    assert "the client secret is wrong (AADSTS7000215)" in message
    assert "guessed" not in message


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"clientid": OTHER}, "could not find clientsecret in secrets"),
        ({"user": "x"}, "could not find clientid and clientsecret in secrets"),
        ({"clientid": "a/b", "clientsecret": "x"}, "clientid has characters"),
    ],
)
async def test_half_a_service_principal_is_refused(
    provider: Provider, tenant: Tenant, db: dict[str, str], given: dict[str, str], words: str
) -> None:
    """Upstream's message would show the half that is there."""
    message = await refused(provider, tenant.asks(db, clientID="", secret=given), InvalidSecretProviderClass)

    assert words in message
    assert not tenant.azure.faults.calls


async def test_a_workload_identity_comes_before_a_service_principal(
    provider: Provider, tenant: Tenant, db: dict[str, str]
) -> None:
    """If the class names it and the pod has a token; else the service principal is used, as in upstream."""
    tenant.vault.allow(OTHER)
    secret = {"clientid": OTHER, "clientsecret": tenant.azure.directory.create_secret(TENANT, OTHER)}

    await provider.fetch(tenant.asks(db, secret=secret))
    await provider.fetch(tenant.asks(db, secret=secret, tokens={}))

    assert [call.resource for call in tenant.azure.faults.calls if call.operation == "token"] == [CLIENT, OTHER]


async def test_the_nodes_identity_reads_where_the_operator_allows_it(
    opened: Callable[..., Any], node: AzureEmulator, tenant: Tenant, db: dict[str, str]
) -> None:
    """The pod needs no token; the node is asked once."""
    request = tenant.asks(db, clientID="", useVMManagedIdentity="true", userAssignedIdentityID="node-reader", tokens={})

    async with opened(**MANAGED) as provider:
        for _ in range(2):
            (found,) = await provider.fetch(request)

            assert found.contents == b"horse"
    assert (node.faults.count("imds"), node.faults.count("token")) == (1, 0)


@pytest.mark.usefixtures("node")
async def test_the_node_is_asked_without_a_proxy(
    opened: Callable[..., Any], tenant: Tenant, db: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address means something on the node only."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    async with opened(**MANAGED) as provider:
        request = tenant.asks(db, useVMManagedIdentity="true", userAssignedIdentityID="node-reader")

        assert await provider.fetch(request)


@pytest.mark.usefixtures("node")
async def test_the_nodes_own_identity_is_who_reads_without_a_name(
    opened: Callable[..., Any], tenant: Tenant, db: dict[str, str]
) -> None:
    """System-assigned; here it may not read."""
    async with opened(**MANAGED) as provider:
        request = tenant.asks(db, useVMManagedIdentity="true")

        message = await refused(provider, request, AccessDenied)

    assert "as managed identity (system-assigned) of the fetcher's node" in message


@pytest.mark.usefixtures("node")
async def test_an_identity_that_the_node_does_not_have_is_denied(
    opened: Callable[..., Any], tenant: Tenant, db: dict[str, str]
) -> None:
    """For good: nobody tries again."""
    async with opened(**MANAGED) as provider:
        request = tenant.asks(db, useVMManagedIdentity="true", userAssignedIdentityID="stranger")

        message = await refused(provider, request, AccessDenied)

    assert "the node has no such identity" in message


@pytest.mark.usefixtures("node")
async def test_the_nodes_identity_is_not_used_otherwise(provider: Provider, tenant: Tenant, db: dict[str, str]) -> None:
    """Whoever may write a class would read what the node may read."""
    request = tenant.asks(db, useVMManagedIdentity="true", userAssignedIdentityID="node-reader")

    message = await refused(provider, request, AccessDenied)

    assert "KEYFERRY_AZURE_ALLOW_MANAGED_IDENTITY" in message
    assert not tenant.azure.faults.calls


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"clientID": "nobody"}, r"the tenant has no such client.*\(AADSTS700016\)"),
        ({"tenantID": "nowhere"}, r"there is no such tenant.*\(AADSTS90002\)"),
    ],
)
async def test_what_entra_does_not_know_is_denied(
    provider: Provider, tenant: Tenant, db: dict[str, str], parameters: dict[str, str], words: str
) -> None:
    """With Entra's code, and the parameter to look at."""
    with pytest.raises(AccessDenied, match=f"failed to get key vault token of client .*{words}"):
        await provider.fetch(tenant.asks(db, **parameters))  # type: ignore[arg-type]  # parameters only


async def test_a_vault_of_another_tenant_is_denied(provider: Provider, tenant: Tenant) -> None:
    """Its challenge names its own; the token is of the class's all the same."""
    tenant.azure.vault("far-away", tenant="99999999-2222-3333-4444-555555555555").set_secret("db", "horse")

    message = await refused(provider, tenant.asks({"objectName": "db"}, keyvaultName="far-away"), AccessDenied)

    assert "the vault belongs to another tenant: see tenantID (401 Unauthorized/AKV10032)" in message
