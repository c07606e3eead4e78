"""A cluster's own tokens, from its API to Google: nothing of what signs and verifies them is made up by the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from fetcher.provider import ProviderRequest
from keyferry.errors import AccessDenied
from keyferry.kube import Kube, connect
from keyferry.resources import Pod
from keyferry.testing.gcp import GcpEmulator
from keyferry.testing.kube import KubeAPI
from tests.contract.providers.clusters import issued

SECRET = "projects/demo/secrets/db"
POOL = "demo.svc.id.goog"
CLUSTER = "https://container.googleapis.com/v1/projects/demo/locations/europe-west1/clusters/green"
NAMED = {"PROJECT": "demo", "CLUSTER_NAME": "green", "CLUSTER_LOCATION": "europe-west1"}


@pytest.fixture
async def api() -> AsyncIterator[KubeAPI]:
    """A cluster."""
    async with KubeAPI() as api:
        yield api


@pytest.fixture
async def kube(api: KubeAPI, gcp: GcpEmulator) -> AsyncIterator[Kube]:
    """Its administrator, after Google has been told of the cluster and of web in namespace default."""
    gcp.identities.trust_gke("demo", CLUSTER, issuer=api.issuer, keys=api.tokens.key_set)
    gcp.secrets.add(SECRET, b"horse")
    gcp.policies.allow(f"serviceAccount:{POOL}[default/web]", SECRET, "roles/secretmanager.secretAccessor")
    async with connect(api.kubeconfig, user_agent="keyferry-tests") as kube:
        yield kube


@pytest.fixture
def asks(kube: Kube) -> Callable[..., Any]:
    """Requests of pods with a service account by this name, with a token that the cluster issues."""

    async def make(account: str, *, namespace: str = "default", audience: str = POOL) -> ProviderRequest:
        token = await issued(kube, account, namespace=namespace, audience=audience)
        return ProviderRequest(
            parameters={"secrets": f"[{{resourceName: {SECRET}/versions/latest, path: db}}]"},
            pod=Pod(namespace, "web-1", "1", account),
            tokens={POOL: token},
        )

    return make


async def test_a_service_account_of_the_cluster_reads(opened: Callable[..., Any], asks: Callable[..., Any]) -> None:
    """Its token is verified by the keys that the cluster publishes."""
    async with opened(**NAMED) as provider:
        (found,) = await provider.fetch(await asks("web"))

    assert found.contents == b"horse"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"account": "intruder"}, "as service account default/intruder: permission denied"),
        ({"account": "web", "namespace": "kube-public"}, "as service account kube-public/web: permission denied"),
        ({"account": "web", "audience": "elsewhere"}, "audience in ID Token"),
    ],
)
async def test_another_account_namespace_or_audience_is_denied(
    opened: Callable[..., Any], asks: Callable[..., Any], other: dict[str, str], words: str
) -> None:
    """Each by what is wrong with it."""
    async with opened(**NAMED) as provider:
        with pytest.raises(AccessDenied, match=words):
            await provider.fetch(await asks(**other))


async def test_a_cluster_that_signs_with_a_new_key_is_known_by_it(
    opened: Callable[..., Any], api: KubeAPI, asks: Callable[..., Any]
) -> None:
    """Tokens of the old key are no good any more."""
    old = await asks("web")
    api.tokens.rotate()

    async with opened(**NAMED) as provider:
        with pytest.raises(AccessDenied, match="Invalid JWT"):
            await provider.fetch(old)
