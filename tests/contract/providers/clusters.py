"""The tokens of a cluster's service accounts: such as a test signs itself, and such as an API server gives out."""

import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyferry.kube import Kube
from keyferry.resources import Pod

_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_JWK = jwt.algorithms.RSAAlgorithm.to_jwk(_KEY.public_key(), as_dict=True)
KEYS = {"keys": [{**_JWK, "kid": "1", "use": "sig"}]}
"""What the cluster publishes: `signed` tokens are verified by it."""
PEM = _KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
"""The same, for those who take no key sets."""


def signed(pod: Pod, *, issuer: str, audience: str | list[str], **claims: Any) -> str:
    """A pod's token as kubelet hands it out, but for the claims that a test has its own way."""
    now = int(time.time())
    subject = f"system:serviceaccount:{pod.namespace}:{pod.service_account}"
    usual = {"iss": issuer, "sub": subject, "aud": audience, "iat": now, "nbf": now, "exp": now + 600}
    return jwt.encode({**usual, **claims}, _KEY, algorithm="RS256", headers={"kid": "1"})


async def issued(kube: Kube, account: str, *, namespace: str, audience: str) -> str:
    """A token that a cluster issues for a service account, which is made for it."""
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    await kube.call("POST", accounts, body={"metadata": {"name": account}})
    spec = {"spec": {"audiences": [audience], "expirationSeconds": 600}}
    answer = await kube.call("POST", f"{accounts}/{account}/token", body=spec)
    assert answer is not None
    return str(answer["status"]["token"])
