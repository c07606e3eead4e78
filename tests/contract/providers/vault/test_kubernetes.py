"""auth/kubernetes: OpenBao has the API server review the pod's token."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest

from fetcher.provider import ProviderRequest
from fetcher.providers.vault import Vault
from keyferry.errors import AccessDenied
from keyferry.kube import Kube, connect
from keyferry.resources import Pod
from keyferry.testing.kube import KubeAPI
from tests.contract.providers.clusters import issued

if TYPE_CHECKING:
    from tests.contract.providers.vault.conftest import Tenant


@pytest.fixture
async def api() -> AsyncIterator[KubeAPI]:
    """A cluster."""
    async with KubeAPI() as api:
        yield api


@pytest.fixture
async def kube(api: KubeAPI) -> AsyncIterator[Kube]:
    """Its administrator."""
    async with connect(api.kubeconfig, user_agent="keyferry-tests") as kube:
        yield kube


@pytest.fixture
async def mount(api: KubeAPI, tenant: Tenant) -> str:
    """A kubernetes mount whose role by the tenant's name is for web of namespace default alone.

    It has a reviewer: a pod's token for audience vault does not open the Kubernetes API, so it cannot review itself.
    """
    name = f"{tenant.name}-k8s"
    await tenant.bao.enable_kubernetes(host=api.url, ca_pem=api.ca_pem, reviewer_token=api.admin_token, mount=name)
    await tenant.bao.kubernetes_role(
        tenant.name,
        accounts=["web"],
        namespaces=["default"],
        policies=[tenant.name],
        audience="vault",
        mount=name,
    )
    await tenant.put("app", password="horse")
    return name


@pytest.fixture
def asks(kube: Kube, tenant: Tenant, mount: str) -> Callable[..., Any]:
    """Requests of pods with a service account by this name, with a token that the cluster issues."""

    async def make(
        account: str,
        *,
        namespace: str = "default",
        audience: str = "vault",
        parameter: str = "vaultAuthMountPath",
        **more: str,
    ) -> ProviderRequest:
        token = await issued(kube, account, namespace=namespace, audience=audience)
        usual = tenant.asks({"objectName": "one", "secretPath": tenant.path("app"), "secretKey": "password"}).parameters
        parameters = {name: value for name, value in usual.items() if name != "vaultAuthMountPath"}
        return ProviderRequest(
            parameters={**parameters, parameter: mount, **more},
            pod=Pod(namespace, "web-1", "1", account),
            tokens={"vault": token},
        )

    return make


@pytest.mark.parametrize("parameter", ["vaultAuthMountPath", "vaultKubernetesMountPath"])
async def test_a_service_account_of_the_role_logs_in(vault: Vault, asks: Callable[..., Any], parameter: str) -> None:
    """Both names of the parameter mean the same."""
    (secret,) = await vault.fetch(await asks("web", parameter=parameter))

    assert secret.contents == b"horse"


async def test_another_service_account_reads_why_it_is_denied(vault: Vault, asks: Callable[..., Any]) -> None:
    """The words that upstream's e2e test 8 looks for, and whose token it was."""
    with pytest.raises(AccessDenied) as caught:
        await vault.fetch(await asks("intruder"))

    assert "service account name not authorized" in caught.value.message
    assert "service account default/intruder" in caught.value.message


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"namespace": "kube-public"}, "namespace not authorized"),
        ({"roleName": "nobody"}, 'invalid role name "nobody"'),
    ],
)
async def test_other_refusals_are_in_vaults_words_too(
    vault: Vault, asks: Callable[..., Any], other: dict[str, str], words: str
) -> None:
    """They name what to mend."""
    with pytest.raises(AccessDenied, match=words):
        await vault.fetch(await asks("web", **other))


async def test_a_token_for_another_audience_is_denied(vault: Vault, asks: Callable[..., Any]) -> None:
    """The role binds the audience; the token came under the name vault all the same."""
    with pytest.raises(AccessDenied, match="logging in to Vault"):
        await vault.fetch(await asks("web", audience="elsewhere"))


async def test_a_role_that_binds_no_audience_takes_the_token_for_vault(
    vault: Vault, tenant: Tenant, mount: str, asks: Callable[..., Any]
) -> None:
    """The guide's role names none: the review is then for the audience that the token has."""
    await tenant.bao.kubernetes_role(
        "unbound", accounts=["web"], namespaces=["default"], policies=[tenant.name], mount=mount
    )

    (secret,) = await vault.fetch(await asks("web", roleName="unbound"))

    assert secret.contents == b"horse"


async def test_a_cluster_that_does_not_answer_looks_like_a_denial(
    vault: Vault, api: KubeAPI, asks: Callable[..., Any]
) -> None:
    """OpenBao then says permission denied and no more, so our message says where else to look."""
    request = await asks("web")
    async with api.refusing_connections():
        with pytest.raises(AccessDenied, match="cannot have the token reviewed by the Kubernetes API: see its log"):
            await vault.fetch(request)
