"""Which pods cannot see a new secret by themselves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.needs import NOTHING, Needs, needs

DRIVER = "secrets-store.csi.k8s.io"


def spec(**container: Any) -> dict[str, Any]:
    csi = {"driver": DRIVER, "volumeAttributes": {"secretProviderClass": "aws-secrets"}}
    return {
        "containers": [{"name": "app", **container}],
        "volumes": [{"name": "store", "csi": csi}, {"name": "other", "emptyDir": {}}],
    }


def test_a_pod_that_reads_files_needs_nothing() -> None:
    """The files change under it."""
    assert needs(spec(volumeMounts=[{"name": "store", "mountPath": "/mnt"}])) is NOTHING


@pytest.mark.parametrize(
    "container",
    [
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "app-secrets", "key": "k"}}}]},
        {"envFrom": [{"secretRef": {"name": "app-secrets"}}, {"configMapRef": {"name": "c"}}]},
    ],
)
def test_variables_are_as_old_as_their_container(container: dict[str, Any]) -> None:
    """By the Secret that they come from, whichever way."""
    assert needs(spec(**container)) == Needs(env=frozenset({"app-secrets"}))


@pytest.mark.parametrize("field", ["subPath", "subPathExpr"])
def test_single_files_are_as_old_as_their_container(field: str) -> None:
    """By the class of the volume, if it is one of ours."""
    mounts = [{"name": "store", field: "db-password"}, {"name": "other", field: "x"}]

    assert needs(spec(volumeMounts=mounts)) == Needs(sub_paths=frozenset({"aws-secrets"}))


def test_init_containers_count() -> None:
    """They run again in a new pod."""
    reading = {"envFrom": [{"secretRef": {"name": "app-secrets"}}]}

    assert needs({"initContainers": [reading], "containers": [{}]}).env == {"app-secrets"}


shapes = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["containers", "volumes", "env", "envFrom", "secretRef", "valueFrom", "name", "csi", "volumeMounts"]
            ),
            inner,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["containers", "initContainers", "volumes"]), shapes))
def test_any_shape_is_read(spec: dict[str, Any]) -> None:
    """A pod is what the API server takes, and never the end of the watch."""
    assert isinstance(needs(spec), Needs)
