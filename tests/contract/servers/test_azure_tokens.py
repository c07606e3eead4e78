"""The emulated Microsoft Entra ID as Azure's own library sees it."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CredentialUnavailableError
from azure.identity.aio import ClientSecretCredential, ManagedIdentityCredential, WorkloadIdentityCredential
from azure.keyvault.secrets.aio import SecretClient
from cryptography.hazmat.primitives.asymmetric import rsa

from keyferry.testing.azure import TENANT, AzureEmulator
from keyferry.testing.kube import KubeAPI

AUDIENCE = "api://AzureADTokenExchange"
SCOPE = "https://vault.azure.net/.default"
SUBJECT = "system:serviceaccount:default:web"
ISSUER = "https://cluster.example"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEYS = {"keys": [{**jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": "1", "use": "sig"}]}


@pytest.fixture
async def azure() -> AsyncIterator[AzureEmulator]:
    """With a client that a service account stands for."""
    async with AzureEmulator() as running:
        running.directory.trust(ISSUER, KEYS)
        running.directory.federate(TENANT, "app", issuer=ISSUER, subject=SUBJECT)
        yield running


def pod_token(key: Any = KEY, **claims: Any) -> str:
    usual = {"iss": ISSUER, "sub": SUBJECT, "aud": [AUDIENCE], "exp": int(time.time()) + 600}
    return jwt.encode({**usual, **claims}, key, algorithm="RS256", headers={"kid": "1"})


def workload_identity(
    azure: AzureEmulator, folder: Path, token: str, *, tenant: str = TENANT, client_id: str = "app"
) -> WorkloadIdentityCredential:
    (folder / "token").write_text(token)
    return WorkloadIdentityCredential(
        tenant_id=tenant,
        client_id=client_id,
        token_file_path=str(folder / "token"),
        authority=azure.url,
        connection_verify=azure.ca_file,
        disable_instance_discovery=True,
        retry_total=0,
    )


async def refusal(credential: Any) -> str:
    async with credential:
        with pytest.raises(ClientAuthenticationError) as refused:
            await credential.get_token(SCOPE)
    await asyncio.sleep(0)
    return str(refused.value)


async def test_azures_library_reads_a_vault_as_a_pod_of_a_cluster(tmp_path: Path) -> None:
    """From the cluster's own token to the secret, with the SDK as anybody uses it."""
    async with KubeAPI() as api, AzureEmulator() as azure:
        account = {"metadata": {"namespace": "default", "name": "web", "uid": "1"}}
        token, _ = api.tokens.issue(account, [AUDIENCE], 600, {})
        azure.directory.trust(api.issuer, api.tokens.key_set)
        azure.directory.federate(TENANT, "app", issuer=api.issuer, subject=SUBJECT)
        vault = azure.vault("demo")
        vault.allow("app", "secrets/get")
        vault.set_secret("db", "horse")
        async with (
            workload_identity(azure, tmp_path, token) as credential,
            SecretClient(
                azure.vault_url.replace("{name}", "demo"),
                credential,
                verify_challenge_resource=False,
                connection_verify=azure.ca_file,
            ) as client,
        ):
            found = await client.get_secret("db")
        await asyncio.sleep(0)

    assert found.value == "horse"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"aud": ["another"]}, "AADSTS700212"),
        ({"aud": [AUDIENCE, "another"]}, "AADSTS700212"),
        ({"iss": "https://other.example"}, "AADSTS700211"),
        ({"sub": "system:serviceaccount:default:other"}, "AADSTS700213"),
        ({"exp": 1}, "AADSTS700024"),
        ({"nbf": 10**10}, "AADSTS700024"),
    ],
)
async def test_tokens_of_others_are_not_exchanged(
    azure: AzureEmulator, tmp_path: Path, claims: dict[str, Any], code: str
) -> None:
    """Audience, issuer, subject and time must be as the federated credential says."""
    assert code in await refusal(workload_identity(azure, tmp_path, pod_token(**claims)))


async def test_a_forged_token_is_not_exchanged(azure: AzureEmulator, tmp_path: Path) -> None:
    """The signature is checked; so is the key's name."""
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    assert "AADSTS50013" in await refusal(workload_identity(azure, tmp_path, pod_token(other)))
    assert "AADSTS50013" in await refusal(workload_identity(azure, tmp_path, "text"))


async def test_clients_and_tenants_must_exist(azure: AzureEmulator, tmp_path: Path) -> None:
    """Each has its own code."""
    nobody = workload_identity(azure, tmp_path, pod_token(), client_id="nobody")
    nowhere = workload_identity(azure, tmp_path, pod_token(), tenant="nowhere")

    assert "AADSTS700016" in await refusal(nobody)
    assert "AADSTS90002" in await refusal(nowhere)


async def test_azures_library_uses_a_client_secret(azure: AzureEmulator) -> None:
    """Only the right one."""
    about: Any = {"authority": azure.url, "connection_verify": azure.ca_file, "disable_instance_discovery": True}
    secret = azure.directory.create_secret(TENANT, "app")

    async with ClientSecretCredential(TENANT, "app", secret, **about) as credential:
        token = await credential.get_token(SCOPE)
    assert "AADSTS7000215" in await refusal(ClientSecretCredential(TENANT, "app", "guessed", **about))

    caller = azure.directory.bearer(token.token, tenant=TENANT, resource="https://vault.azure.net")
    assert caller.client_id == "app"
    assert 3500 < token.expires_on - time.time() <= 3600


async def test_a_resource_must_exist(azure: AzureEmulator) -> None:
    """As after a typing error in a scope."""
    about: Any = {"authority": azure.url, "connection_verify": azure.ca_file, "disable_instance_discovery": True}
    secret = azure.directory.create_secret(TENANT, "app")
    async with ClientSecretCredential(TENANT, "app", secret, **about) as credential:
        with pytest.raises(ClientAuthenticationError, match="AADSTS500011"):
            await credential.get_token("https://vault.azure.example/.default")
    await asyncio.sleep(0)


async def test_azures_library_finds_the_nodes_identities(azure: AzureEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """By client id, or the node's own; none that it does not have."""
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.metadata_url)
    azure.directory.assign(TENANT, "assigned")
    azure.directory.assign(TENANT, "own", system=True)
    callers = []
    for client_id in ("assigned", None):
        async with ManagedIdentityCredential(client_id=client_id) as credential:
            token = await credential.get_token(SCOPE)
        callers.append(azure.directory.bearer(token.token, tenant=TENANT, resource="https://vault.azure.net").client_id)

    assert callers == ["assigned", "own"]
    async with ManagedIdentityCredential(client_id="stranger") as credential:
        with pytest.raises(CredentialUnavailableError, match="has not been assigned"):
            await credential.get_token(SCOPE)


async def test_its_documents_say_where_everything_is(azure: AzureEmulator) -> None:
    """OIDC discovery of a tenant, and the keys that access tokens are signed with."""
    tls = ssl.create_default_context(cafile=azure.ca_file)
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{azure.url}/{TENANT}/v2.0/.well-known/openid-configuration", ssl=tls) as answer:
            about = await answer.json()
        async with session.get(about["jwks_uri"], ssl=tls) as answer:
            keys = await answer.json()
        sent = {"grant_type": "password", "client_id": "app"}
        async with session.post(about["token_endpoint"], data=sent, ssl=tls) as answer:
            refused = await answer.json()
    await asyncio.sleep(0)
    key = jwt.PyJWKSet.from_dict(keys)["entra"]
    claims = jwt.decode(azure.admin_token, key, ["RS256"], audience="https://vault.azure.net")

    assert claims["tid"] == TENANT
    assert refused["error"] == "invalid_request"
