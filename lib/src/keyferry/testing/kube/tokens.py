"""Service account tokens: issued by TokenRequest, published as OIDC keys, judged by TokenReview.

Source: kubernetes `pkg/serviceaccount/{jwt,claims,openidmetadata}.go` and `pkg/registry/core/serviceaccount/storage`.
"""

import base64
import hashlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Json = dict[str, Any]

LEEWAY_SECONDS = 60
"""How long a deleted pod's tokens still count, and how far clocks may differ (the server's and go-jose's leeway)."""


@dataclass(frozen=True)
class Caller:
    """Who a token speaks for; `extra` names the pod and node that it is bound to."""

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: dict[str, list[str]] = field(default_factory=dict)
    audiences: tuple[str, ...] = ()


class Issuer:
    """One RSA key, and what signs and verifies with it.

    Args:
        url: The `iss` of the tokens; also the default audience.
        now: The clock that tokens are dated and judged by.
    """

    def __init__(self, url: str, now: Callable[[], datetime]) -> None:
        self.url = url
        self._now = now
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        der = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self._key_id = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()

    def rotate(self) -> None:
        """Signs with a new key from now on and forgets the old one."""
        self.__init__(self.url, self._now)  # type: ignore[misc]  # a new key is a new issuer of the same name

    def issue(self, account: Json, audiences: Sequence[str], seconds: int, bound: Json) -> tuple[str, datetime]:
        """A token for a ServiceAccount, and when it expires.

        Args:
            account: The ServiceAccount object.
            audiences: Its `aud`; at least one.
            seconds: How long it is valid.
            bound: More `kubernetes.io` claims: `pod`, `node` or `secret`, each with name and uid.
        """
        issued = int(self._now().timestamp())
        metadata = account["metadata"]
        claims = {
            "aud": list(audiences),
            "exp": issued + seconds,
            "iat": issued,
            "iss": self.url,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": {
                "namespace": metadata["namespace"],
                **bound,
                "serviceaccount": {"name": metadata["name"], "uid": metadata["uid"]},
            },
            "nbf": issued,
            "sub": f"system:serviceaccount:{metadata['namespace']}:{metadata['name']}",
        }
        token = jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self._key_id, "typ": None})
        return token, datetime.fromtimestamp(issued + seconds, UTC)

    def claims(self, token: str) -> Json:
        """The claims of a token of ours that is valid now, whatever its audience.

        Raises:
            jwt.InvalidTokenError: It is not ours, or expired, or not valid yet.
        """
        options: Any = {"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False}
        claims: Json = jwt.decode(token, self._key.public_key(), ["RS256"], options, issuer=self.url)
        now = self._now().timestamp()
        if now > claims["exp"] + LEEWAY_SECONDS:
            raise jwt.ExpiredSignatureError("token has expired")
        if now < claims["nbf"] - LEEWAY_SECONDS:
            raise jwt.ImmatureSignatureError("token is not yet valid")
        return claims

    def discovery(self, keys_url: str) -> Json:
        """The document at /.well-known/openid-configuration (OpenID Connect Discovery 1.0)."""
        return {
            "issuer": self.url,
            "jwks_uri": keys_url,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def key_set(self) -> Json:
        """The document at /openid/v1/jwks (RFC 7517)."""
        numbers = self._key.public_key().public_numbers()
        public = {"n": _base64url(numbers.n), "e": _base64url(numbers.e)}
        return {"keys": [{"use": "sig", "kty": "RSA", "kid": self._key_id, "alg": "RS256", **public}]}


def _base64url(number: int) -> str:
    size = (number.bit_length() + 7) // 8
    return base64.urlsafe_b64encode(number.to_bytes(size, "big")).rstrip(b"=").decode()
