"""An Azure of each test's own, a cluster that it knows, and a pod there that may read what it is let read."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import yaml

from fetcher.provider import Provider, ProviderRequest, Secret
from fetcher.providers.azure import open_provider
from keyferry.resources import Pod
from keyferry.testing.azure import TENANT, AzureEmulator
from keyferry.testing.azure.certificates import PEM, PFX, Issued, issue
from keyferry.testing.azure.vaults import Vault
from tests.contract.providers.clusters import KEYS, signed
from tests.contract.providers.opening import Opened, opening

AUDIENCE = "api://AzureADTokenExchange"
ISSUER = "https://cluster.example"
CLIENT = "aaaaaaaa-1111-2222-3333-444444444444"


@dataclass(frozen=True)
class Tenant:
    """A pod and what it asks for."""

    azure: AzureEmulator
    pod: Pod

    @property
    def vault(self) -> Vault:
        """The pod's vault."""
        return self.azure.vault("shop-vault")

    def token(self, audience: str = AUDIENCE, **claims: Any) -> str:
        """A token as kubelet hands it out."""
        return signed(self.pod, issuer=ISSUER, audience=[audience], **claims)

    def asks(
        self,
        *objects: Mapping[str, Any],
        tokens: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        secret: Mapping[str, str] | None = None,
        seconds: float = 30.0,
        **parameters: str,
    ) -> ProviderRequest:
        """A request for these objects, as the pod would make it; secrets unless they say otherwise."""
        texts = [yaml.safe_dump({"objectType": "secret", **each}) for each in objects]
        usual = {
            "keyvaultName": "shop-vault",
            "tenantID": TENANT,
            "clientID": CLIENT,
            "objects": yaml.safe_dump({"array": texts}),
        }
        return ProviderRequest(
            parameters={**usual, **parameters},
            pod=self.pod,
            tokens={AUDIENCE: self.token()} if tokens is None else tokens,
            service_account_annotations=annotations or {},
            node_publish_secret=secret or {},
            deadline=time.time() + seconds,
        )

    def of(self, service_account: str, namespace: str = "") -> "Tenant":
        """The same class, used by a pod with another service account."""
        pod = replace(self.pod, service_account=service_account, namespace=namespace or self.pod.namespace)
        return replace(self, pod=pod)


@pytest.fixture
async def azure() -> AsyncIterator[AzureEmulator]:
    """Azure, with a client that service account shop/web stands for and that may read the vault shop-vault."""
    async with AzureEmulator() as running:
        running.directory.trust(ISSUER, KEYS)
        running.directory.federate(TENANT, CLIENT, issuer=ISSUER, subject="system:serviceaccount:shop:web")
        running.vault("shop-vault").allow(CLIENT)
        yield running


@pytest.fixture
def tenant(azure: AzureEmulator) -> Tenant:
    """A pod of the cluster."""
    return Tenant(azure, Pod("shop", "web-1", "1", "web"))


@pytest.fixture
def opened(azure: AzureEmulator) -> Opened:
    """Opens a provider that asks the emulator, with further environment variables."""
    return opening(open_provider, azure.environ())


@pytest.fixture
def db(tenant: Tenant) -> dict[str, str]:
    """An entry for a secret that the pod may read."""
    tenant.vault.set_secret("db", "horse")
    return {"objectName": "db"}


@pytest.fixture
def files(provider: Provider, tenant: Tenant) -> Callable[..., Any]:
    """Fetches objects and gives files by path."""

    async def fetch(*objects: Mapping[str, Any], **more: Any) -> dict[str, Secret]:
        return {secret.path: secret for secret in await provider.fetch(tenant.asks(*objects, **more))}

    return fetch


@pytest.fixture
def certificate(tenant: Tenant) -> Callable[..., Issued]:
    """Imports a certificate into the pod's vault."""

    def make(name: str = "tls", *, kind: str = "RSA", pfx: bool = False, reverse: bool = False) -> Issued:
        issued = issue(kind=kind)
        secret = (PFX, issued.pfx(reverse=reverse)) if pfx else (PEM, issued.pem())
        tenant.vault.import_certificate(name, issued.key, issued.chain, secret)
        return issued

    return make
