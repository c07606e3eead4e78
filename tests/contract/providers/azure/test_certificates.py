"""Certificates and keys (upstream's e2e: PEM, PKCS12, ECC, separate files; RSA, RSA-HSM, EC-HSM)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from fetcher.provider import Provider
from keyferry.errors import ProviderError
from keyferry.testing.azure.certificates import Issued, issue, jwk
from keyferry.testing.azure.vaults import Vault

if TYPE_CHECKING:
    from tests.contract.providers.azure.conftest import Tenant

Files = Callable[..., Any]
Certificate = Callable[..., Issued]

SEPARATE = {"KEYFERRY_AZURE_WRITE_CERT_AND_KEY_IN_SEPARATE_FILES": "true"}


def public(key: Any) -> bytes:
    pem: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def private(key: Any) -> bytes:
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


@pytest.mark.parametrize("kind", ["RSA", "EC"])
@pytest.mark.parametrize("pfx", [False, True])
async def test_three_types_give_the_parts_of_one_certificate(
    files: Files, certificate: Certificate, kind: str, *, pfx: bool
) -> None:
    """Certificate alone, public key alone, and key with all certificates, whichever way the vault keeps them."""
    issued = certificate(kind=kind, pfx=pfx)

    found = await files(
        {"objectName": "tls", "objectType": "cert", "objectAlias": "tls.crt"},
        {"objectName": "tls", "objectType": "key", "objectAlias": "tls.pub"},
        {"objectName": "tls", "objectType": "secret", "objectAlias": "tls.pem"},
    )

    assert found["tls.crt"].contents == issued.chain[0].public_bytes(Encoding.PEM)
    assert found["tls.pub"].contents == public(issued.key.public_key())
    whole = found["tls.pem"].contents
    assert private(load_pem_private_key(whole, None)) == private(issued.key)
    assert x509.load_pem_x509_certificates(whole) == list(issued.chain)
    assert whole.startswith(b"-----BEGIN PRIVATE KEY-----")


async def test_a_chain_is_put_in_order(files: Files, certificate: Certificate) -> None:
    """Server, intermediate, root: some servers present certificates as they stand in the file."""
    issued = certificate(pfx=True, reverse=True)

    whole = (await files({"objectName": "tls"}))["tls"].contents

    assert x509.load_pem_x509_certificates(whole) == list(issued.chain)


async def test_a_chain_stays_as_it_is_where_the_operator_wants_it(
    opened: Callable[..., Any], tenant: Tenant, certificate: Certificate
) -> None:
    """The server's certificate comes first all the same."""
    leaf, intermediate, root = certificate(pfx=True, reverse=True).chain

    async with opened(KEYFERRY_AZURE_CONSTRUCT_PEM_CHAIN="false") as provider:
        (found,) = await provider.fetch(tenant.asks({"objectName": "tls"}))

    assert x509.load_pem_x509_certificates(found.contents) == [leaf, root, intermediate]


async def test_pkcs12_stays_as_it_is_if_asked_for(files: Files, certificate: Certificate, tenant: Tenant) -> None:
    """As the vault's base64, or as bytes with an encoding beside it."""
    issued = certificate(pfx=True)
    kept = tenant.vault.objects["secrets"]["tls"][0].fields["value"]

    found = await files(
        {"objectName": "tls", "objectFormat": "pfx"},
        {"objectName": "tls", "objectFormat": "PFX", "objectEncoding": "base64", "objectAlias": "tls.pfx"},
    )

    assert found["tls"].contents == kept.encode()
    loaded = load_pkcs12(found["tls.pfx"].contents, None)
    assert loaded.cert
    assert loaded.cert.certificate == issued.chain[0]
    assert base64.b64decode(kept) == found["tls.pfx"].contents


@pytest.mark.parametrize("pfx", [False, True])
async def test_certificate_and_key_can_have_files_of_their_own(
    opened: Callable[..., Any], tenant: Tenant, certificate: Certificate, *, pfx: bool
) -> None:
    """Beside the one that holds both; other secrets have only one file."""
    issued = certificate(pfx=pfx)
    tenant.vault.set_secret("db", "horse")

    async with opened(**SEPARATE) as provider:
        secrets = await provider.fetch(
            tenant.asks({"objectName": "tls", "filePermission": "0440"}, {"objectName": "db"})
        )

    found = {each.path: each for each in secrets}
    assert sorted(found) == ["db", "tls", "tls.crt", "tls.key"]
    assert x509.load_pem_x509_certificates(found["tls.crt"].contents) == list(issued.chain)
    assert found["tls.key"].contents == private(issued.key)
    assert found["tls"].contents == found["tls.key"].contents + found["tls.crt"].contents
    assert {(each.mode, each.object_id) for path, each in found.items() if path != "db"} == {(0o440, "secret/tls")}


async def test_pkcs12_as_it_is_has_no_files_of_its_own(
    opened: Callable[..., Any], tenant: Tenant, certificate: Certificate
) -> None:
    """Upstream writes two empty ones."""
    certificate(pfx=True)

    async with opened(**SEPARATE) as provider:
        found = await provider.fetch(tenant.asks({"objectName": "tls", "objectFormat": "pfx"}))

    assert [each.path for each in found] == ["tls"]


async def test_a_history_of_certificates_is_read(files: Files, certificate: Certificate) -> None:
    """All three types have one."""
    old, new = certificate(), certificate()

    found = await files(
        {"objectName": "tls", "objectType": "cert", "objectVersionHistory": 2, "objectAlias": "c"},
        {"objectName": "tls", "objectType": "key", "objectVersionHistory": 2, "objectAlias": "k"},
        {"objectName": "tls", "objectType": "secret", "objectVersionHistory": 2, "objectAlias": "s"},
    )

    for index, issued in enumerate((new, old)):
        assert found[f"c/{index}"].contents == issued.chain[0].public_bytes(Encoding.PEM)
        assert found[f"k/{index}"].contents == public(issued.key.public_key())
        assert found[f"s/{index}"].contents == issued.pem().encode()
    assert found["c/1"].object_id == "cert/tls/1"


async def test_an_old_version_of_a_certificate_can_be_pinned(
    files: Files, certificate: Certificate, tenant: Tenant
) -> None:
    """By the id that it shares with its key and its secret."""
    old = certificate()
    version = tenant.vault.objects["certificates"]["tls"][0].id
    certificate()

    found = await files({"objectName": "tls", "objectType": "cert", "objectVersion": version})

    assert found["tls"].contents == old.chain[0].public_bytes(Encoding.PEM)
    assert found["tls"].version == version


@pytest.mark.parametrize(
    ("kty", "crv"),
    [("RSA", ""), ("RSA-HSM", ""), ("EC", "P-256"), ("EC", "P-384"), ("EC-HSM", "P-384"), ("EC-HSM", "P-521")],
)
async def test_a_keys_public_half_is_written(files: Files, tenant: Tenant, kty: str, crv: str) -> None:
    """The private one never leaves the vault."""
    tenant.vault.create_key("sign", kty, crv or "P-256")
    kept = tenant.vault.objects["keys"]["sign"][0].fields["key"]

    pem = (await files({"objectName": "sign", "objectType": "key"}))["sign"].contents

    assert {**jwk(load_pem_public_key(pem)), "kty": kty, "key_ops": kept["key_ops"]} == kept  # type: ignore[arg-type]  # RSA or EC


@pytest.mark.parametrize(
    ("kty", "crv", "words"),
    [("EC", "P-256K", "curve P-256K is not supported"), ("oct-HSM", "", "key type 'oct-HSM' currently not supported")],
)
async def test_keys_without_a_public_half_that_go_knows_are_refused(
    files: Files, tenant: Tenant, kty: str, crv: str, words: str
) -> None:
    """With upstream's words."""
    tenant.vault.create_key("sign", kty, crv)

    with pytest.raises(ProviderError, match=words):
        await files({"objectName": "sign", "objectType": "key"})


@pytest.mark.parametrize(
    ("content_type", "value", "words"),
    [
        ("text/plain", "x", "unknown content type 'text/plain'"),
        ("application/x-pkcs12", "canary!", "its value is not base64"),
        ("application/x-pkcs12", base64.b64encode(b"canary").decode(), "is no PKCS#12 without a password"),
        ("application/x-pkcs12", base64.b64encode(b"0" * 70_000).decode(), "is larger"),
    ],
)
async def test_a_certificates_secret_that_is_none_is_refused(
    provider: Provider, tenant: Tenant, content_type: str, value: str, words: str
) -> None:
    """Without quoting it."""
    issued = issue(kind="EC")
    tenant.vault.import_certificate("tls", issued.key, issued.chain, (content_type, value))

    with pytest.raises(ProviderError, match=words) as refused:
        await provider.fetch(tenant.asks({"objectName": "tls"}))

    assert "canary" not in refused.value.message


async def test_a_secret_of_the_same_content_type_without_a_certificate_is_a_plain_one(
    files: Files, tenant: Tenant
) -> None:
    """What anybody wrote there is not Key Vault's to know."""
    vault: Vault = tenant.vault
    vault.set_secret("db", "horse", "application/x-pkcs12")

    assert (await files({"objectName": "db"}))["db"].contents == b"horse"
