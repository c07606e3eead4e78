"""Whose credentials a pod's secrets are read with, and the cache that asks once per service account and hour."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from fetcher.provider import ProviderRequest
from fetcher.providers.aws.clients import Clients, Credentials
from fetcher.providers.aws.faults import Fault
from keyferry.errors import AccessDenied, ProviderUnavailable

ROLE_ANNOTATION = "eks.amazonaws.com/role-arn"
STS_AUDIENCE = "sts.amazonaws.com"
POD_IDENTITY_AUDIENCE = "pods.eks.amazonaws.com"

_RENEW_BEFORE = 300.0  # seconds before they expire
_SETTLED_AFTER = 60.0  # seconds; younger credentials are not asked for again because something was denied
_MAX_IDENTITIES = 10_000
_SESSION_NAME_LENGTH = 64  # STS, AssumeRoleWithWebIdentity
_NOT_IN_SESSION_NAME = re.compile(r"[^\w+=,.@-]", re.ASCII)
_HINTS = {
    "AccessDenied": "its trust policy must allow sts:AssumeRoleWithWebIdentity to this service account",
    "InvalidIdentityToken": "IAM knows no OIDC provider for this cluster, or one with another audience",
    "ExpiredTokenException": "the pod's token has expired",
    "ValidationError": f"the annotation {ROLE_ANNOTATION} is no ARN of a role",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who AWS sees: a service account in a role, in one region.

    Attributes:
        role: ARN; empty for EKS Pod Identity, where AWS knows the role.
        region: Whose STS is asked.
        namespace: Of the pod.
        service_account: Of the pod.
    """

    role: str
    region: str
    namespace: str
    service_account: str

    def __str__(self) -> str:
        account = f"service account {self.namespace}/{self.service_account}"
        return f"role {self.role} ({account})" if self.role else f"EKS Pod Identity of {account}"


def identify(request: ProviderRequest, region: str, *, use_pod_identity: bool) -> Identity:
    """The identity a pod has in a region.

    Raises:
        AccessDenied: its service account has no role.
    """
    pod = request.pod
    role = "" if use_pod_identity else request.service_account_annotations.get(ROLE_ANNOTATION, "")
    if not role and not use_pod_identity:
        raise AccessDenied(
            f"An IAM role must be associated with service account {pod.service_account} (namespace: {pod.namespace}): "
            f"annotate it with {ROLE_ANNOTATION}, or set usePodIdentity"
        )
    return Identity(role, region, pod.namespace, pod.service_account)


async def assume_role(clients: Clients, identity: Identity, token: str, now: float, deadline: float) -> Credentials:
    """Exchange a pod's token for credentials of its role (IRSA). The call is not signed: the token is the proof.

    Args:
        clients: Calls STS.
        identity: Names role and region.
        token: The pod's, of audience ``sts.amazonaws.com``.
        now: Unix seconds.
        deadline: Unix seconds.

    Raises:
        KeyferryError: as STS answered.
    """
    try:
        answer = await clients.call(
            "sts",
            identity.region,
            "assume_role_with_web_identity",
            None,
            deadline,
            RoleArn=identity.role,
            RoleSessionName=session_name(identity),
            WebIdentityToken=token,
        )
    except Fault as fault:
        hint = _HINTS.get(fault.code)
        kind = fault.kind if fault.is_transient else AccessDenied
        raise Fault(fault.code, kind, fault.retry_after).explain(
            f"assuming {identity}{f': {hint}' if hint else ''}"
        ) from None
    try:
        found = answer["Credentials"]
        expires: datetime = found["Expiration"]
        keys = found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"]
        return Credentials(*keys, expires.timestamp(), now)
    except (LookupError, TypeError, AttributeError):
        raise ProviderUnavailable(f"assuming {identity}: STS's answer holds no credentials") from None


def session_name(identity: Identity) -> str:
    """What CloudTrail shows beside the role: namespace and service account, cut and marked if they are too long."""
    name = _NOT_IN_SESSION_NAME.sub("-", f"{identity.namespace}@{identity.service_account}")
    if len(name) <= _SESSION_NAME_LENGTH:
        return name
    return f"{name[: _SESSION_NAME_LENGTH - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


class CredentialCache:
    """Credentials by identity until shortly before they expire; one exchange in flight for each.

    Sharing them within a service account gives no pod more than it would get by itself: a role's trust policy and a Pod
    Identity association know namespaces and service accounts, and the fetcher has verified the pod's before.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: OrderedDict[Identity, Credentials] = OrderedDict()
        self._flights: dict[Identity, asyncio.Task[Credentials]] = {}

    async def get(self, identity: Identity, exchange: Callable[[], Awaitable[Credentials]]) -> Credentials:
        """Credentials that hold for five minutes at least, as far as AWS gives them.

        Args:
            identity: Whose.
            exchange: Asks AWS; its error reaches all who wait for it.
        """
        known = self._known.get(identity)
        if known and known.expires_at - self._clock() > _RENEW_BEFORE:
            self._known.move_to_end(identity)
            return known
        flight = self._flights.get(identity)
        if flight is None:
            flight = self._flights[identity] = asyncio.create_task(self._exchange(identity, exchange))
            flight.add_done_callback(lambda done: self._land(identity, done))
        # Whoever started it may be cancelled; the others still wait.
        return await asyncio.shield(flight)

    def forget(self, identity: Identity, credentials: Credentials, *, at_once: bool) -> None:
        """Have the next call ask anew: the role may have been exchanged for another.

        Args:
            identity: Whose.
            credentials: The ones that failed; later ones are kept.
            at_once: Whatever their age; else only if they have been around for a minute, so that a pod that is denied
                for good does not ask STS at each of its tries.
        """
        settled = self._clock() - credentials.issued_at > _SETTLED_AFTER
        if self._known.get(identity) is credentials and (at_once or settled):
            del self._known[identity]

    async def close(self) -> None:
        """End exchanges in flight."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    async def _exchange(self, identity: Identity, exchange: Callable[[], Awaitable[Credentials]]) -> Credentials:
        found = self._known[identity] = await exchange()
        self._known.move_to_end(identity)
        if len(self._known) > _MAX_IDENTITIES:
            self._known.popitem(last=False)
        return found

    def _land(self, identity: Identity, flight: asyncio.Task[Credentials]) -> None:
        del self._flights[identity]
        if not flight.cancelled():
            flight.exception()  # seen, even if nobody waits any more
