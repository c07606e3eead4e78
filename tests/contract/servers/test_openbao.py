import time
from pathlib import Path
from typing import Any

import hvac.exceptions
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from keyferry.testing.openbao import OpenBao, openbao_server
from keyferry.testing.ports import free_port
from keyferry.testing.processes import ServerError
from keyferry.testing.serving import serving

SUBJECT = "system:serviceaccount:shop:web"


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def token(key: ec.EllipticCurvePrivateKey, *, audience: str = "vault", issuer: str = "kubernetes") -> str:
    """A service-account token of shop/web, with all the times that Kubernetes sets.

    Without iat and nbf OpenBao takes exp minus 150 s for nbf, and calls the token not yet valid.
    """
    now = int(time.time())
    claims = {
        "iss": issuer,
        "sub": SUBJECT,
        "aud": [audience],
        "iat": now,
        "nbf": now,
        "exp": now + 600,
        "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "web", "uid": "1"}},
    }
    return jwt.encode(claims, key, algorithm="ES256", headers={"kid": "one"})


def public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


async def login(openbao: OpenBao, mount: str, role: str, jwt: str) -> Any:
    """Log in and return the client token's policies."""
    answer = await openbao.write(f"auth/{mount}/login", {"role": role, "jwt": jwt})
    return answer["auth"]["policies"]


async def test_kv_version_2_counts_versions(openbao: OpenBao) -> None:
    """`secret/` is there from the start, and every write is a new version."""
    versions = [await openbao.put("servers/db", {"password": value}) for value in ("one", "two")]
    answer = await openbao.call(lambda client: client.read("secret/data/servers/db"))

    assert versions == [1, 2]
    assert answer["data"]["data"] == {"password": "two"}


async def test_kv_version_1_can_be_mounted(openbao: OpenBao) -> None:
    """The older engine has no versions and no data level in its paths."""
    await openbao.enable_kv("kv1", version=1)
    await openbao.put_v1("servers/db", {"password": "one"})

    answer = await openbao.call(lambda client: client.read("kv1/servers/db"))

    assert answer["data"] == {"password": "one"}


async def test_a_token_signed_by_a_known_key_logs_in(openbao: OpenBao, key: ec.EllipticCurvePrivateKey) -> None:
    """auth/jwt with a static key takes the bound subject and audience, nothing else."""
    await openbao.allow_read("servers-web", "secret/data/servers/*")
    await openbao.enable_jwt(mount="static", public_keys=[public_pem(key)], issuer="kubernetes")
    await openbao.jwt_role("web", subject=SUBJECT, audience="vault", policies=["servers-web"], mount="static")

    assert "servers-web" in await login(openbao, "static", "web", token(key))
    with pytest.raises(hvac.exceptions.InvalidRequest, match="audience"):
        await login(openbao, "static", "web", token(key, audience="other"))


def jwks(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {"keys": [{**public, "kid": "one", "use": "sig", "alg": "ES256"}]}


async def test_an_oidc_issuer_in_the_tests_own_loop_is_asked_for_its_keys(
    openbao: OpenBao, key: ec.EllipticCurvePrivateKey, https: Any
) -> None:
    """OpenBao calls back while the test waits for it: neither may block the other."""
    issuer = f"https://localhost:{(port := free_port())}"
    app = web.Application()

    async def discovery(_: web.Request) -> web.Response:
        return web.json_response({"issuer": issuer, "jwks_uri": f"{issuer}/jwks"})

    async def keys(_: web.Request) -> web.Response:
        return web.json_response(jwks(key))

    app.router.add_get("/.well-known/openid-configuration", discovery)
    app.router.add_get("/jwks", keys)
    async with serving(app, port=port, tls=https.context):
        await openbao.enable_jwt(mount="oidc-keys", discovery_url=issuer, ca_pem=https.ca_pem, issuer=issuer)
        await openbao.jwt_role("web", subject=SUBJECT, audience="vault", policies=["default"], mount="oidc-keys")

        assert await login(openbao, "oidc-keys", "web", token(key, issuer=issuer)) == ["default"]


async def test_a_jwks_document_is_enough(openbao: OpenBao, key: ec.EllipticCurvePrivateKey, https: Any) -> None:
    """An API server whose discovery is not public still publishes its keys."""
    app = web.Application()

    async def keys(_: web.Request) -> web.Response:
        return web.json_response(jwks(key))

    app.router.add_get("/openid/v1/jwks", keys)
    async with serving(app, tls=https.context) as url:
        await openbao.enable_jwt(mount="jwks", jwks_url=f"{url}/openid/v1/jwks", ca_pem=https.ca_pem)
        await openbao.jwt_role("web", subject=SUBJECT, audience="vault", policies=["default"], mount="jwks")

        assert await login(openbao, "jwks", "web", token(key)) == ["default"]


async def test_kubernetes_logins_are_reviewed_by_the_api_server(
    openbao: OpenBao, key: ec.EllipticCurvePrivateKey, https: Any
) -> None:
    """auth/kubernetes sends the pod's token to TokenReview, signed in with that same token."""
    reviews: list[tuple[str, Any]] = []
    app = web.Application()

    async def review(request: web.Request) -> web.Response:
        spec = (await request.json())["spec"]
        reviews.append((request.headers["Authorization"], spec))
        user = {"username": SUBJECT, "uid": "1", "groups": ["system:serviceaccounts"]}
        status = {"authenticated": True, "user": user, "audiences": spec.get("audiences", [])}
        return web.json_response({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status})

    app.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", review)
    async with serving(app, tls=https.context) as url:
        await openbao.enable_kubernetes(host=url, ca_pem=https.ca_pem)
        await openbao.kubernetes_role(
            "web", accounts=["web"], namespaces=["shop"], policies=["default"], audience="vault"
        )
        pod = token(key)

        assert await login(openbao, "kubernetes", "web", pod) == ["default"]

    assert reviews == [(f"Bearer {pod}", {"token": pod, "audiences": ["vault"]})]


async def test_pki_issues_certificates(openbao: OpenBao) -> None:
    """A role issues for its domain and refuses another."""
    await openbao.enable_pki(role="web", domain="shop.example.org")

    answer = await openbao.write("pki/issue/web", {"common_name": "db.shop.example.org", "ttl": "1h"})

    assert answer["data"]["certificate"].startswith("-----BEGIN CERTIFICATE-----")
    with pytest.raises(hvac.exceptions.InvalidRequest, match="not allowed"):
        await openbao.write("pki/issue/web", {"common_name": "elsewhere.example.com"})


async def test_requests_are_counted_by_path_and_operation(openbao: OpenBao) -> None:
    """The audit log is complete as soon as the answer is there."""
    await openbao.put("servers/counted", {"a": "1"})
    await openbao.call(lambda client: [client.read("secret/data/servers/counted") for _ in range(3)])

    assert openbao.count_requests("secret/data/servers/counted") == 4
    assert openbao.count_requests("secret/data/servers/counted", operation="read") == 3
    assert openbao.count_requests("secret/data/servers/other") == 0


async def test_over_https_its_own_ca_is_trusted(tmp_path: Path) -> None:
    """The certificate verifies for 127.0.0.1 against the CA file, also after a restart that makes a new one."""
    with openbao_server(tmp_path, tls=True) as running:
        assert await running.put("one", {"a": "1"}) == 1
        running.process.restart()

        assert await running.put("one", {"a": "1"}) == 1


def test_a_taken_port_is_reported(tmp_path: Path, openbao: OpenBao) -> None:
    """The reason stands in the error, from the server's own log."""
    port = int(openbao.address.rpartition(":")[2])

    with pytest.raises(ServerError, match="address already in use"), openbao_server(tmp_path, port=port):
        pass
