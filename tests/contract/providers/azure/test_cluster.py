"""A cluster's own tokens, from its API to Azure: nothing of what signs and verifies them is made up by the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from fetcher.provider import Provider, ProviderRequest
from keyferry.errors import AccessDenied
from keyferry.kube import Kube, connect
from keyferry.resources import Pod
from keyferry.testing.azure import TENANT, AzureEmulator
from keyferry.testing.kube import KubeAPI
from tests.contract.providers.clusters import issued

AUDIENCE = "api://AzureADTokenExchange"
OBJECTS = 'array: ["{objectName: db, objectType: secret}"]'


@pytest.fixture
async def api() -> AsyncIterator[KubeAPI]:
    """A cluster."""
    async with KubeAPI() as api:
        yield api


@pytest.fixture
async def kube(api: KubeAPI, azure: AzureEmulator) -> AsyncIterator[Kube]:
    """Its administrator, after Azure has been told of the cluster and of web in namespace default."""
    azure.directory.trust(api.issuer, api.tokens.key_set)
    azure.directory.federate(TENANT, "app", issuer=api.issuer, subject="system:serviceaccount:default:web")
    vault = azure.vault("shop-vault")
    vault.allow("app")
    vault.set_secret("db", "horse")
    async with connect(api.kubeconfig, user_agent="keyferry-tests") as kube:
        yield kube


@pytest.fixture
def asks(kube: Kube) -> Callable[..., Any]:
    """Requests of pods with a service account by this name, with a token that the cluster issues."""

    async def make(account: str, *, namespace: str = "default", audience: str = AUDIENCE) -> ProviderRequest:
        token = await issued(kube, account, namespace=namespace, audience=audience)
        return ProviderRequest(
            parameters={"keyvaultName": "shop-vault", "tenantID": TENANT, "clientID": "app", "objects": OBJECTS},
            pod=Pod(namespace, "web-1", "1", account),
            tokens={AUDIENCE: token},
        )

    return make


async def test_a_service_account_of_the_cluster_reads(provider: Provider, asks: Callable[..., Any]) -> None:
    """Its token is verified by the keys that the cluster publishes."""
    (found,) = await provider.fetch(await asks("web"))

    assert found.contents == b"horse"


@pytest.mark.parametrize(
    ("other", "code"),
    [
        ({"account": "intruder"}, "AADSTS700213"),
        ({"account": "web", "namespace": "kube-public"}, "AADSTS700213"),
        ({"account": "web", "audience": "elsewhere"}, "AADSTS700212"),
    ],
)
async def test_another_account_namespace_or_audience_is_denied(
    provider: Provider, asks: Callable[..., Any], other: dict[str, str], code: str
) -> None:
    """Each by what is wrong with it."""
    with pytest.raises(AccessDenied, match=code):
        await provider.fetch(await asks(**other))


async def test_a_cluster_that_signs_with_a_new_key_is_known_by_it(
    provider: Provider, api: KubeAPI, asks: Callable[..., Any]
) -> None:
    """Tokens of the old key are no good any more."""
    old = await asks("web")
    api.tokens.rotate()

    with pytest.raises(AccessDenied, match="AADSTS50013"):
        await provider.fetch(old)
