"""Who is who: identity pools that verify pods' tokens, service accounts with keys, and the access tokens given out."""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keyferry.testing.gcp.policies import Policies

Json = Mapping[str, Any]
Keys = Json | Callable[[], Json]
"""A JSON Web Key Set (RFC 7517), or what gives the current one."""

_SUBJECT = re.compile(r"system:serviceaccount:([a-z0-9.-]+):([a-z0-9.-]+)")
_FEDERATED = re.compile(
    r"//iam\.googleapis\.com/(projects/[0-9]+/locations/global/workloadIdentityPools/[^/]+)/providers/.+"
)
_ALGORITHMS = ["RS256", "ES256"]


class Refusal(Exception):
    """A token is not taken; `code` is OAuth's."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code
        self.description = description


@dataclass(frozen=True)
class Provider:
    """What a pool needs to verify a cluster's tokens."""

    issuer: str
    audiences: Sequence[str]
    keys: Keys
    members: Callable[[str, str, str], frozenset[str]]


@dataclass(frozen=True)
class Holder:
    """Whom an access token speaks for."""

    members: frozenset[str]
    expires: float


@dataclass
class Account:
    """A Google service account."""

    email: str
    key: rsa.RSAPrivateKey = field(repr=False)


class Identities:
    """All of them.

    Args:
        policies: For the numbers of projects.
        now: Unix seconds.
    """

    def __init__(self, policies: Policies, now: Callable[[], float]) -> None:
        self.accounts: dict[str, Account] = {}
        self._policies = policies
        self._now = now
        self._providers: dict[str, Provider] = {}
        self._tokens: dict[str, Holder] = {}

    def trust_gke(self, project: str, cluster: str, *, issuer: str, keys: Keys) -> str:
        """Make a GKE cluster part of its project's pool, and return the `audience` of exchanges.

        Args:
            project: Its id.
            cluster: URL, ``https://container.googleapis.com/v1/projects/…/clusters/…``.
            issuer: Of its tokens; a real cluster's is the URL itself.
            keys: It signs with.
        """
        pool = f"{project}.svc.id.goog"
        resource = f"projects/{self._policies.number(project)}/locations/global/workloadIdentityPools/{pool}"

        def members(subject: str, namespace: str, name: str) -> frozenset[str]:
            del subject
            principal = f"principal://iam.googleapis.com/{resource}/subject/ns/{namespace}/sa/{name}"
            return frozenset({f"serviceAccount:{pool}[{namespace}/{name}]", principal})

        target = f"identitynamespace:{pool}:{cluster}"
        self._providers[target] = Provider(issuer, (pool,), keys, members)
        return target

    def trust_federated(self, provider: str, *, issuer: str, keys: Keys, audiences: Sequence[str] = ()) -> str:
        """Make a provider of Workload Identity Federation, with ``google.subject=assertion.sub``.

        Args:
            provider: ``//iam.googleapis.com/projects/…/workloadIdentityPools/…/providers/…``.
            issuer: Of the cluster's tokens.
            keys: It signs with.
            audiences: Allowed ones; by default the provider's name, with or without ``https:``.
        """
        match = _FEDERATED.fullmatch(provider)
        if match is None:
            raise ValueError(f"{provider} is no provider's full name")
        prefix = f"principal://iam.googleapis.com/{match[1]}/subject/"

        def members(subject: str, namespace: str, name: str) -> frozenset[str]:
            del namespace, name
            return frozenset({f"{prefix}{subject}"})

        allowed = tuple(audiences) or (provider, f"https:{provider}")
        self._providers[provider] = Provider(issuer, allowed, keys, members)
        return provider

    def create_account(self, email: str) -> dict[str, str]:
        """Make a service account, and return a key.json of its."""
        account = Account(email, rsa.generate_private_key(public_exponent=65537, key_size=2048))
        self.accounts[email] = account
        pem = account.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        return {
            "type": "service_account",
            "client_email": email,
            "private_key_id": "1",
            "private_key": pem,
            "token_uri": "https://oauth2.googleapis.com/token",
        }

    def of_pod(self, target: str, token: str) -> frozenset[str]:
        """The members that a pod's token stands for.

        Raises:
            Refusal: the pool is not known, or the token not good.
        """
        provider = self._providers.get(target)
        if provider is None:
            raise Refusal(
                "invalid_target", "The target service indicated by the audience is invalid, disabled or does not exist."
            )
        claims = self._verified(provider, token)
        subject = _SUBJECT.fullmatch(str(claims.get("sub")))
        if subject is None:
            raise Refusal("invalid_grant", "The subject in ID Token is no service account of a cluster.")
        return provider.members(subject[0], subject[1], subject[2])

    def of_assertion(self, assertion: str) -> frozenset[str]:
        """The member that a JWT signed with an account's key stands for (RFC 7523).

        Raises:
            Refusal: it is signed by nobody we know, or not meant for us.
        """
        try:
            email = jwt.decode(assertion, options={"verify_signature": False}).get("iss", "")
            key = self.accounts[email].key.public_key()
            jwt.decode(assertion, key, ["RS256"], audience="https://oauth2.googleapis.com/token", issuer=email)
        except (jwt.PyJWTError, KeyError):
            raise Refusal("invalid_grant", "Invalid JWT Signature.") from None
        return frozenset({f"serviceAccount:{email}"})

    def issue(self, members: frozenset[str], seconds: float) -> str:
        """An access token."""
        token = f"ya29.{secrets.token_urlsafe(48)}"
        self._tokens[token] = Holder(members, self._now() + seconds)
        return token

    def bearer(self, authorization: str) -> frozenset[str] | None:
        """The members that an Authorization header stands for; None if it is missing, unknown or has expired."""
        holder = self._tokens.get(authorization.removeprefix("Bearer "))
        if holder is None or holder.expires <= self._now():
            return None
        return holder.members

    def revoke(self) -> None:
        """No access token given out so far is good any more."""
        self._tokens.clear()

    def _verified(self, provider: Provider, token: str) -> Json:
        keys = provider.keys() if callable(provider.keys) else provider.keys
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = jwt.PyJWKSet.from_dict(dict(keys))[str(kid)]
            claims: Json = jwt.decode(token, key, _ALGORITHMS, options={"verify_aud": False}, issuer=provider.issuer)
        except jwt.ExpiredSignatureError:
            raise Refusal("invalid_grant", "ID Token is stale to sign-in.") from None
        except jwt.InvalidIssuerError:
            raise Refusal("invalid_grant", "The issuer in ID Token does not match the expected ones.") from None
        except (jwt.PyJWTError, KeyError):
            raise Refusal("invalid_grant", "Invalid JWT: its signature or form is not good.") from None
        audiences = claims.get("aud")
        named = audiences if isinstance(audiences, list) else [audiences]
        if not set(named) & set(provider.audiences):
            raise Refusal("invalid_grant", f"The audience in ID Token {named} does not match the expected audience.")
        return claims
