"""What Azure's bad days mean to a mount, and that no attempt outlives it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from fetcher.provider import Provider
from keyferry.errors import (
    AccessDenied,
    InvalidSecretProviderClass,
    KeyferryError,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    SecretNotFound,
)
from keyferry.testing.azure import Fault

if TYPE_CHECKING:
    from tests.contract.providers.azure.conftest import Tenant

GET = "get secrets"
CLIENT = "aaaaaaaa-1111-2222-3333-444444444444"
LASTING = [
    (Fault(status=500, code="InternalServerError"), r"the vault failed \(500 InternalServerError\)"),
    (Fault(status=503), "the vault failed"),
    (Fault(status=408), "the vault failed"),
    (Fault(malformed=True), "the answer makes no sense"),
    (Fault(malformed=True, status=502), r"the vault failed \(502\)"),
    (Fault(cut=True), "the answer makes no sense"),
    (Fault(body={}), "makes no sense"),
    (Fault(body=[]), "makes no sense"),
    (Fault(body={"value": None, "id": "https://localhost/secrets/db/1"}), "makes no sense"),
    (Fault(body={"value": "x", "id": "https://localhost/secrets/db"}), "makes no sense"),
    (Fault(status=404, body="<html>"), r"the answer \(404\) is not Key Vault's"),
    (Fault(status=403, malformed=True), r"the answer \(403\) is not Key Vault's"),
    (Fault(body={"value": "x", "id": "nowhere"}), "makes no sense"),
    (Fault(status=302, headers=(("Location", "/vaults/shop-vault/secrets/other"),)), "makes no sense"),
]


@pytest.mark.parametrize("fault", [fault for fault, _ in LASTING], ids=repr)
async def test_a_passing_failure_is_not_seen(
    provider: Provider, tenant: Tenant, db: dict[str, str], fault: Fault
) -> None:
    """Another try is made; what makes no sense never reaches a file."""
    tenant.azure.faults.once(GET, fault)

    (found,) = await provider.fetch(tenant.asks(db))

    assert found.contents == b"horse"
    assert tenant.azure.faults.count(GET) == 2


@pytest.mark.parametrize(("fault", "words"), LASTING, ids=repr)
async def test_a_lasting_failure_is_unavailable_after_three_tries(
    provider: Provider, tenant: Tenant, db: dict[str, str], fault: Fault, words: str
) -> None:
    """The text names object, vault and whose pod it was; all is well as soon as Azure is."""
    tenant.azure.faults.always(GET, fault)

    with pytest.raises(ProviderUnavailable, match=f"objectName:db of vault shop-vault as .*shop/web.*: .*{words}"):
        await provider.fetch(tenant.asks(db))

    assert tenant.azure.faults.count(GET) == 3
    tenant.azure.faults.mend()
    assert await provider.fetch(tenant.asks(db))


@pytest.mark.parametrize("operation", [GET, "list secrets", "token"])
async def test_throttling_is_not_answered_by_more_calls(
    provider: Provider, tenant: Tenant, db: dict[str, str], operation: str
) -> None:
    """The pause that Azure asks for goes to kubelet; without one it is ours, and one beyond reason is cut."""
    told = {"code": "Throttled", "status": 429}
    pauses = {17: 17.0, 0: RateLimited.retry_after, 10**5: 300.0}
    tenant.azure.faults.once(operation, *(Fault(**told, retry_after=pause) for pause in pauses))  # type: ignore[arg-type]  # as written

    for pause in pauses.values():
        with pytest.raises(RateLimited, match="asks for fewer calls") as refused:
            await provider.fetch(tenant.asks({**db, "objectVersionHistory": 1 + (operation != GET)}))
        assert refused.value.retry_after == pause
    assert tenant.azure.faults.count(operation) == 3


@pytest.mark.parametrize(
    "case",
    [
        (Fault(status=404, code="SecretNotFound"), SecretNotFound, "no such secret, or not in this version"),
        (Fault(status=403, code="Forbidden"), AccessDenied, "does not grant secrets/get: a role such as"),
        (Fault(status=403, code="Forbidden", inner="ForbiddenByFirewall"), AccessDenied, "the vault's firewall"),
        (Fault(status=403, code="Forbidden", inner="ForbiddenByRbac"), AccessDenied, "assign Key Vault Secrets User"),
        (Fault(status=403, code="Forbidden", inner="SecretExpired"), SecretNotFound, "this version has expired"),
        (Fault(status=403, code="Forbidden", inner="SecretNotYetValid"), SecretNotFound, "is not valid yet"),
        (Fault(status=400, code="BadParameter"), InvalidSecretProviderClass, "the vault refuses name or version"),
        (Fault(status=409, code="Conflict"), ProviderError, r"the vault refuses it \(409 Conflict\)"),
    ],
    ids=repr,
)
async def test_what_only_people_can_mend_is_told_at_once(
    provider: Provider, tenant: Tenant, db: dict[str, str], case: tuple[Fault, type[KeyferryError], str]
) -> None:
    """It is not tried again, nor by kubelet before someone mends it."""
    fault, expected, words = case
    tenant.azure.faults.always(GET, fault)

    with pytest.raises(expected, match=f"objectName:db of vault shop-vault as client {CLIENT} .*{words}") as refused:
        await provider.fetch(tenant.asks(db))

    assert refused.value.retry_after is None
    assert tenant.azure.faults.count(GET) == 1


@pytest.mark.parametrize(
    ("kind", "name"), [("secret", "SecretNotFound"), ("key", "KeyNotFound"), ("cert", "CertificateNotFound")]
)
async def test_what_is_not_there_is_named(provider: Provider, tenant: Tenant, kind: str, name: str) -> None:
    """By type, name and vault."""
    with pytest.raises(
        SecretNotFound, match=rf"get objectType:{kind}, objectName:gone of vault .*no such {kind}.*{name}"
    ):
        await provider.fetch(tenant.asks({"objectName": "gone", "objectType": kind}))


async def test_what_was_deleted_is_not_there(provider: Provider, tenant: Tenant, db: dict[str, str]) -> None:
    """Until it is recovered."""
    tenant.vault.delete("secrets", "db")
    with pytest.raises(SecretNotFound, match="objectName:db"):
        await provider.fetch(tenant.asks(db))
    tenant.vault.recover("secrets", "db")

    assert await provider.fetch(tenant.asks(db))


async def test_a_disabled_version_is_said_to_be_so(provider: Provider, tenant: Tenant, db: dict[str, str]) -> None:
    """The older one is not served instead."""
    tenant.vault.set_secret("db", "staple", enabled=False)

    with pytest.raises(SecretNotFound, match=r"this version is disabled.*\(403 Forbidden/SecretDisabled\)"):
        await provider.fetch(tenant.asks(db))


async def test_a_version_that_does_not_exist_is_named(provider: Provider, tenant: Tenant, db: dict[str, str]) -> None:
    """With its id."""
    with pytest.raises(SecretNotFound, match=f"objectName:db, objectVersion:{'0' * 32} of vault"):
        await provider.fetch(tenant.asks({**db, "objectVersion": "0" * 32}))


@pytest.mark.parametrize(("kind", "right"), [("secret", "secrets"), ("key", "keys"), ("cert", "certificates")])
async def test_a_right_that_is_missing_is_named(provider: Provider, tenant: Tenant, kind: str, right: str) -> None:
    """Reading and listing are granted apart."""
    tenant.vault.forbid(CLIENT)
    with pytest.raises(AccessDenied, match=f"the vault's access policy does not grant {right}/get"):
        await provider.fetch(tenant.asks({"objectName": "x", "objectType": kind}))
    tenant.vault.allow(CLIENT, f"{right}/get")

    with pytest.raises(AccessDenied, match=f"failed to list objectType:{kind}.* does not grant {right}/list"):
        await provider.fetch(tenant.asks({"objectName": "x", "objectType": kind, "objectVersionHistory": 2}))


async def test_all_that_is_missing_is_named_at_once(provider: Provider, tenant: Tenant, db: dict[str, str]) -> None:
    """An author with two mistakes reads of both."""
    with pytest.raises(SecretNotFound) as refused:
        await provider.fetch(tenant.asks({"objectName": "one"}, db, {"objectName": "two", "objectType": "key"}))

    assert "objectType:secret, objectName:one of" in refused.value.message
    assert "objectType:key, objectName:two of" in refused.value.message


async def test_a_passing_failure_does_not_hide_what_only_people_can_mend(
    provider: Provider, tenant: Tenant, db: dict[str, str]
) -> None:
    """Of several the permanent one is told: trying again would not help."""
    tenant.azure.faults.always(GET, Fault(status=429))

    with pytest.raises(SecretNotFound) as refused:
        await provider.fetch(tenant.asks(db, {"objectName": "gone", "objectType": "key"}))

    assert "fewer calls" not in refused.value.message


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(status=500), r"Microsoft Entra ID failed \(500\)"),
        (Fault(status=400, code="invalid_request:90033"), r"failed \(AADSTS90033\)"),
        (Fault(status=400, code="temporarily_unavailable:1"), "Microsoft Entra ID failed"),
        (Fault(status=404, body={"not": "entra"}), "is not Microsoft Entra ID's"),
        (Fault(malformed=True), "makes no sense"),
        (Fault(cut=True), "cannot be reached or broke off"),
        (Fault(body={}), "makes no sense"),
        (Fault(body=[1]), "makes no sense"),
        (Fault(body={"access_token": 1, "expires_in": 5}), "holds no token"),
        (Fault(body={"access_token": "a\nb", "expires_in": 5}), "holds no token"),
        (Fault(body={"access_token": "x", "expires_in": "soon"}), "makes no sense"),
        (Fault(body={"access_token": "x"}), "makes no sense"),
    ],
    ids=repr,
)
async def test_an_entra_that_fails_is_unavailable_after_three_tries(
    provider: Provider, tenant: Tenant, db: dict[str, str], fault: Fault, words: str
) -> None:
    """A passing failure is not seen; no vault is asked without a token."""
    tenant.azure.faults.always("token", fault)
    with pytest.raises(ProviderUnavailable, match=f"failed to get key vault token of client {CLIENT} .*({words})"):
        await provider.fetch(tenant.asks(db))
    assert (tenant.azure.faults.count("token"), tenant.azure.faults.count(GET)) == (3, 0)
    tenant.azure.faults.mend()
    tenant.azure.faults.once("token", fault)

    assert await provider.fetch(tenant.asks(db))


@pytest.mark.parametrize(
    "case",
    [
        (Fault(status=500), ProviderUnavailable),
        (Fault(status=429), RateLimited),
        (Fault(malformed=True), ProviderUnavailable),
        (Fault(cut=True), ProviderUnavailable),
        (Fault(body={"access_token": "x"}), ProviderUnavailable),
    ],
    ids=repr,
)
async def test_a_metadata_service_that_fails_is_not_a_refusal(
    opened: Callable[..., Any],
    tenant: Tenant,
    db: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[Fault, type[KeyferryError]],
) -> None:
    """Kubelet tries again."""
    fault, expected = case
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", tenant.azure.metadata_url)
    tenant.azure.faults.always("imds", fault)

    async with opened(KEYFERRY_AZURE_ALLOW_MANAGED_IDENTITY="true", KEYFERRY_AZURE_ATTEMPTS="1") as provider:
        with pytest.raises(expected, match="of the fetcher's node: the node's metadata service"):
            await provider.fetch(tenant.asks(db, useVMManagedIdentity="true"))


async def test_no_attempt_outlives_the_deadline(provider: Provider, tenant: Tenant, db: dict[str, str]) -> None:
    """And none is made after it."""
    await provider.fetch(tenant.asks(db))
    tenant.azure.faults.always(GET, Fault(seconds=60))

    with pytest.raises(ProviderUnavailable, match="in time"):
        await provider.fetch(tenant.asks(db, seconds=0.5))

    assert tenant.azure.faults.count(GET) == 2
    await asyncio.sleep(0.5)
    assert tenant.azure.faults.count(GET) == 2


async def test_a_slow_entra_does_not_outlive_the_deadline_either(
    provider: Provider, tenant: Tenant, db: dict[str, str]
) -> None:
    """The exchange goes on for those who come later."""
    tenant.azure.faults.once("token", Fault(seconds=1.0))
    with pytest.raises(ProviderUnavailable, match="shop-vault does not answer all calls of the class in time"):
        await provider.fetch(tenant.asks(db, seconds=0.3))

    assert await provider.fetch(tenant.asks(db))

    assert tenant.azure.faults.count("token") == 1


async def test_a_deadline_that_has_passed_asks_nobody(provider: Provider, tenant: Tenant, db: dict[str, str]) -> None:
    """Kubelet has given up already."""
    await provider.fetch(tenant.asks(db))
    tenant.azure.faults.calls.clear()

    with pytest.raises(ProviderUnavailable):
        await provider.fetch(tenant.asks(db, seconds=-1))

    assert not tenant.azure.faults.calls


@pytest.mark.parametrize("operation", [GET, "token"])
async def test_a_slow_try_gives_way_to_another(
    opened: Callable[..., Any], tenant: Tenant, db: dict[str, str], operation: str
) -> None:
    """One lost answer must not cost the mount."""
    tenant.azure.faults.once(operation, Fault(seconds=60))

    async with opened(KEYFERRY_AZURE_TIMEOUT="300ms") as provider:
        (found,) = await provider.fetch(tenant.asks(db))

    assert found.contents == b"horse"


async def test_an_outage_ends_without_a_restart(provider: Provider, tenant: Tenant, db: dict[str, str]) -> None:
    """Connections that were cut are replaced."""
    await provider.fetch(tenant.asks(db))
    await tenant.azure.stop()
    with pytest.raises(ProviderUnavailable, match="cannot be reached or broke off"):
        await provider.fetch(tenant.asks(db))
    await tenant.azure.start()

    assert await provider.fetch(tenant.asks(db))
