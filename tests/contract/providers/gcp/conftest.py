"""A Google Cloud of each test's own, a GKE cluster in it, and a pod there that may read what it is let read."""

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fetcher.provider import ProviderRequest
from fetcher.providers.gcp import open_provider
from keyferry.resources import Pod
from keyferry.testing.gcp import GcpEmulator
from tests.contract.providers.clusters import KEYS, signed
from tests.contract.providers.opening import Opened, opening

CLUSTER = "https://container.googleapis.com/v1/projects/demo/locations/europe-west1/clusters/blue"
POOL = "demo.svc.id.goog"
PROVIDER = "//iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/clusters/providers/one"
ACCESSOR = "roles/secretmanager.secretAccessor"


@dataclass(frozen=True)
class Tenant:
    """A pod and what it asks for."""

    gcp: GcpEmulator
    pod: Pod

    @property
    def member(self) -> str:
        """The pod in IAM policies."""
        return f"serviceAccount:{POOL}[{self.pod.namespace}/{self.pod.service_account}]"

    def put(self, secret: str, value: bytes, *, location: str = "", readable: bool = True) -> str:
        """Add a version of a secret, let the pod read it, and return the secret's name."""
        place = f"/locations/{location}" if location else ""
        name = f"projects/demo{place}/secrets/{secret}"
        self.gcp.secrets.add(name, value)
        if readable:
            self.gcp.policies.allow(self.member, name, ACCESSOR)
        return name

    def token(self, audience: str = POOL, **claims: Any) -> str:
        """A token as kubelet hands it out."""
        return signed(self.pod, issuer=CLUSTER, audience=[audience], **claims)

    def asks(
        self,
        *secrets: Mapping[str, Any],
        tokens: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        key: Mapping[str, str] | None = None,
        seconds: float = 30.0,
        **parameters: str,
    ) -> ProviderRequest:
        """A request for these secrets, as the pod would make it."""
        return ProviderRequest(
            parameters={"secrets": yaml.safe_dump(list(secrets)), **parameters},
            pod=self.pod,
            tokens={POOL: self.token()} if tokens is None else tokens,
            service_account_annotations=annotations or {},
            node_publish_secret={} if key is None else {"key.json": json.dumps(key)},
            deadline=time.time() + seconds,
        )

    def of(self, service_account: str, namespace: str = "") -> "Tenant":
        """The same class, used by a pod with another service account."""
        pod = replace(self.pod, service_account=service_account, namespace=namespace or self.pod.namespace)
        return replace(self, pod=pod)


@pytest.fixture
async def gcp() -> AsyncIterator[GcpEmulator]:
    """Google Cloud without TLS, with the metadata server of a node of the cluster, and another cluster outside GKE."""
    metadata = {
        "project/project-id": "demo",
        "instance/attributes/cluster-location": "europe-west1",
        "instance/attributes/cluster-name": "blue",
    }
    async with GcpEmulator(metadata=metadata) as running:
        running.identities.trust_gke("demo", CLUSTER, issuer=CLUSTER, keys=KEYS)
        running.identities.trust_federated(PROVIDER, issuer="https://cluster.example", keys=KEYS)
        yield running


@pytest.fixture
def tenant(gcp: GcpEmulator) -> Tenant:
    """A pod of the cluster."""
    return Tenant(gcp, Pod("shop", "web-1", "1", "web"))


@pytest.fixture
def opened(gcp: GcpEmulator) -> Opened:
    """Opens a provider that asks the emulator, with further environment variables."""
    return opening(open_provider, gcp.environ())


@pytest.fixture
def entry() -> Callable[..., dict[str, Any]]:
    """An entry of `secrets`: the newest version of a secret as a file of a name."""

    def make(secret: str, path: str = "file", *, version: str = "latest", **more: Any) -> dict[str, Any]:
        return {"resourceName": f"{secret}/versions/{version}", "path": path, **more}

    return make


@pytest.fixture
def own(gcp: GcpEmulator, tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The fetcher has credentials of its own that may read the secret db; the settings that allow their use."""
    name = tenant.put("db", b"horse", readable=False)
    (tmp_path / "token").write_text(tenant.of("fetcher", "keyferry").token(PROVIDER, iss="https://cluster.example"))
    pool = PROVIDER.removeprefix("//iam.googleapis.com/").rpartition("/providers/")[0]
    member = f"principal://iam.googleapis.com/{pool}/subject/system:serviceaccount:keyferry:fetcher"
    gcp.policies.allow(member, name, ACCESSOR)
    file = tmp_path / "credentials.json"
    file.write_text(
        json.dumps(
            {
                "type": "external_account",
                "audience": PROVIDER,
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "token_url": f"{gcp.url}/v1/token",
                "credential_source": {"file": str(tmp_path / "token")},
            }
        )
    )
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    return {"KEYFERRY_GCP_ALLOW_PROVIDER_ADC": "true", "GOOGLE_APPLICATION_CREDENTIALS": str(file)}


@pytest.fixture
def db(tenant: Tenant) -> dict[str, str]:
    """An entry for a secret that the pod may read."""
    return {"resourceName": f"{tenant.put('db', b'horse')}/versions/latest", "path": "db"}
