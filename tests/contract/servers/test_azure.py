"""The emulated Key Vault as Azure's own SDKs see it, used as a user uses them."""

import asyncio
import base64
import contextlib
import json
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import aiohttp
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceRequestError,
)
from azure.keyvault.certificates import CertificateContentType, CertificatePolicy
from azure.keyvault.certificates.aio import CertificateClient
from azure.keyvault.keys import KeyCurveName, KeyType
from azure.keyvault.keys.aio import KeyClient
from azure.keyvault.secrets.aio import SecretClient
from cryptography.hazmat.primitives.serialization import Encoding

from keyferry.testing.azure import TENANT, AzureEmulator, Fault
from keyferry.testing.azure.certificates import issue
from keyferry.testing.kube import KubeAPI


class Given:
    """A credential whose token is there already."""

    def __init__(self, token: str) -> None:
        self.token = token

    async def get_token(self, *_: str, **__: Any) -> AccessToken:
        """What the SDK asks for."""
        return AccessToken(self.token, 10**10)

    async def close(self) -> None:
        """Nothing to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Sdk:
    """The SDK's three clients of one vault."""

    secrets: SecretClient
    keys: KeyClient
    certificates: CertificateClient


@contextlib.asynccontextmanager
async def sdk(azure: AzureEmulator, token: str) -> AsyncIterator[Sdk]:
    """Clients with a token."""
    about: Any = {"connection_verify": azure.ca_file, "verify_challenge_resource": False, "retry_total": 0}
    url = azure.vault_url.replace("{name}", "demo")
    async with (
        SecretClient(url, Given(token), **about) as secrets,
        KeyClient(url, Given(token), **about) as keys,
        CertificateClient(url, Given(token), **about) as certificates,
    ):
        yield Sdk(secrets, keys, certificates)
    await asyncio.sleep(0)  # aiohttp closes TLS transports in the loop's next round


@pytest.fixture
async def azure() -> AsyncIterator[AzureEmulator]:
    """With one vault."""
    async with AzureEmulator() as running:
        running.vault("demo")
        yield running


@pytest.fixture
async def admin(azure: AzureEmulator) -> AsyncIterator[Sdk]:
    """Clients of somebody who may do everything."""
    async with sdk(azure, azure.admin_token) as clients:
        yield clients


async def test_secrets_have_versions(admin: Sdk) -> None:
    """The latest is the one without an id; older ones stay readable."""
    old = await admin.secrets.set_secret("db", "horse", content_type="text/plain", tags={"a": "b"})
    new = await admin.secrets.set_secret("db", "staple")

    latest = await admin.secrets.get_secret("db")
    pinned = await admin.secrets.get_secret("db", old.properties.version)

    assert (latest.value, latest.properties.version) == ("staple", new.properties.version)
    assert (pinned.value, pinned.properties.content_type) == ("horse", "text/plain")
    assert len(str(new.properties.version)) == 32
    assert pinned.properties.created_on is not None
    assert new.properties.created_on is not None
    assert pinned.properties.created_on < new.properties.created_on


async def test_versions_come_in_pages(azure: AzureEmulator, admin: Sdk) -> None:
    """25 at most; the SDK follows the links. Values are not among them."""
    versions = [azure.vault("demo").set_secret("db", str(number)) for number in range(60)]

    listed = [each async for each in admin.secrets.list_properties_of_secret_versions("db")]

    assert [each.version for each in listed] == versions
    assert azure.faults.count("list secrets") == 3


async def test_all_objects_of_a_vault_are_listed(azure: AzureEmulator, admin: Sdk) -> None:
    """By name; a certificate is also a key and a secret."""
    vault, issued = azure.vault("demo"), issue(kind="EC")
    vault.set_secret("db", "horse")
    vault.create_key("sign")
    vault.import_certificate("tls", issued.key, issued.chain, ("application/x-pem-file", issued.pem()))

    assert [each.name async for each in admin.secrets.list_properties_of_secrets()] == ["db", "tls"]
    assert [each.name async for each in admin.keys.list_properties_of_keys()] == ["sign", "tls"]
    assert [each.name async for each in admin.certificates.list_properties_of_certificates()] == ["tls"]


async def test_a_disabled_secret_is_forbidden(admin: Sdk) -> None:
    """With the code that says why."""
    secret = await admin.secrets.set_secret("db", "horse")
    await admin.secrets.update_secret_properties("db", secret.properties.version, enabled=False)

    with pytest.raises(HttpResponseError, match="SecretDisabled") as refused:
        await admin.secrets.get_secret("db")

    assert refused.value.status_code == 403
    (listed,) = [each async for each in admin.secrets.list_properties_of_secret_versions("db")]
    assert listed.enabled is False


async def test_an_expired_secret_is_given_out(admin: Sdk) -> None:
    """As the service does; the time is for information."""
    then = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    await admin.secrets.set_secret("db", "horse", expires_on=then, not_before=then)

    found = await admin.secrets.get_secret("db")

    assert (found.value, found.properties.expires_on, found.properties.not_before) == ("horse", then, then)


async def test_deletion_is_soft(admin: Sdk) -> None:
    """What was deleted is not found, its name cannot be used, and it can be recovered or purged."""
    await admin.secrets.set_secret("db", "horse")
    await admin.secrets.delete_secret("db")
    with pytest.raises(ResourceNotFoundError, match="SecretNotFound"):
        await admin.secrets.get_secret("db")
    with pytest.raises(ResourceExistsError, match="ObjectIsDeletedButRecoverable"):
        await admin.secrets.set_secret("db", "staple")
    assert (await admin.secrets.get_deleted_secret("db")).name == "db"
    await admin.secrets.recover_deleted_secret("db")

    assert (await admin.secrets.get_secret("db")).value == "horse"

    await admin.secrets.delete_secret("db")
    await admin.secrets.purge_deleted_secret("db")
    assert (await admin.secrets.set_secret("db", "staple")).value == "staple"


async def test_keys_have_their_kinds_and_curves(admin: Sdk) -> None:
    """Only public halves are told."""
    made = [
        await admin.keys.create_rsa_key("rsa"),
        await admin.keys.create_rsa_key("hsm", hardware_protected=True),
        await admin.keys.create_ec_key("ec", curve=KeyCurveName.p_384),
    ]

    assert [each.key_type for each in made] == [KeyType.rsa, KeyType.rsa_hsm, KeyType.ec]
    found = await admin.keys.get_key("ec", made[2].properties.version)
    key: Any = found.key
    assert (key.crv, len(key.x), key.d) == (KeyCurveName.p_384, 48, None)
    assert [each.version async for each in admin.keys.list_properties_of_key_versions("ec")] == [
        found.properties.version
    ]


@pytest.mark.parametrize("pfx", [False, True])
async def test_a_certificate_is_also_a_key_and_a_secret(admin: Sdk, *, pfx: bool) -> None:
    """All three in one version; the secret holds both halves and says which certificate's key it is."""
    issued = issue()
    kept = issued.pfx() if pfx else issued.pem()
    policy = CertificatePolicy(
        issuer_name="Self",
        subject="CN=x",
        content_type=CertificateContentType.pkcs12 if pfx else CertificateContentType.pem,
    )

    made = await admin.certificates.import_certificate(
        "tls", base64.b64decode(kept) if pfx else kept.encode(), policy=policy
    )
    version = made.properties.version  # type: ignore[union-attr]  # it has some

    certificate = await admin.certificates.get_certificate("tls")
    secret = await admin.secrets.get_secret("tls", version)
    key = await admin.keys.get_key("tls", version)
    assert bytes(certificate.cer or b"") == issued.chain[0].public_bytes(Encoding.DER)
    assert secret.value == kept
    assert secret.properties.content_type == ("application/x-pkcs12" if pfx else "application/x-pem-file")
    assert secret.properties.key_id == key.id
    assert key.properties.managed
    assert (await admin.certificates.get_certificate_version("tls", str(version))).cer == certificate.cer
    listed = admin.certificates.list_properties_of_certificate_versions("tls")
    assert [each.version async for each in listed] == [version]


async def test_what_is_no_certificate_is_not_imported(admin: Sdk) -> None:
    """Neither PEM nor PKCS#12."""
    with pytest.raises(HttpResponseError, match="BadParameter"):
        await admin.certificates.import_certificate("tls", b"AAAA")


@pytest.mark.parametrize(
    ("kind", "read"), [("secrets", "get_secret"), ("keys", "get_key"), ("certificates", "get_certificate")]
)
async def test_what_is_not_there_is_not_found(admin: Sdk, kind: str, read: str) -> None:
    """With a code for each kind."""
    code = {"secrets": "SecretNotFound", "keys": "KeyNotFound", "certificates": "CertificateNotFound"}[kind]
    with pytest.raises(ResourceNotFoundError, match=code):
        await getattr(getattr(admin, kind), read)("gone")


async def test_access_policies_grant_rights_one_by_one(azure: AzureEmulator) -> None:
    """To a client, on one vault."""
    vault = azure.vault("demo")
    vault.set_secret("db", "horse")
    reader = azure.directory.register(TENANT, "reader")
    vault.allow("reader", "secrets/get")
    async with sdk(azure, azure.directory.issue(reader, "https://vault.azure.net", 60)) as clients:
        assert (await clients.secrets.get_secret("db")).value == "horse"
        with pytest.raises(
            HttpResponseError, match=r"(?s)does not have secrets list permission.*ForbiddenByPolicy"
        ) as told:
            [each async for each in clients.secrets.list_properties_of_secret_versions("db")]
        with pytest.raises(HttpResponseError, match="does not have keys get permission"):
            await clients.keys.get_key("db")
        with pytest.raises(HttpResponseError, match="does not have secrets set permission"):
            await clients.secrets.set_secret("db", "staple")
        vault.forbid("reader")
        with pytest.raises(HttpResponseError, match="does not have secrets get permission"):
            await clients.secrets.get_secret("db")
    assert told.value.status_code == 403


@pytest.mark.parametrize(
    ("resource", "tenant", "words"),
    [
        ("https://graph.microsoft.com", TENANT, "AKV10022"),
        ("https://vault.azure.net", "another", "AKV10032"),
    ],
)
async def test_tokens_for_others_are_not_taken(azure: AzureEmulator, resource: str, tenant: str, words: str) -> None:
    """Resource and tenant must be the vault's."""
    azure.directory.resources.add(resource)
    token = azure.directory.issue(azure.directory.register(tenant, "reader"), resource, 60)

    async with sdk(azure, token) as clients:
        with pytest.raises(ClientAuthenticationError, match=words):
            await clients.secrets.get_secret("db")


async def test_tokens_end(azure: AzureEmulator, admin: Sdk) -> None:
    """By time, by revocation, and never were any that others signed."""
    old = azure.directory.issue(azure.directory.register(TENANT, "reader"), "https://vault.azure.net", -1)
    for token in (old, f"{azure.admin_token}x", "text"):
        async with sdk(azure, token) as clients:
            with pytest.raises(ClientAuthenticationError):
                await clients.secrets.get_secret("db")
    await admin.secrets.set_secret("db", "horse")
    azure.directory.revoke()

    with pytest.raises(ClientAuthenticationError, match="AKV10045"):
        await admin.secrets.get_secret("db")


async def test_the_challenge_names_tenant_and_resource(azure: AzureEmulator) -> None:
    """To whom comes without a token; and the version of the API must be said."""
    tls = ssl.create_default_context(cafile=azure.ca_file)
    url = azure.vault_url.replace("{name}", "demo")
    headers = {"Authorization": f"Bearer {azure.admin_token}"}
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/secrets/db?api-version=7.5", ssl=tls) as answer:
            challenge = answer.headers["WWW-Authenticate"]
            assert (answer.status, (await answer.json())["error"]["code"]) == (401, "Unauthorized")
        async with session.get(f"{url}/secrets/db", ssl=tls, headers=headers) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (400, "BadParameter")
        async with session.get(f"{url}x/secrets/db?api-version=7.5", ssl=tls, headers=headers) as answer:
            assert answer.status == 404
    await asyncio.sleep(0)

    assert challenge == f'Bearer authorization="{azure.url}/{TENANT}", resource="https://vault.azure.net"'


async def test_the_sdk_asks_for_the_challenge_once(azure: AzureEmulator, admin: Sdk) -> None:
    """Such calls are not counted: they are no reads."""
    await admin.secrets.set_secret("db", "horse")
    for _ in range(3):
        await admin.secrets.get_secret("db")

    assert azure.faults.count("get secrets") == 3
    assert len([call for call in azure.faults.calls if not call.authorized]) == 1


async def test_it_misbehaves_as_told(azure: AzureEmulator, admin: Sdk) -> None:
    """Each operation for itself, once or until it is mended."""
    await admin.secrets.set_secret("db", "horse")
    azure.faults.once("get secrets", Fault(status=429, retry_after=7), Fault(malformed=True), Fault(cut=True))
    azure.faults.always("get keys", Fault(status=503, code="ServiceUnavailable"))

    with pytest.raises(HttpResponseError) as throttled:
        await admin.secrets.get_secret("db")
    for _ in range(2):
        with pytest.raises(HttpResponseError):
            await admin.secrets.get_secret("db")
    with pytest.raises(HttpResponseError, match="ServiceUnavailable"):
        await admin.keys.get_key("db")

    answer: Any = throttled.value.response
    assert answer.headers["Retry-After"] == "7"
    assert (await admin.secrets.get_secret("db")).value == "horse"
    azure.faults.mend()
    with pytest.raises(ResourceNotFoundError):
        await admin.keys.get_key("db")


async def test_it_can_be_away_and_come_back(azure: AzureEmulator, admin: Sdk) -> None:
    """With all that it keeps."""
    await admin.secrets.set_secret("db", "horse")
    await azure.stop()
    with pytest.raises(ServiceRequestError):
        await admin.secrets.get_secret("db")
    await azure.start()

    assert (await admin.secrets.get_secret("db")).value == "horse"


async def test_it_runs_as_a_process_for_a_cluster() -> None:
    """It prints where it is, takes the cluster's tokens, and is set up through its own routes."""
    async with KubeAPI() as api:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "keyferry.testing.azure", "--kubeconfig", str(api.kubeconfig), "--vault", "demo"),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))

        async def say(what: str, token: str = ready["admin_token"], **sent: Any) -> Any:
            url, headers = f"{ready['url']}/emulator/{what}", {"Authorization": f"Bearer {token}"}
            tls = ssl.create_default_context(cafile=ready["ca_file"])
            async with (
                aiohttp.ClientSession() as session,
                session.post(url, json=sent, headers=headers, ssl=tls) as answer,
            ):
                return await answer.json() if answer.status == 200 else answer.status

        made = await say("secrets", vault="demo", name="db", value="horse")
        await say("keys", vault="demo", name="sign", kty="EC")
        await say("certificates", vault="demo", name="tls", kind="EC", pfx=True)
        subject = "system:serviceaccount:default:web"
        await say("federate", tenant=ready["tenant"], client_id="app", issuer=ready["issuer"], subject=subject)
        await say("allow", vault="demo", client_id="app", rights=["secrets/get"])
        secret = await say("client-secrets", tenant=ready["tenant"], client_id="app")
        await say("fail", operation="token", status=503)
        await say("mend")

        assert len(made["version"]) == 32
        assert secret["secret"]
        assert await say("calls", operation="get secrets") == {"count": 0}
        assert await say("mend", token="none") == 401
        assert ready["issuer"] == api.issuer
        assert set(ready["environ"]) == {
            "KEYFERRY_AZURE_AUTHORITY",
            "KEYFERRY_AZURE_VAULT_URL",
            "KEYFERRY_AZURE_CA_FILE",
        }
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 10) == 0
    await asyncio.sleep(0)
