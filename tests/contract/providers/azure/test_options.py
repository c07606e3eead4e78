"""Objects that may be missing, are documents, or are bounded; and what names them to change events."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from fetcher.provider import Answer, Provider, scope_of
from keyferry.errors import (
    AccessDenied,
    ContentTooLarge,
    InvalidSecretProviderClass,
    ProviderUnavailable,
    SecretNotFound,
)
from keyferry.testing.azure import Fault

if TYPE_CHECKING:
    from tests.contract.providers.azure.conftest import Tenant

Files = Callable[..., Any]
CLIENT = "aaaaaaaa-1111-2222-3333-444444444444"
DOCUMENT = {"user": "web", "password": "horse", "port": 5432, "none": None, "deep": {"a": [1]}}


@pytest.fixture
def document(tenant: Tenant) -> dict[str, str]:
    """An entry for a secret that is a JSON document, and so YAML too."""
    tenant.vault.set_secret("doc", json.dumps(DOCUMENT))
    return {"objectName": "doc"}


@pytest.mark.parametrize("kind", ["secret", "key", "cert"])
async def test_what_is_optional_and_missing_is_left_out(
    provider: Provider, tenant: Tenant, db: dict[str, str], kind: str
) -> None:
    """By its id; the rest of the class is there."""
    found = await provider.fetch(tenant.asks({"objectName": "gone", "objectType": kind, "optional": True}, db))

    assert isinstance(found, Answer)
    assert [secret.path for secret in found] == ["db"]
    assert (found.left_out, found.lease) == ((f"{kind}/gone",), None)


async def test_a_class_may_have_nothing_but_what_is_missing(provider: Provider, tenant: Tenant) -> None:
    """The volume is then empty; what is named twice is told once."""
    gone = {"objectName": "gone", "optional": True}

    found = await provider.fetch(tenant.asks(gone, {**gone, "objectAlias": "other"}))

    assert found == Answer((), ("secret/gone",))


async def test_what_was_missing_comes_once_it_exists(provider: Provider, tenant: Tenant, db: dict[str, str]) -> None:
    """And goes again when it is deleted."""
    request = tenant.asks({**db, "optional": True})
    tenant.vault.delete("secrets", "db")
    before = await provider.fetch(request)
    tenant.vault.recover("secrets", "db")

    after = await provider.fetch(request)

    assert before == Answer((), ("secret/db",))
    assert [secret.contents for secret in after] == [b"horse"]


@pytest.mark.parametrize("more", [{"objectVersion": "0" * 32}, {"objectVersion": "0" * 32, "objectVersionHistory": 2}])
async def test_a_version_that_is_missing_is_left_out(
    provider: Provider, tenant: Tenant, db: dict[str, str], more: dict[str, Any]
) -> None:
    """Although the object has others."""
    assert await provider.fetch(tenant.asks({**db, **more, "optional": True})) == Answer((), ("secret/db",))


@pytest.mark.parametrize(
    "answer",
    [Fault(), Fault(body={"value": [], "nextLink": None}), Fault(status=404, code="SecretNotFound")],
    ids=["emulator", "empty", "missing"],
)
async def test_a_history_of_nothing_is_left_out(provider: Provider, tenant: Tenant, answer: Fault) -> None:
    """Whether the vault lists nothing or says that there is nothing to list."""
    tenant.azure.faults.always("list secrets", answer)

    found = await provider.fetch(tenant.asks({"objectName": "gone", "objectVersionHistory": 3, "optional": True}))

    assert found == Answer((), ("secret/gone",))


@pytest.mark.parametrize("history", [1, 3])
async def test_what_is_disabled_is_not_missing(
    provider: Provider, tenant: Tenant, db: dict[str, str], history: int
) -> None:
    """Somebody has done so on purpose: neither is an older version served, nor the pod started without it."""
    tenant.vault.find("secrets", "db").enabled = False  # type: ignore[union-attr]  # it is there

    with pytest.raises(SecretNotFound, match=r"this version is disabled|no version of it is enabled") as refused:
        await provider.fetch(tenant.asks({**db, "objectVersionHistory": history, "optional": True}))

    assert refused.value.reason == "SecretNotFound"
    assert refused.value.retry_after is None


async def test_what_has_expired_is_written_although_optional(files: Files, tenant: Tenant) -> None:
    """As Key Vault gives it out."""
    tenant.vault.set_secret("db", "horse", expires=1, not_before=1)

    assert (await files({"objectName": "db", "optional": True}))["db"].contents == b"horse"


async def test_what_is_denied_is_not_missing(provider: Provider, tenant: Tenant, db: dict[str, str]) -> None:
    """A right that somebody took away must not look like a secret that nobody has made."""
    tenant.vault.forbid(CLIENT)

    with pytest.raises(AccessDenied, match="secrets/get"):
        await provider.fetch(tenant.asks({**db, "optional": True}))


@pytest.mark.parametrize(
    "fault", [Fault(status=404, body="<html>"), Fault(status=503), Fault(malformed=True)], ids=["proxy", "down", "odd"]
)
async def test_what_is_not_answered_is_not_missing(
    opened: Callable[..., Any], tenant: Tenant, db: dict[str, str], fault: Fault
) -> None:
    """Nor is what a proxy knows nothing of."""
    tenant.azure.faults.always("get secrets", fault)

    async with opened(KEYFERRY_AZURE_ATTEMPTS="1") as provider:
        with pytest.raises(ProviderUnavailable):
            await provider.fetch(tenant.asks({**db, "optional": True}))


async def test_an_error_beside_what_is_left_out_is_told(provider: Provider, tenant: Tenant) -> None:
    """Only of what is not optional."""
    with pytest.raises(SecretNotFound) as refused:
        await provider.fetch(tenant.asks({"objectName": "one", "optional": True}, {"objectName": "two"}))

    assert "objectName:two" in refused.value.message
    assert "objectName:one" not in refused.value.message


@pytest.mark.parametrize("field", ["extractJSONKey", "extractYAMLKey"])
async def test_a_key_of_a_document_is_taken_out(files: Files, document: dict[str, str], field: str) -> None:
    """Several of one document cost one call."""
    found = await files(
        {**document, field: "user", "objectAlias": "user"}, {**document, field: "password", "objectAlias": "password"}
    )

    assert {path: each.contents for path, each in found.items()} == {"user": b"web", "password": b"horse"}


@pytest.mark.parametrize("language", ["json", "yaml"])
async def test_a_document_becomes_a_folder(files: Files, tenant: Tenant, language: str) -> None:
    """Each file with the secret's id, version, permission and name for events."""
    version = tenant.vault.set_secret("Doc", json.dumps(DOCUMENT))

    found = await files({"objectName": "Doc", "expand": language, "objectAlias": "etc/doc", "filePermission": "0400"})

    assert sorted(found) == ["etc/doc/deep", "etc/doc/password", "etc/doc/port", "etc/doc/user"]
    assert found["etc/doc/port"].contents == b"5432"
    assert {(each.object_id, each.version, each.mode, each.source) for each in found.values()} == {
        ("secret/Doc", version, 0o400, "shop-vault/secret/doc")
    }


async def test_a_document_that_is_encoded_is_decoded_first(files: Files, tenant: Tenant) -> None:
    """The limit counts what the file would have."""
    text = json.dumps({"user": "web"})
    tenant.vault.set_secret("db", text.encode().hex())

    found = await files(
        {"objectName": "db", "objectEncoding": "hex", "extractJSONKey": "user", "maxBytes": str(len(text))}
    )

    assert found["db"].contents == b"web"


async def test_documents_of_a_history_are_folders_in_folders(files: Files, tenant: Tenant) -> None:
    """The number first, as for plain secrets."""
    for number in range(3):
        tenant.vault.set_secret("db", json.dumps({"user": f"u{number}"}))

    found = await files({"objectName": "db", "objectVersionHistory": 2, "expand": "json"})

    assert {path: each.contents for path, each in found.items()} == {"db/0/user": b"u2", "db/1/user": b"u1"}


async def test_a_key_that_is_missing_is_named(provider: Provider, tenant: Tenant, document: dict[str, str]) -> None:
    """And left out where the class says so."""
    wanted = {**document, "extractJSONKey": "token"}
    with pytest.raises(SecretNotFound, match=r"objectName:doc of vault shop-vault: key 'token' not found in JSON"):
        await provider.fetch(tenant.asks(wanted))

    assert await provider.fetch(tenant.asks({**wanted, "optional": True})) == Answer((), ("secret/doc",))


@pytest.mark.parametrize("field", [{"extractJSONKey": "a"}, {"expand": "json"}])
async def test_what_is_no_document_is_an_error_without_its_value(
    files: Files, tenant: Tenant, field: dict[str, str]
) -> None:
    """Also where it is optional: it is there."""
    tenant.vault.set_secret("db", "canary {")

    with pytest.raises(InvalidSecretProviderClass, match=r"objectName:db of vault .*Invalid JSON format") as refused:
        await files({"objectName": "db", "optional": True, **field})

    assert "canary" not in refused.value.message


@pytest.mark.parametrize("kind", ["secret", "key", "cert"])
async def test_what_is_larger_than_the_class_allows_is_refused(
    files: Files, certificate: Callable[..., Any], kind: str
) -> None:
    """By its size, which no optional hides."""
    certificate("tls")

    with pytest.raises(ContentTooLarge, match=rf"objectType:{kind}, objectName:tls .* bytes, where maxBytes allows 64"):
        await files({"objectName": "tls", "objectType": kind, "maxBytes": 64, "optional": True})


async def test_the_halves_of_a_certificate_stay_beside_it(
    opened: Callable[..., Any], tenant: Tenant, certificate: Callable[..., Any]
) -> None:
    """With options too."""
    certificate("tls", pfx=True)

    async with opened(KEYFERRY_AZURE_WRITE_CERT_AND_KEY_IN_SEPARATE_FILES="true") as provider:
        found = await provider.fetch(tenant.asks({"objectName": "tls", "optional": True, "maxBytes": "64Ki"}))

    assert [each.path for each in found] == ["tls", "tls.crt", "tls.key"]


async def test_files_in_each_others_way_are_refused(files: Files, tenant: Tenant, document: dict[str, str]) -> None:
    """Where only the document tells that they are."""
    tenant.vault.set_secret("db", "horse")

    with pytest.raises(InvalidSecretProviderClass, match=r"file doc/user/x needs a folder where doc/user is a file"):
        await files({**document, "expand": "json"}, {"objectName": "db", "objectAlias": "doc/user/x"})


async def test_a_class_is_a_number_of_files_at_most(files: Files, tenant: Tenant) -> None:
    """A few entries must not become more of them than a fetcher can hold."""
    tenant.vault.set_secret("doc", json.dumps({f"k{number}": "" for number in range(1000)}))

    with pytest.raises(ContentTooLarge, match="more than 10000 files"):
        await files(*({"objectName": "doc", "expand": "json", "objectAlias": f"d{number}"} for number in range(11)))


@pytest.mark.parametrize(("kind", "word"), [("secret", "secret"), ("key", "key"), ("cert", "certificate")])
async def test_files_have_the_names_of_change_events(
    files: Files, certificate: Callable[..., Any], kind: str, word: str
) -> None:
    """In lower case, whatever the class writes: names in Key Vault have no case."""
    certificate("Tls")

    found = await files({"objectName": "Tls", "objectType": kind}, keyvaultName="Shop-Vault")

    assert [each.source for each in found.values()] == [f"shop-vault/{word}/tls"]


async def test_each_vault_is_a_backend_of_its_own(provider: Provider, tenant: Tenant) -> None:
    """Nothing else decides what a class gets, beside whose pod asks."""
    one, other = (
        scope_of(provider, tenant.asks({"objectName": "x"}, keyvaultName=name).parameters)
        for name in ("Shop-Vault", "other")
    )

    assert one.backend.endswith("/vaults/shop-vault")
    assert other.backend.endswith("/vaults/other")
    assert (one.by_pod, one.by_region) == (False, False)
