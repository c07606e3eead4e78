"""Proves that the pod a request names, on the node it names, is who asks (design.md, section 6)."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import jwt

from fetcher.bearer import at, header, part, quoted, shape, time_of
from fetcher.issuer import IssuerKey, IssuerKeys
from fetcher.proven import Proven
from keyferry.errors import IdentityRefused
from keyferry.kube import Flights, Json, Kube, object_path
from keyferry.resources import SYNCER_NODE, TOKEN_AUDIENCE, Pod

security = logging.getLogger("keyferry.security")

PODS = "/api/v1/pods"
LEEWAY_SECONDS = 30.0
"""How far the clocks of API server and fetcher may differ."""

_NODES_REMEMBERED = 20_000  # of about 300 bytes each


@dataclass(frozen=True, slots=True)
class Verified:
    """A pod whose token for us held.

    Attributes:
        pod: The pod, as request and token both name it.
        node: The node it runs on.
        expires_at: Unix seconds until which the token is proof.
    """

    pod: Pod
    node: str
    expires_at: float


class TokenVerifier:
    """Verifies pod-bound service account tokens without asking the API server for each.

    What the API server's own TokenReview adds to this, that the pod has not been deleted since, is left to the token's
    expiry: a request for a pod that is gone yields a reply that only the pod's own node can open.
    """

    def __init__(
        self,
        kube: Kube,
        *,
        audience: str = TOKEN_AUDIENCE,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Wires the verifier.

        Args:
            kube: The API server.
            audience: That the token must be meant for.
            now: Unix seconds, for the times in tokens.
            clock: Seconds, monotonic, for the age of the keys.
        """
        self._kube = kube
        self._audience = audience
        self._now = now
        self._keys = IssuerKeys(kube, clock=clock)
        self._signatures = jwt.PyJWS()
        self._proven = Proven()
        self._nodes: dict[str, str] = {}
        self._flights: Flights[str, str] = Flights()

    @property
    def ready(self) -> bool:
        """The issuer's keys are known."""
        return self._keys.known

    async def run(self) -> NoReturn:
        """Keeps the issuer's keys fresh; belongs into a task group."""
        await self._keys.run()

    async def verify(self, token: str, *, pod: Pod, node: str) -> Verified:
        """Makes sure that the token proves this pod on this node.

        Args:
            token: With audience ``keyferry``, as kubelet gave it to the node-driver.
            pod: Whom the request claims to be for; only a namespace and an account where a syncer asks, whose token
                must then be bound to no pod.
            node: Whose subject the request came on.

        Raises:
            IdentityRefused: it does not; the text says which claim differs, never anything of the token's signature.
            KubernetesUnavailable: it cannot be told now.
            AccessDenied: we may not read what is needed to tell.
        """
        try:
            claims = await self._authentic(token, self._audience)
            expires_at = self._timely(claims)
            if _is_account(pod) and node == SYNCER_NODE:
                _check_account(claims, pod)
            else:
                _check_pod(claims, pod)
                await self._check_node(claims, pod, node)
        except IdentityRefused as refused:
            security.warning("identity refused", extra={"pod": str(pod), "node": node, "reason": refused.message})
            raise
        return Verified(pod, node, expires_at)

    async def verify_account(self, token: str, *, audience: str, account: str) -> Verified:
        """Makes sure that a token proves some pod of a service account, which runs now, and tells where.

        Unlike `verify` it asks the API server each time: it is for connections, which are few and last.

        Args:
            token: As kubelet gave it to the pod.
            audience: That it must be meant for.
            account: ``namespace/name``.

        Raises:
            IdentityRefused: it does not prove that.
            KubernetesUnavailable: it cannot be told now.
            AccessDenied: we may not read what is needed to tell.
        """
        claims = await self._authentic(token, audience)
        expires_at = self._timely(claims)
        namespace, _, name = account.partition("/")
        pod = Pod(namespace, str(at(claims, "pod", "name")), str(at(claims, "pod", "uid")), name)
        _check_pod(claims, pod)
        node = await self._look_up(pod)
        if (claimed := at(claims, "node", "name")) is not None:
            _check_claim("kubernetes.io/node/name", claimed, node)
        return Verified(pod, node, expires_at)

    async def _authentic(self, token: str, audience: str) -> Json:
        """The claims of a token that the cluster's issuer signed for us."""
        form = shape(token, audience)
        head = header(token)
        key_id = head.get("kid")
        if not isinstance(key_id, str):
            raise IdentityRefused(f"the service account token names no key ({form})")
        issuer, key = await self._keys.find(key_id)
        if key is None:
            raise IdentityRefused(
                f"the service account token is signed with key {quoted(key_id)}, "
                f"which the API server of this cluster does not list ({form})"
            )
        claims = self._opened(token, key, f"algorithm {quoted(head.get('alg'))}, key {quoted(key_id)}, {form}")
        _check_claim("iss", claims.get("iss"), issuer)
        audiences = claims.get("aud")
        if audience not in (audiences if isinstance(audiences, list) else [audiences]):
            raise IdentityRefused(f'token claim aud is {quoted(audiences)}, expected "{audience}"')
        return claims

    def _opened(self, token: str, key: IssuerKey, about: str) -> Json:
        try:
            payload = self._proven.payload(token, key)
            if payload is None:
                # The algorithms are the key's, never the token's own choice.
                signed = self._signatures.decode_complete(token, key.public, algorithms=key.algorithms)
                payload = bytes(signed["payload"])
                self._proven.add(token, key, payload)
            claims = json.loads(payload)
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise IdentityRefused(
                f"the signature of the service account token does not hold: {type(error).__name__} ({about})"
            ) from None
        if not isinstance(claims, dict):
            raise IdentityRefused(f"the service account token holds no claims ({about})")
        return claims

    def _timely(self, claims: Json) -> float:
        now = self._now()
        expires_at, valid_from = time_of(claims, "exp"), time_of(claims, "nbf")
        if now > expires_at + LEEWAY_SECONDS:
            raise IdentityRefused(
                f"the service account token expired {now - expires_at:.0f} s ago: "
                "kubelet gives a new one with the next try; if it goes on, compare the clocks"
            )
        if now < valid_from - LEEWAY_SECONDS:
            raise IdentityRefused(
                f"the service account token is valid in {valid_from - now:.0f} s only: compare the clocks of the "
                "API server and of the fetcher's node"
            )
        return expires_at

    async def _check_node(self, claims: Json, pod: Pod, node: str) -> None:
        claimed = at(claims, "node", "name")
        if claimed is not None:
            _check_claim("kubernetes.io/node/name", claimed, node)
            return
        # Before Kubernetes 1.30 tokens carry no node. A pod never moves, so its uid stands for its node for ever.
        runs_on = self._nodes.get(pod.uid)
        if runs_on is None:
            runs_on = await self._flights.join(pod.uid, lambda: self._look_up(pod))
        if runs_on != node:
            raise IdentityRefused(
                f"pod {pod} runs on node {quoted(runs_on)}, the request came from node {quoted(node)}"
            )

    async def _look_up(self, pod: Pod) -> str:
        path = object_path(PODS, pod.namespace, pod.name)
        told = await self._kube.get(path) if path else None
        if told is None:
            raise IdentityRefused(f"there is no pod {pod} any more")
        uid = told["metadata"]["uid"]
        if uid != pod.uid:
            raise IdentityRefused(f"pod {pod} has uid {uid}, expected {quoted(pod.uid)}: it was created anew")
        runs_on = told["spec"].get("nodeName")
        if not runs_on:
            raise IdentityRefused(f"pod {pod} runs on no node yet")
        while len(self._nodes) >= _NODES_REMEMBERED:
            del self._nodes[next(iter(self._nodes))]
        self._nodes[pod.uid] = str(runs_on)
        return str(runs_on)


def check_bearer(token: str, *, audience: str, pod: Pod) -> None:
    """Makes sure that a token for a backend names this pod, which has been verified already.

    The signature is left to the backend, which knows the issuer. But it knows no request: a node that sent one pod's
    request with another's token would have the other's secrets shared as the first one's.

    Raises:
        IdentityRefused: it does not; the text says which claim differs.
    """
    try:
        shape(token, audience)
        (_check_account if _is_account(pod) else _check_pod)(part(token, 1), pod)
    except IdentityRefused as refused:
        refused.message = f'the service account token for audience "{audience}": {refused.message}'
        security.warning("identity refused", extra={"pod": str(pod), "reason": refused.message})
        raise


def _check_pod(claims: Json, pod: Pod) -> None:
    if at(claims, "pod", "uid") is None:
        raise IdentityRefused("the service account token is not bound to a pod")
    _check_claim("kubernetes.io/namespace", at(claims, "namespace"), pod.namespace)
    _check_claim("kubernetes.io/pod/name", at(claims, "pod", "name"), pod.name)
    _check_claim("kubernetes.io/pod/uid", at(claims, "pod", "uid"), pod.uid)
    _check_account_names(claims, pod)


def _is_account(pod: Pod) -> bool:
    """Whether a request is for a service account itself, with no pod that would have to be there."""
    return not pod.name and not pod.uid


def _check_account(claims: Json, pod: Pod) -> None:
    # A token that is bound to something proves that thing, and must not be taken for the account's own.
    for bound in ("pod", "secret", "node"):
        if at(claims, bound) is not None:
            raise IdentityRefused(
                f"the service account token is bound to a {bound}, expected one that is bound to none"
            )
    _check_account_names(claims, pod)


def _check_account_names(claims: Json, pod: Pod) -> None:
    _check_claim("kubernetes.io/namespace", at(claims, "namespace"), pod.namespace)
    _check_claim("kubernetes.io/serviceaccount/name", at(claims, "serviceaccount", "name"), pod.service_account)
    _check_claim("sub", claims.get("sub"), f"system:serviceaccount:{pod.namespace}:{pod.service_account}")


def _check_claim(name: str, claimed: Any, expected: str) -> None:
    if claimed != expected:
        raise IdentityRefused(f"token claim {name} is {quoted(claimed)}, expected {quoted(expected)}")
