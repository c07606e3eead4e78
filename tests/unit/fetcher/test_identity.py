"""Who is asking: tokens as kubelet gets them, and what an attacker would send instead."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from hypothesis import given
from hypothesis import strategies as st

from fetcher import identity
from fetcher.identity import TokenVerifier, check_bearer
from fetcher.issuer import IssuerKey, parsed
from fetcher.proven import Proven
from keyferry.errors import AccessDenied, IdentityRefused, KubernetesUnavailable
from keyferry.kube import Json, Kube, connect
from keyferry.resources import SYNCER_NODE, Pod
from keyferry.testing.kube import KubeAPI

KEYS = "/openid/v1/jwks"
NOBODY: Any = None
"""In place of an API server that must not be asked."""


def part(raw: bytes) -> str:
    """One of the three parts of a token."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def copy_of(key: ec.EllipticCurvePublicKey) -> ec.EllipticCurvePublicKey:
    """The same key, as it is when it is read once more."""
    read = load_der_public_key(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    assert isinstance(read, ec.EllipticCurvePublicKey)
    return read


def json_part(content: Json) -> str:
    """Header or claims of a token."""
    return part(json.dumps(content).encode())


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        """Seconds."""
        return self.now


class Cluster:
    """An API server, a verifier that asks it, and pods whose tokens it issues."""

    def __init__(self, api: KubeAPI, kube: Kube) -> None:
        self.api = api
        self.kube = kube
        self.clock = Clock()
        self.verifier = TokenVerifier(kube, now=self.clock, clock=self.clock)

    async def run_pod(self, name: str = "web-0", *, account: str = "web", node: str = "node-1") -> Pod:
        """A pod that runs on a node."""
        if await self.kube.get(f"/api/v1/namespaces/default/serviceaccounts/{account}") is None:
            await self.kube.post("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": account}})
        spec: Json = {"serviceAccountName": account, "containers": [{"name": "c", "image": "i"}]}
        body = {"metadata": {"name": name}, "spec": spec | ({"nodeName": node} if node else {})}
        made = await self.kube.post("/api/v1/namespaces/default/pods", body) or {}
        return Pod("default", name, made["metadata"]["uid"], account)

    async def token(self, pod: Pod, *, audience: str = "keyferry", bound: bool = True) -> str:
        """What kubelet would ask for."""
        reference = {"kind": "Pod", "apiVersion": "v1", "name": pod.name, "uid": pod.uid}
        spec: Json = {"audiences": [audience], "expirationSeconds": 600}
        path = f"/api/v1/namespaces/{pod.namespace}/serviceaccounts/{pod.service_account}/token"
        answer = await self.kube.post(path, {"spec": spec | ({"boundObjectRef": reference} if bound else {})}) or {}
        return str(answer["status"]["token"])

    def signed(self, claims: Json, *, key: Any = None, kid: str | None = None, algorithm: str = "RS256") -> str:
        """A token with any claims, signed by the issuer or by somebody else."""
        tokens = self.api.tokens
        return jwt.encode(claims, key or tokens._key, algorithm, headers={"kid": kid or tokens._key_id})

    async def refusal(self, token: str, pod: Pod, node: str = "node-1") -> str:
        """Why a token is refused."""
        with pytest.raises(IdentityRefused) as caught:
            await self.verifier.verify(token, pod=pod, node=node)
        return caught.value.message


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Kubernetes 1.30 or later: tokens name the node."""
    async with KubeAPI() as api, connect(api.kubeconfig) as kube:
        yield Cluster(api, kube)


@pytest.fixture
async def old_cluster() -> AsyncIterator[Cluster]:
    """Before 1.30: they do not."""
    async with KubeAPI(node_claim=False) as api, connect(api.kubeconfig) as kube:
        yield Cluster(api, kube)


async def test_a_pod_is_who_its_token_says(cluster: Cluster) -> None:
    """The token that kubelet gets for a pod proves that pod on its node, until it expires."""
    pod = await cluster.run_pod()

    verified = await cluster.verifier.verify(await cluster.token(pod), pod=pod, node="node-1")

    assert (verified.pod, verified.node) == (pod, "node-1")
    assert 0 < verified.expires_at - cluster.clock.now <= 600
    assert cluster.api.faults.requests.get("GET /api/v1/namespaces/default/pods/web-0") is None


OTHER: list[tuple[str, Callable[[Pod], Pod], str]] = [
    ("namespace", lambda pod: replace(pod, namespace="shop"), 'kubernetes.io/namespace is "default", expected "shop"'),
    ("name", lambda pod: replace(pod, name="web-1"), 'kubernetes.io/pod/name is "web-0", expected "web-1"'),
    ("uid", lambda pod: replace(pod, uid="u-2"), 'expected "u-2"'),
    ("account", lambda pod: replace(pod, service_account="db"), 'serviceaccount/name is "web", expected "db"'),
]


@pytest.mark.parametrize(("changed", "said"), [(c, s) for _, c, s in OTHER], ids=[name for name, _, _ in OTHER])
async def test_a_token_is_no_proof_of_another_pod(cluster: Cluster, changed: Callable[[Pod], Pod], said: str) -> None:
    """Namespace, name, uid and service account of the request must be the token's; the text says which differs."""
    pod = await cluster.run_pod()

    assert said in await cluster.refusal(await cluster.token(pod), changed(pod))


async def test_a_token_is_no_proof_of_another_node(cluster: Cluster) -> None:
    """A node cannot use the token of a pod that runs elsewhere."""
    pod = await cluster.run_pod()

    said = await cluster.refusal(await cluster.token(pod), pod, node="node-2")

    assert said == 'token claim kubernetes.io/node/name is "node-1", expected "node-2"'


async def test_a_token_for_somebody_else_is_refused(cluster: Cluster) -> None:
    """A token that the pod gave to another party (here Vault) is of no use to that party with us."""
    pod = await cluster.run_pod()

    said = await cluster.refusal(await cluster.token(pod, audience="vault"), pod)

    assert said == 'token claim aud is ["vault"], expected "keyferry"'


async def test_a_token_that_is_bound_to_no_pod_is_refused(cluster: Cluster) -> None:
    """Whoever may create tokens for a service account cannot be any pod of it."""
    pod = await cluster.run_pod()

    assert "not bound to a pod" in await cluster.refusal(await cluster.token(pod, bound=False), pod)


async def test_an_expired_token_is_refused(cluster: Cluster) -> None:
    """Half a minute of difference between clocks is allowed, more is not."""
    pod = await cluster.run_pod()
    token = await cluster.token(pod)
    cluster.clock.now += 620
    await cluster.verifier.verify(token, pod=pod, node="node-1")

    cluster.clock.now += 20

    assert "expired" in await cluster.refusal(token, pod)


async def test_a_token_from_the_future_is_refused(cluster: Cluster) -> None:
    """A fetcher whose clock lags behind says so."""
    pod = await cluster.run_pod()
    token = await cluster.token(pod)
    cluster.clock.now -= 20
    await cluster.verifier.verify(token, pod=pod, node="node-1")

    cluster.clock.now -= 20

    assert "compare the clocks" in await cluster.refusal(token, pod)


@pytest.mark.parametrize(
    ("claim", "value", "said"),
    [
        ("iss", "https://elsewhere.example.org", "token claim iss is"),
        ("iss", None, "token claim iss is missing"),
        ("sub", "system:serviceaccount:default:admin", "token claim sub is"),
        ("aud", None, "token claim aud is missing"),
        ("aud", {"keyferry": 1}, "token claim aud is"),
        ("exp", None, "token claim exp is missing"),
        ("exp", "never", 'token claim exp is "never"'),
        ("exp", True, "token claim exp is true"),
        ("nbf", None, "token claim nbf is missing"),
        ("kubernetes.io", None, "not bound to a pod"),
        ("kubernetes.io", ["pod"], "not bound to a pod"),
        ("kubernetes.io", {"pod": {"uid": {}}}, "kubernetes.io/namespace is missing"),
    ],
)
async def test_every_claim_counts(cluster: Cluster, claim: str, value: Any, said: str) -> None:
    """Even with a good signature, a claim that is missing, wrong or of another type is a refusal."""
    pod = await cluster.run_pod()
    claims = jwt.decode(await cluster.token(pod), options={"verify_signature": False})
    changed = {k: v for k, v in {**claims, claim: value}.items() if v is not None}

    assert said in await cluster.refusal(cluster.signed(changed), pod)


async def test_a_signature_by_another_key_is_refused(cluster: Cluster) -> None:
    """The issuer's key id on somebody else's signature proves nothing."""
    pod = await cluster.run_pod()
    claims = jwt.decode(await cluster.token(pod), options={"verify_signature": False})
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    assert "does not hold: InvalidSignatureError" in await cluster.refusal(cluster.signed(claims, key=own), pod)


async def test_an_unsigned_token_is_refused(cluster: Cluster) -> None:
    """Algorithm "none" is no algorithm."""
    pod = await cluster.run_pod()
    token = await cluster.token(pod)
    header = json_part({"alg": "none", "kid": cluster.api.tokens._key_id})

    said = await cluster.refusal(f"{header}.{token.split('.')[1]}.", pod)

    assert "does not hold: InvalidAlgorithmError" in said


async def test_the_public_key_is_no_shared_secret(cluster: Cluster) -> None:
    """HS256 with the public key as its secret, the classic confusion, is refused in every encoding of the key."""
    pod = await cluster.run_pod()
    token = await cluster.token(pod)
    public = cluster.api.tokens._key.public_key()
    body = f"{json_part({'alg': 'HS256', 'kid': cluster.api.tokens._key_id})}.{token.split('.')[1]}"

    for encoding in (Encoding.PEM, Encoding.DER):
        secret = public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
        mac = hmac.digest(secret, body.encode(), hashlib.sha256)

        assert "does not hold: InvalidAlgorithmError" in await cluster.refusal(f"{body}.{part(mac)}", pod)


async def test_an_algorithm_of_another_key_type_is_refused(cluster: Cluster) -> None:
    """The key decides which algorithms may be used, not the token."""
    pod = await cluster.run_pod()
    claims = jwt.decode(await cluster.token(pod), options={"verify_signature": False})
    token = cluster.signed(claims, key=ec.generate_private_key(ec.SECP256R1()), algorithm="ES256")

    assert "does not hold: InvalidAlgorithmError" in await cluster.refusal(token, pod)


async def test_a_changed_token_is_refused(cluster: Cluster) -> None:
    """A claim cannot be changed under an old signature."""
    pod = await cluster.run_pod()
    header, payload, signature = (await cluster.token(pod)).split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["kubernetes.io"]["node"]["name"] = "node-2"

    said = await cluster.refusal(f"{header}.{json_part(claims)}.{signature}", pod, node="node-2")

    assert "does not hold" in said


GARBAGE = {
    "missing": "",
    "word": "garbage",
    "dots": "..",
    "no header": "e30.e30.e30",
    "number as header": "MQ.e30.e30",
    "key id is a list": json_part({"alg": "RS256", "kid": [1]}) + ".e30.e30",
    "nested": part(b"[" * 9000) + ".e30.e30",
    "not ascii": "é.é.é",
    "half a character": "\ud800",
    "zero": "\0",
    "a megabyte": "a" * 1_000_000,
    "a megabyte of dots": "." * 1_000_000,
    "a long token": json_part({"alg": "RS256", "kid": "k"}) + "." + "a" * 20_000 + ".e30",
}


@pytest.mark.parametrize("token", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_is_refused_without_asking_anybody(cluster: Cluster, token: str) -> None:
    """What is no token costs no call, and the refusal is short and does not repeat it."""
    pod = await cluster.run_pod()
    asked = sum(cluster.api.faults.requests.values())

    said = await cluster.refusal(token, pod)

    assert sum(cluster.api.faults.requests.values()) == asked
    assert len(said) < 250
    assert "characters" in said or "carries no service account token" in said


async def test_a_missing_token_says_where_to_configure_it(cluster: Cluster) -> None:
    """Whoever installed the driver by hand reads what is missing."""
    pod = await cluster.run_pod()

    assert "spec.tokenRequests of the CSIDriver" in await cluster.refusal("", pod)


async def test_a_refusal_is_a_security_event(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """The log tells who asked on which node and why it was refused, and nothing of the token."""
    pod = await cluster.run_pod()
    token = await cluster.token(pod)
    with caplog.at_level(logging.DEBUG):
        said = await cluster.refusal(token, pod, node="node-2")

    (record,) = [r for r in caplog.records if r.name == "keyferry.security"]
    assert record.levelno == logging.WARNING
    assert (record.__dict__["pod"], record.__dict__["node"]) == ("default/web-0", "node-2")
    assert record.__dict__["reason"] == said
    assert not any(piece in str(r.__dict__) for r in caplog.records for piece in token.split("."))


async def test_a_new_signing_key_is_found(cluster: Cluster) -> None:
    """When the API server signs with a new key, the next token makes us read it; what only the old one signed ends."""
    pod = await cluster.run_pod()
    old = await cluster.token(pod)
    await cluster.verifier.verify(old, pod=pod, node="node-1")
    cluster.api.tokens.rotate()
    cluster.clock.now += 5

    await cluster.verifier.verify(await cluster.token(pod), pod=pod, node="node-1")

    assert "does not list" in await cluster.refusal(old, pod)


async def test_invented_key_ids_are_no_load_on_the_api(cluster: Cluster) -> None:
    """A storm of tokens with unknown keys costs one reading of the keys, and then one every other second at most."""
    pod = await cluster.run_pod()
    claims = jwt.decode(await cluster.token(pod), options={"verify_signature": False})
    tokens = [cluster.signed(claims, kid=f"invented-{number}") for number in range(50)]

    said = await asyncio.gather(*(cluster.refusal(token, pod) for token in tokens))
    said += [await cluster.refusal(token, pod) for token in tokens]
    assert cluster.api.faults.requests[f"GET {KEYS}"] == 1
    assert all("does not list" in text for text in said)

    cluster.clock.now += 2.1
    await cluster.refusal(tokens[0], pod)
    assert cluster.api.faults.requests[f"GET {KEYS}"] == 2


async def test_a_token_that_was_proof_is_looked_at_all_the_same(cluster: Cluster) -> None:
    """Its signature is not verified again; it still proves its own pod alone, on its node, until it expires."""
    pod, other = await cluster.run_pod(), await cluster.run_pod("web-1")
    token = await cluster.token(pod)
    for _ in range(2):
        await cluster.verifier.verify(token, pod=pod, node="node-1")

    assert "pod/name" in await cluster.refusal(token, other)
    assert "node/name" in await cluster.refusal(token, pod, node="node-2")
    head, claims, signature = token.split(".")
    assert "signature" in await cluster.refusal(f"{head}.{claims}.{signature[:-8]}AAAAAAAA", pod)
    cluster.clock.now += 700
    assert "expired" in await cluster.refusal(token, pod)


def test_what_is_proven_is_proven_with_its_key() -> None:
    """A key that took the place of another under its id proves nothing of what that one signed."""
    public, other = (ec.generate_private_key(ec.SECP256R1()).public_key() for _ in range(2))
    first, read_again, second = (IssuerKey(each, ("ES256",)) for each in (public, copy_of(public), other))
    proven = Proven()
    proven.add("a.b.c", first, b"{}")
    assert [proven.payload("a.b.c", key) for key in (first, read_again, second)] == [b"{}", b"{}", None]
    assert proven.payload("a.b.d", first) is None


def test_only_so_much_is_remembered() -> None:
    """What was shown least lately is forgotten first."""
    key = IssuerKey(ec.generate_private_key(ec.SECP256R1()).public_key(), ("ES256",))
    proven = Proven(most=2)
    for token in ("a", "b"):
        proven.add(token, key, token.encode())
    proven.payload("a", key)
    proven.add("c", key, b"c")
    assert [proven.payload(token, key) for token in ("a", "b", "c")] == [b"a", None, b"c"]


async def test_an_api_server_that_is_away_refuses_nobody(cluster: Cluster) -> None:
    """What cannot be told is tried again: neither the first token nor one with an unknown key is refused for it."""
    pod = await cluster.run_pod()
    token = await cluster.token(pod)
    stranger = cluster.signed(jwt.decode(token, options={"verify_signature": False}), kid="new")
    async with cluster.api.refusing_connections():
        for _ in range(2):
            with pytest.raises(KubernetesUnavailable):
                await cluster.verifier.verify(token, pod=pod, node="node-1")
    cluster.clock.now += 5
    await cluster.verifier.verify(token, pod=pod, node="node-1")

    cluster.clock.now += 5
    async with cluster.api.refusing_connections():
        for _ in range(2):
            with pytest.raises(KubernetesUnavailable):
                await cluster.verifier.verify(stranger, pod=pod, node="node-1")
            await cluster.verifier.verify(token, pod=pod, node="node-1")


async def test_keys_are_not_trusted_for_ever(cluster: Cluster) -> None:
    """Keys older than an hour are read again before they are believed."""
    pod = await cluster.run_pod()
    token = await cluster.token(pod)
    await cluster.verifier.verify(token, pod=pod, node="node-1")
    assert cluster.verifier.ready
    cluster.api.tokens.rotate()
    cluster.clock.now += 3601

    assert not cluster.verifier.ready
    assert "does not list" in await cluster.refusal(token, pod)


async def test_the_keys_are_read_before_anybody_asks(cluster: Cluster) -> None:
    """A fetcher is ready when it knows the keys, not when the first pod waits for them."""
    task = asyncio.create_task(cluster.verifier.run())
    async with asyncio.timeout(10):
        while not cluster.verifier.ready:  # noqa: ASYNC110 - readiness is polled in life too
            await asyncio.sleep(0.01)
    task.cancel()


@pytest.mark.parametrize(
    ("status", "expected", "said"),
    [
        (503, KubernetesUnavailable, "503"),
        (404, KubernetesUnavailable, "names no issuer"),
        (403, AccessDenied, "may not get"),
    ],
)
async def test_an_issuer_that_is_not_published_says_what_to_do(
    cluster: Cluster, status: int, expected: type[Exception], said: str
) -> None:
    """Missing discovery is a matter of the cluster's set-up: no pod is refused for it."""
    pod = await cluster.run_pod()
    token = await cluster.token(pod)
    cluster.api.faults.answer("/.well-known", status)

    with pytest.raises(expected, match=said):
        await cluster.verifier.verify(token, pod=pod, node="node-1")


async def test_without_a_node_claim_the_pod_itself_is_read_once(old_cluster: Cluster) -> None:
    """Before Kubernetes 1.30 the pod's own spec tells its node: one call for each pod, however many ask."""
    pod = await old_cluster.run_pod()
    token = await old_cluster.token(pod)

    await asyncio.gather(*(old_cluster.verifier.verify(token, pod=pod, node="node-1") for _ in range(20)))
    await old_cluster.verifier.verify(token, pod=pod, node="node-1")

    assert old_cluster.api.faults.requests["GET /api/v1/namespaces/default/pods/web-0"] == 1
    assert await old_cluster.refusal(token, pod, node="node-2") == (
        'pod default/web-0 runs on node "node-1", the request came from node "node-2"'
    )


async def test_without_a_node_claim_the_pod_must_still_be_the_same(old_cluster: Cluster) -> None:
    """The token of a deleted pod is no proof for the one that was created after it, nor of its node."""
    pod = await old_cluster.run_pod()
    token = await old_cluster.token(pod)
    path = "/api/v1/namespaces/default/pods/web-0"
    await old_cluster.kube.call("DELETE", path, query={"gracePeriodSeconds": "0"})
    assert "no pod default/web-0 any more" in await old_cluster.refusal(token, pod)

    await old_cluster.run_pod(node="node-2")

    assert "was created anew" in await old_cluster.refusal(token, pod, node="node-2")


async def test_without_a_node_claim_a_pod_without_a_node_is_refused(old_cluster: Cluster) -> None:
    """A pod that is not scheduled mounts nothing, so nobody asks for it in good faith."""
    pod = await old_cluster.run_pod(node="")

    assert "runs on no node yet" in await old_cluster.refusal(await old_cluster.token(pod), pod)


async def test_without_a_node_claim_an_api_server_in_trouble_refuses_nobody(old_cluster: Cluster) -> None:
    """The lookup that fails is tried again with the next request."""
    pod = await old_cluster.run_pod()
    token = await old_cluster.token(pod)
    old_cluster.api.faults.answer("/api/v1/namespaces/default/pods", 500, times=1)

    with pytest.raises(KubernetesUnavailable):
        await old_cluster.verifier.verify(token, pod=pod, node="node-1")
    await old_cluster.verifier.verify(token, pod=pod, node="node-1")


async def test_nodes_of_pods_are_not_remembered_without_bound(
    old_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that runs for years does not fill the fetcher."""
    monkeypatch.setattr(identity, "_NODES_REMEMBERED", 2)
    for number in range(4):
        pod = await old_cluster.run_pod(f"web-{number}")
        await old_cluster.verifier.verify(await old_cluster.token(pod), pod=pod, node="node-1")

    assert list(old_cluster.verifier._nodes.values()) == ["node-1", "node-1"]


def test_only_strong_public_signing_keys_are_taken() -> None:
    """Symmetric, weak and malformed entries of a key set are left out, and do not hide the rest."""
    good = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()  # noqa: S505 - the point
    curve = ec.generate_private_key(ec.SECP384R1()).public_key()
    rsa_jwk, weak_jwk = (jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True) for key in (good, weak))
    ec_jwk = jwt.algorithms.ECAlgorithm.to_jwk(curve, as_dict=True)

    keys = parsed(
        {
            "keys": [
                {"kty": "oct", "kid": "symmetric", "alg": "HS256", "k": "c2VjcmV0"},
                weak_jwk | {"kid": "weak"},
                rsa_jwk | {"kid": "encrypts", "use": "enc"},
                rsa_jwk | {"kid": 7},
                rsa_jwk | {"kid": "broken", "n": "!"},
                ec_jwk | {"kid": "off the curve", "x": ec_jwk["y"]},
                {"kid": "empty"},
                "text",
                rsa_jwk | {"kid": "rsa", "alg": "RS256", "use": "sig"},
                ec_jwk | {"kid": "ec"},
            ]
        }
    )

    assert {kid: key.algorithms for kid, key in keys.items()} == {
        "rsa": ("RS256", "RS384", "RS512"),
        "ec": ("ES384",),
    }


@pytest.mark.parametrize("key_set", [None, {}, {"keys": None}, {"keys": "x"}, {"keys": []}])
def test_a_key_set_of_any_shape_can_be_read(key_set: Json | None) -> None:
    """Nonsense yields no keys rather than a crash."""
    assert parsed(key_set) == {}


@given(st.text(), st.text(max_size=20), st.text(max_size=20))
def test_any_text_as_token_is_refused_and_nothing_else(token: str, name: str, node: str) -> None:
    """No input makes the verifier fail in another way than by refusing; nobody is asked for what cannot be a token."""
    verifier = TokenVerifier(NOBODY)

    with pytest.raises(IdentityRefused):
        asyncio.run(verifier.verify(token, pod=Pod("default", name, "u", "web"), node=node))


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=64))
def test_any_three_parts_as_token_are_refused(header: bytes, payload: bytes, signature: bytes) -> None:
    """The same for what looks like a token."""
    verifier = TokenVerifier(NOBODY)

    with pytest.raises(IdentityRefused):
        asyncio.run(
            verifier.verify(
                f"{part(header)}.{part(payload)}.{part(signature)}",
                pod=Pod("default", "web", "u", "web"),
                node="node-1",
            )
        )


ACCOUNT = Pod("default", "", "", "web")
"""Whom a syncer asks for: a service account, with no pod."""


async def test_an_account_is_who_its_token_says(cluster: Cluster) -> None:
    """A syncer may ask for an account with a token of the account's own, for us and for a backend."""
    await cluster.run_pod()
    token = await cluster.token(ACCOUNT, bound=False)

    verified = await cluster.verifier.verify(token, pod=ACCOUNT, node=SYNCER_NODE)

    assert (verified.pod, verified.node) == (ACCOUNT, SYNCER_NODE)
    check_bearer(await cluster.token(ACCOUNT, audience="vault", bound=False), audience="vault", pod=ACCOUNT)


@pytest.mark.parametrize("node", ["node-1", "", "keyferry-syncer2"])
async def test_only_syncers_ask_for_accounts(cluster: Cluster, node: str) -> None:
    """A node must name a pod, whatever token it got hold of."""
    await cluster.run_pod()

    said = await cluster.refusal(await cluster.token(ACCOUNT, bound=False), ACCOUNT, node=node)

    assert "not bound to a pod" in said


@pytest.mark.parametrize("node", ["node-1", SYNCER_NODE])
async def test_a_pods_token_is_no_accounts(cluster: Cluster, node: str) -> None:
    """What kubelet gave to one pod is no proof of the account as such: not for us, and not for a backend."""
    pod = await cluster.run_pod()

    await cluster.refusal(await cluster.token(pod), ACCOUNT, node=node)
    with pytest.raises(IdentityRefused, match="is bound to a pod"):
        check_bearer(await cluster.token(pod, audience="vault"), audience="vault", pod=ACCOUNT)


@pytest.mark.parametrize("bound", ["pod", "secret", "node"])
async def test_what_is_bound_is_no_accounts(cluster: Cluster, bound: str) -> None:
    """A token that proves some object proves nothing else."""
    await cluster.run_pod()
    claims = cluster.api.tokens.claims(await cluster.token(ACCOUNT, bound=False))
    claims["kubernetes.io"][bound] = {"name": "x", "uid": "y"}

    said = await cluster.refusal(cluster.signed(claims), ACCOUNT, node=SYNCER_NODE)

    assert f"is bound to a {bound}" in said


@pytest.mark.parametrize("other", [Pod("shop", "", "", "web"), Pod("default", "", "", "db")])
async def test_a_token_is_no_proof_of_another_account(cluster: Cluster, other: Pod) -> None:
    """Namespace and name must be the token's."""
    await cluster.run_pod()
    token = await cluster.token(ACCOUNT, bound=False)

    assert "expected" in await cluster.refusal(token, other, node=SYNCER_NODE)
    assert "expected" in await cluster.refusal(
        await cluster.token(ACCOUNT, bound=False, audience="vault"), ACCOUNT, node=SYNCER_NODE
    )


@pytest.mark.parametrize("half", [Pod("default", "web-0", "", "web"), Pod("default", "", "u-1", "web")])
async def test_half_a_pod_is_none(cluster: Cluster, half: Pod) -> None:
    """A request that names a pod in part is a pod's, and its token must be."""
    await cluster.run_pod()
    token = await cluster.token(ACCOUNT, bound=False)

    assert "not bound to a pod" in await cluster.refusal(token, half, node=SYNCER_NODE)
