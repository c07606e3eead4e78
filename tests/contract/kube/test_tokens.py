"""TokenRequest, OIDC discovery and TokenReview."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from kubernetes.aio import client

from .conftest import Api

ACCOUNTS = "/api/v1/namespaces/{ns}/serviceaccounts"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
ISSUES_NODE_CLAIM = 30


async def issued(api: Api, account: str = "default", **spec: Any) -> dict[str, Any]:
    made = await api.make(f"{ACCOUNTS}/{account}/token", {"spec": spec})
    status: dict[str, Any] = made["status"]
    return status


def claims(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


def reference(pod: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]} | more


async def review(api: Api, token: str, *audiences: str) -> dict[str, Any]:
    spec = {"token": token} | ({"audiences": list(audiences)} if audiences else {})
    status: dict[str, Any] = (await api.make(REVIEWS, {"spec": spec}))["status"]
    return status


async def test_a_token_says_whose_it_is(api: Api) -> None:
    """Subject, audience, lifetime and the account's uid are claims."""
    account = await api.read(f"{ACCOUNTS}/default")
    status = await issued(api, audiences=["vault", "other"], expirationSeconds=600)

    found = claims(status["token"])
    assert found["sub"] == f"system:serviceaccount:{api.namespace}:default"
    assert found["aud"] == ["vault", "other"]
    assert found["exp"] - found["iat"] == 600
    assert found["nbf"] == found["iat"]
    assert found["kubernetes.io"] == {
        "namespace": api.namespace,
        "serviceaccount": {"name": "default", "uid": account["metadata"]["uid"]},
    }
    expires = datetime.fromisoformat(status["expirationTimestamp"])
    assert expires == datetime.fromtimestamp(found["exp"], UTC)


async def test_a_token_is_for_the_api_and_an_hour_unless_said_otherwise(api: Api) -> None:
    """The default audience is the issuer, the default lifetime 3600 seconds."""
    made = await api.make(f"{ACCOUNTS}/default/token", {"spec": {}})
    found = claims(made["status"]["token"])

    assert found["aud"] == [found["iss"]] == made["spec"]["audiences"]
    assert found["exp"] - found["iat"] == made["spec"]["expirationSeconds"] == 3600


async def test_a_token_of_a_pod_names_it(api: Api, pod: dict[str, Any]) -> None:
    """BoundObjectRef puts the pod's name and uid into the claims."""
    status = await issued(api, audiences=["vault"], boundObjectRef=reference(pod))

    bound = claims(status["token"])["kubernetes.io"]
    assert bound["pod"] == {"name": "app", "uid": pod["metadata"]["uid"]}


async def test_a_token_of_a_pod_names_its_node(api: Api, pod: dict[str, Any], node: dict[str, Any]) -> None:
    """From Kubernetes 1.30 on the pod's node is a claim too."""
    if api.minor < ISSUES_NODE_CLAIM:
        pytest.skip(f"Kubernetes 1.{api.minor} puts no node into tokens; 1.{ISSUES_NODE_CLAIM} was the first")
    status = await issued(api, audiences=["vault"], boundObjectRef=reference(pod))

    bound = claims(status["token"])["kubernetes.io"]
    assert bound["node"] == {"name": node["metadata"]["name"], "uid": node["metadata"]["uid"]}


async def test_every_token_of_a_newer_server_has_an_id(api: Api) -> None:
    """From Kubernetes 1.30 on each token has a jti of its own."""
    if api.minor < ISSUES_NODE_CLAIM:
        pytest.skip(f"Kubernetes 1.{api.minor} puts no jti into tokens; 1.{ISSUES_NODE_CLAIM} was the first")
    one, two = await issued(api), await issued(api)

    assert claims(one["token"])["jti"] != claims(two["token"])["jti"]


async def test_a_token_is_bound_to_the_very_pod(api: Api, pod: dict[str, Any]) -> None:
    """Another uid is a conflict, another name not found, another account or kind a bad request."""
    await api.make(ACCOUNTS, {"metadata": {"name": "other"}})

    async def refused(account: str, bound: dict[str, Any]) -> tuple[int, str]:
        answer = await api.call("POST", f"{ACCOUNTS}/{account}/token", {"spec": {"boundObjectRef": bound}})
        return answer.status, answer.message

    uid = await refused("default", reference(pod, uid="x"))
    name = await refused("default", reference(pod, name="none"))
    account = await refused("other", reference(pod))
    kind = await refused("default", reference(pod, kind="ConfigMap"))

    assert uid[0] == 409
    assert 'Operation cannot be fulfilled on Pod "app": the UID in the bound object reference (x) does not' in uid[1]
    assert name == (404, 'pods "none" not found')
    assert account[0] == 400
    assert "to pod running with different serviceaccount name" in account[1]
    assert kind == (400, "cannot bind token to object of type /v1, Kind=ConfigMap")


@pytest.mark.parametrize(
    ("seconds", "part"),
    [
        (599, "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"),
        (
            2**33,
            "spec.expirationSeconds: Invalid value: 8589934592: may not specify a duration larger than 2^32 seconds",
        ),
    ],
)
async def test_a_lifetime_has_limits(api: Api, seconds: int, part: str) -> None:
    """Ten minutes at least, 2^32 seconds at most."""
    answer = await api.call("POST", f"{ACCOUNTS}/default/token", {"spec": {"expirationSeconds": seconds}})

    assert answer.status == 422
    assert part in answer.message


async def test_the_account_must_be_there(api: Api) -> None:
    """No account, no token; and tokens are only made, never read."""
    missing = await api.call("POST", f"{ACCOUNTS}/none/token", {"spec": {}})
    read = await api.call("GET", f"{ACCOUNTS}/default/token")

    assert (missing.status, missing.message) == (404, 'serviceaccounts "none" not found')
    assert read.status == 405


async def test_anybody_can_verify_a_token(api: Api) -> None:
    """The keys at /openid/v1/jwks verify it; the discovery document names the issuer and where the keys are."""
    token = (await issued(api, audiences=["vault"]))["token"]
    document = await api.read("/.well-known/openid-configuration")
    keys = await api.call("GET", "/openid/v1/jwks", accept="application/jwk-set+json")
    key = jwt.PyJWKSet.from_dict(keys.body)[jwt.get_unverified_header(token)["kid"]]

    found = jwt.decode(token, key.key, algorithms=["RS256"], audience="vault", issuer=document["issuer"])

    assert found["sub"] == f"system:serviceaccount:{api.namespace}:default"
    assert document["jwks_uri"].endswith("/openid/v1/jwks")
    assert document["id_token_signing_alg_values_supported"] == ["RS256"]
    assert keys.headers["Content-Type"] == "application/jwk-set+json"
    assert "typ" not in jwt.get_unverified_header(token)


async def test_keys_are_no_plain_json(api: Api) -> None:
    """A client that accepts only application/json gets no keys."""
    answer = await api.call("GET", "/openid/v1/jwks", accept="application/json")

    assert (answer.status, answer.reason) == (406, "NotAcceptable")


async def test_a_review_tells_who_the_bearer_is(api: Api, pod: dict[str, Any]) -> None:
    """User, groups and the bound pod, for the audiences that both sides have."""
    token = (await issued(api, audiences=["vault", "x"], boundObjectRef=reference(pod)))["token"]

    status = await review(api, token, "vault", "y")

    assert status["authenticated"] is True
    assert status["audiences"] == ["vault"]
    assert status["user"]["username"] == f"system:serviceaccount:{api.namespace}:default"
    assert status["user"]["groups"] == [
        "system:serviceaccounts",
        f"system:serviceaccounts:{api.namespace}",
        "system:authenticated",
    ]
    assert status["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["app"]
    assert status["user"]["extra"]["authentication.kubernetes.io/pod-uid"] == [pod["metadata"]["uid"]]


async def test_a_review_is_for_an_audience(api: Api) -> None:
    """A token for somebody else is not authenticated, and the error names both sides."""
    token = (await issued(api, audiences=["vault"]))["token"]

    other, server = await review(api, token, "q"), await review(api, token)

    assert "authenticated" not in other
    assert other["error"] == (
        '[invalid bearer token, token audiences ["vault"] is invalid for the target audiences ["q"]]'
    )
    assert "authenticated" not in server


async def test_a_token_for_the_api_passes_a_review_without_audience(api: Api) -> None:
    """Without audiences the API server's own is meant."""
    status = await review(api, (await issued(api))["token"])

    assert status["authenticated"] is True
    assert len(status["audiences"]) == 1


@pytest.mark.parametrize("token", ["junk", "a.b.c"])
async def test_a_review_of_nonsense(api: Api, token: str) -> None:
    """What is no token of the cluster is not authenticated."""
    status = await review(api, token, "vault")

    assert status == {"user": {}, "error": "invalid bearer token"}


async def test_a_token_of_a_gone_account_is_worth_nothing(api: Api) -> None:
    """An account of the same name has another uid, so the old one's tokens die with it."""
    await api.make(ACCOUNTS, {"metadata": {"name": "short"}})
    token = (await issued(api, "short", audiences=["vault"]))["token"]
    await api.call("DELETE", f"{ACCOUNTS}/short")
    await api.make(ACCOUNTS, {"metadata": {"name": "short"}})

    assert "authenticated" not in await review(api, token, "vault")


async def test_a_token_opens_the_api(api: Api) -> None:
    """A service account's token for the API is let in; one for another audience, or nonsense, is 401."""
    own, foreign = (await issued(api))["token"], (await issued(api, audiences=["vault"]))["token"]

    async with stranger(api) as unknown:
        # What it may do is RBAC's business: a real server's discovery is open to every account.
        answers = [await with_token(unknown, token).call("GET", "/apis") for token in (own, foreign, "nonsense")]

    assert [answer.status for answer in answers] == [200, 401, 401]
    assert (answers[2].reason, answers[2].message) == ("Unauthorized", "Unauthorized")


def with_token(api: Api, token: str) -> Api:
    return replace(api, headers={"Authorization": f"Bearer {token}"})


@asynccontextmanager
async def stranger(api: Api) -> AsyncIterator[Api]:
    """A client that trusts the server and has no credentials of its own."""
    theirs, ours = api.client.configuration, client.Configuration()
    ours.host, ours.ssl_ca_cert, ours.ca_cert_data = theirs.host, theirs.ssl_ca_cert, theirs.ca_cert_data
    async with client.ApiClient(ours) as bare:
        yield replace(api, client=bare)
