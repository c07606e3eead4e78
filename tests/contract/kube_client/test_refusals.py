"""The API's refusals as errors of ours, with the texts of a real API server."""

import json

from keyferry.errors import AccessDenied
from keyferry.kube.refusals import Rejected, refusal

BY_RBAC = {
    "kind": "Status",
    "reason": "Forbidden",
    "code": 403,
    "message": 'secretproviderclasses.secrets-store.csi.x-k8s.io is forbidden: User "system:serviceaccount:kf:fetcher" '
    'cannot list resource "secretproviderclasses" in API group "secrets-store.csi.x-k8s.io" at the cluster scope',
}


def test_a_missing_permission_is_named_with_the_account_that_lacks_it() -> None:
    """Somebody who reads nothing else knows what to add to which role."""
    error = refusal(
        "GET", "/apis/secrets-store.csi.x-k8s.io/v1/secretproviderclasses", 403, json.dumps(BY_RBAC).encode()
    )

    assert isinstance(error, AccessDenied)
    assert error.message.startswith(
        'the account of this service "system:serviceaccount:kf:fetcher" may not '
        "list secretproviderclasses.secrets-store.csi.x-k8s.io in all namespaces (403)"
    )


def test_what_an_admission_policy_says_is_not_repeated() -> None:
    """Its text is somebody else's and may quote the object."""
    told = {"reason": "Forbidden", "message": 'denied: data.password "canary" is too short, cannot patch'}

    error = refusal("PATCH", "/api/v1/namespaces/shop/secrets/x", 403, json.dumps(told).encode())

    assert "canary" not in error.message
    assert "patch secrets in namespace shop" in error.message


def test_a_gone_history_is_told_apart() -> None:
    """The ERROR event of a watch reads as 410 with its cause."""
    told = {"reason": "Expired", "code": 410, "message": "too old resource version: 1 (2)"}

    error = refusal("GET", "/api/v1/pods", 410, told, watch=True)

    assert isinstance(error, Rejected)
    assert (error.status, error.cause) == (410, "Expired")


def test_a_refusal_without_a_status_object_is_still_one() -> None:
    """A proxy in between answers HTML."""
    error = refusal("GET", "/api/v1/pods", 418, b"<html>canary</html>")

    assert isinstance(error, Rejected)
    assert error.message == "the Kubernetes API server answers 418 to GET /api/v1/pods"
