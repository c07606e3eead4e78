"""Vault over TLS: what is trusted, and what is not."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fetcher.providers.vault import Vault
from keyferry.errors import InvalidSecretProviderClass, ProviderUnavailable
from keyferry.testing.openbao import OpenBao, openbao_server
from keyferry.testing.serving import serving

if TYPE_CHECKING:
    from tests.contract.providers.vault.conftest import Tenant


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """An OpenBao with a certificate of its own CA."""
    with openbao_server(tmp_path_factory.mktemp("secure"), tls=True) as running:
        yield running


@pytest.fixture
async def tenant(secure: OpenBao, tenants: Callable[..., Any]) -> Tenant:
    """A tenant of it, with a secret."""
    tenant: Tenant = await tenants(bao=secure)
    await tenant.put("app", password="horse")
    return tenant


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, good for servers and clients, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(hours=1), now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "tls.crt", tmp_path / "tls.key"
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


async def read(vault: Vault, tenant: Tenant, **parameters: Any) -> bytes:
    wanted = {"objectName": "one", "secretPath": tenant.path("app"), "secretKey": "password"}
    (secret,) = await vault.fetch(tenant.asks(wanted, **parameters))
    return bytes(secret.contents)


async def test_a_ca_file_is_trusted(vault: Vault, tenant: Tenant, secure: OpenBao) -> None:
    """The parameter vaultCACertPath."""
    assert await read(vault, tenant, vaultCACertPath=str(secure.ca_file)) == b"horse"


async def test_a_folder_of_ca_files_is_trusted(vault: Vault, tenant: Tenant, secure: OpenBao, tmp_path: Path) -> None:
    """A vaultCADirectory needs no hashed file names."""
    shutil.copy(str(secure.ca_file), tmp_path / "any-name.crt")

    assert await read(vault, tenant, vaultCADirectory=str(tmp_path)) == b"horse"


async def test_an_unknown_ca_is_not_trusted(vault: Vault, tenant: Tenant) -> None:
    """Without parameters only the public CAs count; no token was sent."""
    with pytest.raises(ProviderUnavailable, match="certificate that is not trusted"):
        await read(vault, tenant)

    assert tenant.logins() == 0


async def test_another_name_is_not_trusted(vault: Vault, tenant: Tenant, secure: OpenBao) -> None:
    """The certificate must be for the host, or for vaultTLSServerName."""
    with pytest.raises(ProviderUnavailable, match="vaultTLSServerName"):
        await read(vault, tenant, vaultCACertPath=str(secure.ca_file), vaultTLSServerName="vault.example.com")


async def test_the_certificates_name_may_be_given(vault: Vault, tenant: Tenant, secure: OpenBao) -> None:
    """A vaultTLSServerName is checked instead of the address's host."""
    found = await read(vault, tenant, vaultCACertPath=str(secure.ca_file), vaultTLSServerName="localhost")

    assert found == b"horse"


async def test_checks_can_be_switched_off(vault: Vault, tenant: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    """By vaultSkipTLSVerify, for that class alone: another one is checked as ever. The operator's log tells."""
    assert await read(vault, tenant, vaultSkipTLSVerify="true") == b"horse"
    assert "switches off the check of Vault's certificate" in caplog.text

    with pytest.raises(ProviderUnavailable, match="certificate that is not trusted"):
        await read(vault, tenant)


async def test_a_renewed_ca_file_is_taken_up(
    vault: Vault, tenant: Tenant, secure: OpenBao, certificate: tuple[Path, Path]
) -> None:
    """No restart is needed when a mounted CA changes, or when it was no CA at first."""
    ca, _ = certificate
    with pytest.raises(ProviderUnavailable, match="certificate that is not trusted"):
        await read(vault, tenant, vaultCACertPath=str(ca))
    shutil.copy(Path(__file__), ca)
    with pytest.raises(InvalidSecretProviderClass, match="vaultCACertPath"):
        await read(vault, tenant, vaultCACertPath=str(ca))
    shutil.copy(str(secure.ca_file), ca)

    assert await read(vault, tenant, vaultCACertPath=str(ca)) == b"horse"


@pytest.mark.parametrize("parameter", ["vaultCACertPath", "vaultCADirectory", "vaultTLSClientCertPath"])
async def test_a_file_that_is_not_there_is_named(vault: Vault, tenant: Tenant, parameter: str) -> None:
    """By its parameter, not by what the fetcher's file system says of it."""
    with pytest.raises(InvalidSecretProviderClass, match=parameter):
        await read(vault, tenant, **{parameter: "/nowhere/ca.pem"})


async def test_a_client_certificate_is_shown(vault: Vault, tenant: Tenant, certificate: tuple[Path, Path]) -> None:
    """A server that asks for one gets it, with its key in another file; without it there is no connection."""
    file, key = certificate
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(file))
    context.load_cert_chain(file, key)
    context.verify_mode = ssl.CERT_REQUIRED
    app = web.Application()

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"auth": {"client_token": "t", "lease_duration": 0}, "data": {"password": "horse"}})

    app.router.add_route("*", "/{path:.*}", answer)
    async with serving(app, tls=context) as url:
        there = tenant.at(url)
        own = {"vaultTLSClientCertPath": str(file), "vaultTLSClientKeyPath": str(key)}

        assert await read(vault, there, vaultCACertPath=str(file), **own) == b"horse"
        with pytest.raises(ProviderUnavailable):
            await read(vault, there, vaultCACertPath=str(file))


async def test_http_towards_a_tls_port_is_explained(vault: Vault, tenant: Tenant, secure: OpenBao) -> None:
    """The server's 400, if it comes through, is not Vault's, and nobody's access was denied."""
    with pytest.raises(ProviderUnavailable, match=r"is this Vault's address|broke off"):
        await read(vault, tenant.at(secure.address.replace("https", "http")))
