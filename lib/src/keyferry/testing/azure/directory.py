"""Microsoft Entra ID: tenants, applications with secrets and federated credentials, and the access tokens given out."""

import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

Json = Mapping[str, Any]
Keys = Json | Callable[[], Json]
"""A JSON Web Key Set (RFC 7517), or what gives the current one."""

AUDIENCE = "api://AzureADTokenExchange"
VAULT = "https://vault.azure.net"
_ALGORITHMS = ["RS256", "ES256"]


class Refusal(Exception):
    """No token is given: OAuth's error, and Entra's number for why."""

    def __init__(self, error: str, number: int, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.number = number
        self.description = description


class NotAccepted(Exception):
    """A vault does not take a token; the text is Key Vault's."""


@dataclass(frozen=True)
class Credential:
    """A federated credential: whose tokens an application takes for its own."""

    issuer: str
    subject: str
    audience: str


@dataclass
class Application:
    """An application, or a user-assigned managed identity, in a tenant."""

    tenant: str
    client_id: str
    object_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    secrets: set[str] = field(default_factory=set, repr=False)
    credentials: list[Credential] = field(default_factory=list)


class Directory:
    """All tenants.

    Args:
        now: Unix seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.resources = {VAULT}
        self._now = now
        self._applications: dict[tuple[str, str], Application] = {}
        self._issuers: dict[str, Keys] = {}
        self._assigned: dict[str, Application] = {}
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._epoch = str(uuid.uuid4())

    def register(self, tenant: str, client_id: str) -> Application:
        """Make an application, or find it."""
        return self._applications.setdefault((tenant, client_id), Application(tenant, client_id))

    def create_secret(self, tenant: str, client_id: str) -> str:
        """A client secret for an application."""
        secret = secrets.token_urlsafe(30)
        self.register(tenant, client_id).secrets.add(secret)
        return secret

    def trust(self, issuer: str, keys: Keys) -> None:
        """Know an issuer of tokens, as Entra finds its keys by OIDC discovery."""
        self._issuers[issuer] = keys

    def federate(self, tenant: str, client_id: str, *, issuer: str, subject: str, audience: str = AUDIENCE) -> None:
        """Add a federated credential to an application."""
        self.register(tenant, client_id).credentials.append(Credential(issuer, subject, audience))

    def assign(self, tenant: str, client_id: str, *, system: bool = False) -> None:
        """Give the node a managed identity; with `system` it is also the one that needs no naming."""
        found = self.register(tenant, client_id)
        self._assigned[client_id] = found
        if system:
            self._assigned[""] = found

    def of_node(self, client_id: str) -> Application | None:
        """A managed identity of the node; None if it has no such."""
        return self._assigned.get(client_id)

    def of_secret(self, tenant: str, client_id: str, secret: str) -> Application:
        """The application that a secret proves.

        Raises:
            Refusal: it proves none.
        """
        found = self._application(tenant, client_id)
        if secret not in found.secrets:
            raise Refusal("invalid_client", 7000215, "Invalid client secret provided.")
        return found

    def of_assertion(self, tenant: str, client_id: str, assertion: str) -> Application:
        """The application that a token of another issuer proves.

        Raises:
            Refusal: it proves none.
        """
        found = self._application(tenant, client_id)
        claims = self._verified(assertion)
        for rank, (number, what) in enumerate(((700211, "issuer"), (700213, "subject"), (700212, "audience"))):
            matching = [each for each in found.credentials if _parts(each, claims)[: rank + 1] == (True,) * (rank + 1)]
            if not matching:
                name = {"issuer": "iss", "subject": "sub", "audience": "aud"}[what]
                text = (
                    f"No matching federated identity record found for presented assertion {what} '{claims.get(name)}'."
                )
                raise Refusal("invalid_client", number, text)
        return found

    def issue(self, application: Application, resource: str, seconds: float) -> str:
        """An access token (a JWT of Entra's first version).

        Raises:
            Refusal: nobody knows the resource.
        """
        if resource not in self.resources:
            raise Refusal("invalid_resource", 500011, f"The resource principal named {resource} was not found.")
        now = int(self._now())
        claims = {
            "aud": resource,
            "iss": f"https://sts.windows.net/{application.tenant}/",
            "iat": now,
            "nbf": now,
            "exp": now + int(seconds),
            "appid": application.client_id,
            "oid": application.object_id,
            "tid": application.tenant,
            "epoch": self._epoch,
        }
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": "entra"})

    def bearer(self, token: str, *, tenant: str, resource: str) -> Application:
        """The application that an access token speaks for.

        Raises:
            NotAccepted: it is not ours, or for another resource, or of another tenant, or has expired or been revoked.
        """
        try:
            options: Any = {"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False}
            claims = jwt.decode(token, self._key.public_key(), ["RS256"], options)
        except jwt.PyJWTError:
            raise NotAccepted("AKV10046: Unable to resolve the key used for signature validation.") from None
        if claims["exp"] <= self._now() or claims["epoch"] != self._epoch:
            raise NotAccepted("AKV10045: The token has expired or been revoked.")
        if claims["aud"] != resource:
            raise NotAccepted(f"AKV10022: Invalid audience. Expected {resource}, found: {claims['aud']}.")
        if claims["tid"] != tenant:
            raise NotAccepted(f"AKV10032: Invalid issuer. Expected https://sts.windows.net/{tenant}/, found another.")
        return self._applications[claims["tid"], claims["appid"]]

    def revoke(self) -> None:
        """No access token given out so far is good any more."""
        self._epoch = str(uuid.uuid4())

    def key_set(self) -> dict[str, Any]:
        """The keys that access tokens are signed with."""
        key = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**key, "kid": "entra", "use": "sig"}]}

    def _application(self, tenant: str, client_id: str) -> Application:
        if not any(known == tenant for known, _ in self._applications):
            raise Refusal("invalid_request", 90002, f"Tenant '{tenant}' not found.")
        found = self._applications.get((tenant, client_id))
        if found is None:
            text = f"Application with identifier '{client_id}' was not found in the directory '{tenant}'."
            raise Refusal("unauthorized_client", 700016, text)
        return found

    def _verified(self, assertion: str) -> dict[str, Any]:
        try:
            issuer = str(jwt.decode(assertion, options={"verify_signature": False}).get("iss"))
            given = self._issuers.get(issuer, {"keys": []})
            keys = given() if callable(given) else given
            if not keys["keys"]:
                text = f"No matching federated identity record found for presented assertion issuer '{issuer}'."
                raise Refusal("invalid_client", 700211, text)
            key = jwt.PyJWKSet.from_dict(dict(keys))[str(jwt.get_unverified_header(assertion).get("kid"))]
            claims: dict[str, Any] = jwt.decode(assertion, key, _ALGORITHMS, options={"verify_aud": False})
        except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError):
            raise Refusal("invalid_client", 700024, "Client assertion is not within its valid time range.") from None
        except (jwt.PyJWTError, KeyError):
            raise Refusal("invalid_client", 50013, "Assertion failed signature validation.") from None
        return claims


def _parts(credential: Credential, claims: Json) -> Sequence[bool]:
    audiences = claims.get("aud")
    named = audiences if isinstance(audiences, list) else [audiences]
    return (
        credential.issuer == claims.get("iss"),
        credential.subject == claims.get("sub"),
        named == [credential.audience],
    )
