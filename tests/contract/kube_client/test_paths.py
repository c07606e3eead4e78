"""Paths and the permissions they need."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyferry.kube.paths import object_path, permission


@given(st.text(max_size=300), st.text(max_size=300))
def test_foreign_names_stay_in_their_place(namespace: str, name: str) -> None:
    """Whatever a request calls its objects, a path is either not made or has exactly the usual segments."""
    path = object_path("/api/v1/pods", namespace, name) or "/api/v1/namespaces/x/pods/y"

    assert path.count("/") == 6
    assert not {"..", ".", ""} & set(path.split("/")[1:])
    assert not set("?#%\\ \n") & set(path)


@pytest.mark.parametrize("name", ["..", "../secrets/x", "a/b", "a..b", "A", "a%2e", "a?b", "", ".", "a\n", "a" * 254])
def test_names_that_no_object_has_make_no_path(name: str) -> None:
    """A name that Kubernetes would not accept is not asked for."""
    assert object_path("/api/v1/pods", "default", name) is None
    assert object_path("/api/v1/pods", name, "pod") is None


def test_an_object_lies_below_its_namespace() -> None:
    """The path of an object follows from the path of its list."""
    assert (
        object_path("/apis/secrets-store.csi.x-k8s.io/v1/secretproviderclasses", "shop", "db.prod")
        == "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/shop/secretproviderclasses/db.prod"
    )


@pytest.mark.parametrize(
    ("method", "path", "watch", "needed"),
    [
        ("GET", "/api/v1/pods", False, "list pods in all namespaces"),
        ("GET", "/api/v1/pods", True, "watch pods in all namespaces"),
        ("GET", "/api/v1/nodes/n1", False, "get nodes in all namespaces"),
        ("GET", "/api/v1/namespaces/shop/pods/web-0", False, "get pods in namespace shop"),
        (
            "POST",
            "/apis/events.k8s.io/v1/namespaces/shop/events",
            False,
            "create events.events.k8s.io in namespace shop",
        ),
        ("PATCH", "/api/v1/namespaces/shop/secrets/x", False, "patch secrets in namespace shop"),
        ("POST", "/api/v1/namespaces/s/serviceaccounts/a/token", False, "create serviceaccounts/token in namespace s"),
        ("GET", "/openid/v1/jwks", False, "get /openid/v1/jwks"),
    ],
)
def test_a_path_tells_which_permission_it_needs(method: str, path: str, watch: bool, needed: str) -> None:
    """The hint names verb, resource with group, and where, as `kubectl auth can-i` does."""
    assert permission(method, path, watch=watch) == needed
