"""The emulator's token services as Google's own library sees them."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import identity_pool
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from keyferry.testing.gcp import GcpEmulator
from keyferry.testing.kube import KubeAPI

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
PROVIDER = "//iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/clusters/providers/one"
SUBJECT = "system:serviceaccount:shop:web"
MEMBER = f"principal://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/clusters/subject/{SUBJECT}"
ACCOUNT = "app@demo.iam.gserviceaccount.com"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEYS = {"keys": [{**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())), "kid": "1", "use": "sig"}]}


@pytest.fixture
async def gcp() -> AsyncIterator[GcpEmulator]:
    """Over TLS, with a provider of Workload Identity Federation."""
    async with GcpEmulator(secure=True) as running:
        running.identities.trust_federated(PROVIDER, issuer="https://cluster.example", keys=KEYS)
        yield running


def pod_token(*, subject: str = SUBJECT, audience: str = PROVIDER, issuer: str = "https://cluster.example") -> str:
    claims = {"iss": issuer, "sub": subject, "aud": [audience], "exp": time.time() + 600}
    return jwt.encode(claims, KEY, algorithm="RS256", headers={"kid": "1"})


def external_account(gcp: GcpEmulator, folder: Path, token: str, **more: str) -> identity_pool.Credentials:
    (folder / "token").write_text(token)
    credentials: identity_pool.Credentials = identity_pool.Credentials.from_info(  # type: ignore[no-untyped-call]  # has no types
        {
            "type": "external_account",
            "audience": PROVIDER,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{gcp.url}/v1/token",
            "credential_source": {"file": str(folder / "token")},
            **more,
        },
        scopes=[SCOPE],
    )
    return credentials


def refresh(credentials: Any, ca_file: str) -> str:
    """Has google-auth get a token; blocks. An error's text is given back: the error itself holds a connection."""
    with requests.Session() as session:
        try:
            credentials.refresh(partial(Request(session=session), verify=ca_file))
        except GoogleAuthError as error:
            return str(error)
        return str(credentials.token)


async def test_googles_library_federates_a_pod(gcp: GcpEmulator, tmp_path: Path) -> None:
    """The token stands for the pod's principal."""
    token = await asyncio.to_thread(refresh, external_account(gcp, tmp_path, pod_token()), gcp.ca_file)

    assert gcp.identities.bearer(token) == frozenset({MEMBER})


async def test_googles_library_impersonates_an_account(gcp: GcpEmulator, tmp_path: Path) -> None:
    """If the account lets the pod's principal."""
    gcp.identities.create_account(ACCOUNT)
    url = f"{gcp.url}/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
    credentials = external_account(gcp, tmp_path, pod_token(), service_account_impersonation_url=url)
    refused = await asyncio.to_thread(refresh, credentials, gcp.ca_file)
    gcp.policies.allow(MEMBER, f"serviceAccounts/{ACCOUNT}", "roles/iam.workloadIdentityUser")

    token = await asyncio.to_thread(refresh, credentials, gcp.ca_file)

    assert "iam.serviceAccounts.getAccessToken" in refused
    assert gcp.identities.bearer(token) == frozenset({f"serviceAccount:{ACCOUNT}"})


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"audience": "another"}, "audience in ID Token"),
        ({"issuer": "https://other.example"}, "issuer in ID Token"),
        ({"subject": "somebody"}, "subject in ID Token"),
    ],
)
async def test_tokens_of_others_are_not_exchanged(
    gcp: GcpEmulator, tmp_path: Path, claims: dict[str, str], words: str
) -> None:
    """Audience, issuer and subject must be the provider's."""
    credentials = external_account(gcp, tmp_path, pod_token(**claims))

    assert words in await asyncio.to_thread(refresh, credentials, gcp.ca_file)


async def test_a_forged_token_is_not_exchanged(gcp: GcpEmulator, tmp_path: Path) -> None:
    """The signature is checked."""
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    claims = jwt.decode(pod_token(), options={"verify_signature": False})
    forged = jwt.encode(claims, other, algorithm="RS256", headers={"kid": "1"})

    assert "Invalid JWT" in await asyncio.to_thread(refresh, external_account(gcp, tmp_path, forged), gcp.ca_file)


async def test_googles_library_uses_a_key(gcp: GcpEmulator) -> None:
    """A key.json of an account gets the account's token."""
    info = {**gcp.identities.create_account(ACCOUNT)}
    credentials = service_account.Credentials.from_service_account_info(info, scopes=[SCOPE])  # type: ignore[no-untyped-call]  # has no types
    # Google's library signs for the URL that it posts to; here it posts to the emulator what it signed for Google.
    assertion = credentials._make_authorization_grant_assertion()

    def post() -> dict[str, Any]:
        grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        sent = {"grant_type": grant, "assertion": assertion}
        found: dict[str, Any] = requests.post(f"{gcp.url}/token", data=sent, verify=gcp.ca_file, timeout=5).json()
        return found

    answer = await asyncio.to_thread(post)

    assert gcp.identities.bearer(answer["access_token"]) == frozenset({f"serviceAccount:{ACCOUNT}"})


async def test_it_runs_as_a_process_for_a_cluster() -> None:
    """It prints where it is, takes the cluster's tokens, and is set up through its own routes."""
    async with KubeAPI() as api:
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "keyferry.testing.gcp",
                "--kubeconfig",
                str(api.kubeconfig),
                "--provider",
                PROVIDER,
            ),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))

        def use() -> tuple[Any, ...]:
            with requests.Session() as session:
                url = ready["url"]
                anonymous = session.post(f"{url}/emulator/mend", timeout=5).status_code
                session.headers["Authorization"] = f"Bearer {ready['admin_token']}"
                key = session.post(f"{url}/emulator/accounts", json={"email": ACCOUNT}, timeout=5).json()
                binding = {"member": MEMBER, "resource": f"serviceAccounts/{ACCOUNT}", "role": "roles/owner"}
                session.post(f"{url}/emulator/allow", json=binding, timeout=5).raise_for_status()
                session.post(f"{url}/emulator/fail", json={"method": "token", "status": 503}, timeout=5)
                down = session.post(f"{url}/v1/token", data={}, timeout=5).status_code
                session.post(f"{url}/emulator/mend", timeout=5).raise_for_status()
                up = session.post(f"{url}/v1/token", data={}, timeout=5).status_code
                count = session.get(f"{url}/emulator/calls/token", timeout=5).json()["count"]
                return anonymous, key["client_email"], down, up, count

        assert await asyncio.to_thread(use) == (401, ACCOUNT, 503, 400, 2)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert len(ready["pools"]) == 2
