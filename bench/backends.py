"""The four backends without latency, as one process, and what to ask them: one JSON line when all of them listen.

Vault and AWS are stubs that answer at once; Azure and Google are the emulators, since their SDKs insist on TLS, tokens
and gRPC. ``GET /nothing`` at the first is the yardstick: what one HTTP call costs without any SDK.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import jwt
import yaml
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from keyferry.testing.azure import TENANT, AzureEmulator
from keyferry.testing.gcp import GcpEmulator
from keyferry.testing.serving import serving
from stub import application

COUNTS = (1, 10)
SUBJECT = "system:serviceaccount:shop:web"

_ISSUER, _CLIENT = "https://cluster.example", "aaaaaaaa-1111-2222-3333-444444444444"
_POOL = "//iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/clusters/providers/one"
_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_VALUE = "x" * 64
_CREDENTIALS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>AKIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
<SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>
<SubjectFromWebIdentityToken>s</SubjectFromWebIdentityToken><AssumedRoleUser><AssumedRoleId>i</AssumedRoleId>
<Arn>arn:aws:sts::1:assumed-role/r/s</Arn></AssumedRoleUser></AssumeRoleWithWebIdentityResult>
<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>"""


def question(audience: str, environ: Mapping[str, str], parameters: Sequence[Mapping[str, str]], **more: Any) -> Any:
    """What a fetch of a backend needs; the parameters once for each of `COUNTS`."""
    now = int(time.time())
    claims = {"iss": _ISSUER, "sub": SUBJECT, "aud": [audience], "iat": now, "exp": now + 36000}
    token = jwt.encode(claims, _KEY, algorithm="RS256", headers={"kid": "1"})
    return {"environ": environ, "parameters": parameters, "tokens": {audience: token}, **more}


async def aws(request: web.Request) -> web.Response:
    """Secrets Manager and STS."""
    action = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
    if not action:
        return web.Response(text=_CREDENTIALS, content_type="text/xml")
    sent = json.loads(await request.read())
    names = [sent["SecretId"]] if action == "GetSecretValue" else sent["SecretIdList"]
    found = [{"Name": name, "ARN": name, "VersionId": "1", "SecretString": _VALUE} for name in names]
    answer = found[0] if action == "GetSecretValue" else {"SecretValues": found, "Errors": []}
    return web.json_response(answer, content_type="application/x-amz-json-1.1")


async def ask_aws(stack: AsyncExitStack) -> Any:
    """Has the stub listen."""
    app = web.Application()
    app.router.add_post("/", aws)
    url = await stack.enter_async_context(serving(app))
    parameters = [
        {"objects": yaml.safe_dump([{"objectName": f"s{i}", "objectType": "secretsmanager"} for i in range(count)])}
        for count in COUNTS
    ]
    environ = {"AWS_ENDPOINT_URL": url, "AWS_REGION": "eu-west-1"}
    role = {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/r"}
    return question("sts.amazonaws.com", environ, parameters, annotations=role)


async def ask_vault(stack: AsyncExitStack) -> Any:
    """Has the stub listen."""
    app = application()
    app.router.add_get("/nothing", lambda _: asyncio.sleep(0, web.Response(text=_VALUE)))
    url = await stack.enter_async_context(serving(app))
    parameters = [
        {
            "vaultAddress": url,
            "roleName": "app",
            "objects": yaml.safe_dump(
                [{"objectName": f"f{i}", "secretPath": f"secret/data/s{i}", "secretKey": "key-0"} for i in range(count)]
            ),
        }
        for count in COUNTS
    ]
    return question("vault", {}, parameters, yardstick=f"{url}/nothing")


async def ask_azure(stack: AsyncExitStack) -> Any:
    """Has the emulator listen, with secrets that the service account may read."""
    azure = await stack.enter_async_context(AzureEmulator())
    azure.directory.trust(_ISSUER, _keys())
    azure.directory.federate(TENANT, _CLIENT, issuer=_ISSUER, subject=SUBJECT)
    vault = azure.vault("shop")
    vault.allow(_CLIENT)
    for index in range(max(COUNTS)):
        vault.set_secret(f"s{index}", _VALUE)
    parameters = [
        {
            "keyvaultName": "shop",
            "tenantID": TENANT,
            "clientID": _CLIENT,
            "objects": yaml.safe_dump({"array": [f"objectName: s{i}\nobjectType: secret\n" for i in range(count)]}),
        }
        for count in COUNTS
    ]
    return question("api://AzureADTokenExchange", azure.environ(), parameters)


async def ask_gcp(stack: AsyncExitStack) -> Any:
    """Has the emulator listen, with secrets that the service account may read."""
    gcp = await stack.enter_async_context(GcpEmulator(secure=True))
    gcp.identities.trust_federated(_POOL, issuer=_ISSUER, keys=_keys())
    member = f"principal:{_POOL.rpartition('/providers/')[0]}/subject/{SUBJECT}"
    for index in range(max(COUNTS)):
        gcp.secrets.add(f"projects/demo/secrets/s{index}", _VALUE.encode())
        gcp.policies.allow(member, f"projects/demo/secrets/s{index}", "roles/secretmanager.secretAccessor")
    parameters = [
        {
            "secrets": yaml.safe_dump(
                [{"resourceName": f"projects/demo/secrets/s{i}/versions/latest", "path": f"f{i}"} for i in range(count)]
            )
        }
        for count in COUNTS
    ]
    environ = {
        **gcp.environ(),
        "KEYFERRY_GCP_WORKLOAD_IDENTITY_PROVIDER": _POOL,
        "GAIA_TOKEN_EXCHANGE_ENDPOINT": f"{gcp.url}/v1/token",
    }
    return question(_POOL, environ, parameters)


def _keys() -> dict[str, Any]:
    public = jwt.algorithms.RSAAlgorithm.to_jwk(_KEY.public_key(), as_dict=True)
    return {"keys": [{**public, "kid": "1", "use": "sig"}]}


async def main() -> None:
    """Listen until told to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with AsyncExitStack() as stack:
        asked = {"aws": ask_aws, "azure": ask_azure, "gcp": ask_gcp, "vault": ask_vault}
        questions = {name: await ask(stack) for name, ask in asked.items()}
        sys.stdout.write(json.dumps(questions) + "\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
