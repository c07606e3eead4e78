"""What a plugin is asked: the class's parameters and the pod, in the shape that today's driver sends them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import jwt

from fetcher.provider import ProviderRequest
from keyferry.proto.provider.v1alpha1 import service_pb2 as pb
from keyferry.resources import TOKEN_AUDIENCE

_KUBELETS = "csi.storage.k8s.io/"  # names that only kubelet may fill in
_TOKENS = f"{_KUBELETS}serviceAccount.tokens"


def mount_request(request: ProviderRequest) -> pb.MountRequest:
    """The question, with this request's identity; what the pod's author wrote into the volume is not in it (adr 0005).

    Nothing is mounted where the fetcher runs, so the target path is only well-formed, for plugins that insist on one.
    """
    return pb.MountRequest(
        attributes=json.dumps(_attributes(request)),
        secrets=json.dumps(dict(request.node_publish_secret)),
        target_path=f"/var/lib/kubelet/pods/{request.pod.uid}/volumes/kubernetes.io~csi/secrets-store/mount",
        permission=json.dumps(request.default_mode),
    )


def _attributes(request: ProviderRequest) -> dict[str, str]:
    pod = request.pod
    written = {name: value for name, value in request.parameters.items() if not name.startswith(_KUBELETS)}
    kubelets = {
        f"{_KUBELETS}pod.name": pod.name,
        f"{_KUBELETS}pod.namespace": pod.namespace,
        f"{_KUBELETS}pod.uid": pod.uid,
        f"{_KUBELETS}serviceAccount.name": pod.service_account,
        f"{_KUBELETS}ephemeral": "true",
    }
    # The token that proves the pod to us stays here: with it a plugin could ask for the pod's other secrets.
    tokens = {audience: _token(token) for audience, token in request.tokens.items() if audience != TOKEN_AUDIENCE}
    return written | kubelets | ({_TOKENS: json.dumps(tokens)} if tokens else {})


def _token(token: str) -> Mapping[str, str]:
    """As kubelet writes it (TokenRequestStatus). What it said of the expiry has not come with us: the token knows."""
    expires = _expiry(token)
    return {"token": token, **({"expirationTimestamp": expires} if expires else {})}


def _expiry(token: str) -> str | None:
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        return datetime.fromtimestamp(int(claims["exp"]), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (jwt.InvalidTokenError, KeyError, TypeError, ValueError, OverflowError, OSError, RecursionError):
        return None
