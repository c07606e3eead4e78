"""TokenRequest and TokenReview, and who the bearer of a token is.

Source: kubernetes `pkg/registry/core/serviceaccount/storage/token.go`, `pkg/serviceaccount/claims.go` and
`pkg/registry/authentication/tokenreview`.
"""

import hmac
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jwt

from keyferry.testing.kube.catalog import Catalog, Resource
from keyferry.testing.kube.status import FieldError, bad_request, conflict, invalid, not_found, quoted
from keyferry.testing.kube.store import Key, Store
from keyferry.testing.kube.tokens import LEEWAY_SECONDS, Caller, Issuer

Json = dict[str, Any]

SHORTEST_SECONDS, DEFAULT_SECONDS, LONGEST_SECONDS = 600, 3600, 2**32

PODS, NODES, SECRETS, ACCOUNTS = "/pods", "/nodes", "/secrets", "/serviceaccounts"
_TOKEN_REQUESTS = Resource("authentication.k8s.io", "v1", "tokenrequests", "TokenRequest")


_BINDABLE = {"v1/Pod": PODS, "v1/Secret": SECRETS, "v1/Node": NODES}


class Accounts:
    """The tokens of the service accounts in a store.

    Args:
        store: Where accounts, pods, nodes and secrets lie.
        catalog: For the words of error messages.
        issuer: Signs and verifies.
        admin_token: The bearer token of the cluster's administrator.
        node_claim: Whether a token bound to a pod names the pod's node, as from Kubernetes 1.30 on.
        now: The clock.
    """

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        issuer: Issuer,
        *,
        admin_token: str,
        node_claim: bool,
        now: Callable[[], datetime],
    ) -> None:
        self._store, self._catalog, self._issuer = store, catalog, issuer
        self._admin_token, self._node_claim, self._now = admin_token, node_claim, now
        self.clock = now

    # ---- TokenRequest

    def request_token(self, namespace: str, name: str, body: Json) -> Json:
        """Answers a POST to serviceaccounts/NAME/token.

        Raises:
            StatusError: 404 no such account or bound object, 409 its uid is another, 400 it is a pod of another
                account or no pod, node or secret, 422 a lifetime under ten minutes.
        """
        spec = body.get("spec") or {}
        account = self._must_find(ACCOUNTS, namespace, name)
        seconds = spec.get("expirationSeconds") or DEFAULT_SECONDS
        _check_seconds(seconds)
        audiences = spec.get("audiences") or [self._issuer.url]
        reference = spec.get("boundObjectRef")
        bound = self._bound(account, reference) if reference else {}
        token, expires = self._issuer.issue(account, audiences, seconds, bound)
        shown = {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": reference}
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": stamp(self._now())},
            "spec": shown,
            "status": {"token": token, "expirationTimestamp": stamp(expires)},
        }

    def _bound(self, account: Json, reference: Json) -> Json:
        namespace = account["metadata"]["namespace"]
        kind, name = (reference.get("apiVersion"), reference.get("kind")), reference.get("name", "")
        storage = _BINDABLE.get(f"{kind[0]}/{kind[1]}")
        if storage is None:
            raise bad_request(f"cannot bind token to object of type /{kind[0]}, Kind={kind[1]}")
        target = self._must_find(storage, "" if storage == NODES else namespace, name)
        if storage == PODS and target["spec"].get("serviceAccountName") != account["metadata"]["name"]:
            message = f"cannot bind token for serviceaccount {quoted(account['metadata']['name'])} to pod running with"
            raise bad_request(f"{message} different serviceaccount name.")
        uid = target["metadata"]["uid"]
        if reference.get("uid") not in {None, "", uid}:
            why = f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
            # The real server names the kind here where every other message has the plural.
            resource = replace(self._catalog.of_storage(storage), plural=kind[1] or "")
            raise conflict(resource, name, why + "The object might have been deleted and then recreated")
        bound = {str(reference["kind"]).lower(): {"name": name, "uid": uid}}
        node = target["spec"].get("nodeName") if storage == PODS else None
        if node and self._node_claim:
            known = self._store.get(Key(NODES, "", node))
            bound["node"] = {"name": node} | ({"uid": known["metadata"]["uid"]} if known else {})
        return bound

    def _must_find(self, storage: str, namespace: str, name: str) -> Json:
        found = self._store.get(Key(storage, namespace, name))
        if found is None:
            raise not_found(self._catalog.of_storage(storage), name)
        return found

    # ---- who is it?

    def caller(self, token: str) -> Caller | None:
        """Who may use the API with this bearer token; None if nobody."""
        caller = self._identify(token)
        return caller if caller and self._issuer.url in caller.audiences else None

    def _identify(self, token: str) -> Caller | None:
        if hmac.compare_digest(token.encode(), self._admin_token.encode()):
            groups = ("system:masters", "system:authenticated")
            return Caller("kubernetes-admin", groups=groups, audiences=(self._issuer.url,))
        try:
            claims = self._issuer.claims(token)
        except jwt.InvalidTokenError:
            return None
        return self._bearer(claims)

    def _bearer(self, claims: Json) -> Caller | None:
        about = claims["kubernetes.io"]
        namespace, account = about["namespace"], about["serviceaccount"]
        bound = [("pod", PODS, namespace), ("secret", SECRETS, namespace)]
        checks = [(account, ACCOUNTS, namespace), *((about[k], s, ns) for k, s, ns in bound if k in about)]
        if not all(self._alive(Key(storage, ns, ref["name"]), ref["uid"]) for ref, storage, ns in checks):
            return None
        extra = {"authentication.kubernetes.io/credential-id": [f"JTI={claims['jti']}"]} if self._node_claim else {}
        for kind in ("pod", "node"):
            for part in ("name", "uid") if kind in about else ():
                if part in about[kind]:
                    extra[f"authentication.kubernetes.io/{kind}-{part}"] = [about[kind][part]]
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return Caller(claims["sub"], account["uid"], groups, extra, tuple(claims["aud"]))

    def _alive(self, key: Key, uid: str) -> bool:
        found = self._store.get(key)
        if found is None or found["metadata"]["uid"] != uid:
            return False
        deleted = found["metadata"].get("deletionTimestamp")
        return not deleted or (self._now() - parsed(deleted)).total_seconds() < LEEWAY_SECONDS

    # ---- TokenReview

    def review(self, body: Json) -> Json:
        """Answers a POST to tokenreviews: whose token it is, and for which of the audiences asked for."""
        spec = body.get("spec") or {}
        wanted = spec.get("audiences") or [self._issuer.url]
        if not spec.get("token"):
            raise bad_request("token is required for TokenReview in authentication")
        caller = self._identify(spec["token"])
        status: Json = {"user": {}, "error": "invalid bearer token"}
        if caller:
            common = [audience for audience in wanted if audience in caller.audiences]
            theirs, ours = (f"[{' '.join(map(quoted, names))}]" for names in (caller.audiences, wanted))
            status["error"] = (
                f"[invalid bearer token, token audiences {theirs} is invalid for the target audiences {ours}]"
            )
            if common:
                status = {"authenticated": True, "user": _user(caller), "audiences": common}
        metadata = {"creationTimestamp": None} | (body.get("metadata") or {})
        kind = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1"}
        return kind | {"metadata": metadata, "spec": spec, "status": status}


def _user(caller: Caller) -> Json:
    user: Json = {"username": caller.username, "groups": list(caller.groups)}
    return user | ({"uid": caller.uid} if caller.uid else {}) | ({"extra": caller.extra} if caller.extra else {})


def _check_seconds(seconds: int) -> None:
    path, error = "spec.expirationSeconds", None
    if seconds < SHORTEST_SECONDS:
        error = "may not specify a duration less than 10 minutes"
    if seconds > LONGEST_SECONDS:
        error = "may not specify a duration larger than 2^32 seconds"
    if error:
        message = f"Invalid value: {seconds}: {error}"
        raise invalid(_TOKEN_REQUESTS, "", [FieldError(path, "FieldValueInvalid", message)])


def stamp(moment: datetime) -> str:
    """A time as metadata shows it: RFC 3339, UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parsed(text: str) -> datetime:
    """The reverse of `stamp`."""
    return datetime.fromisoformat(text)
