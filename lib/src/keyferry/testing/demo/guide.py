"""What the guide sets up before a pod can mount: its manifests, its Vault commands, and each cloud's side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from keyferry.kube import Json, Kube
from keyferry.testing.azure import TENANT
from keyferry.testing.demo import clouds
from keyferry.testing.demo.cluster import Base
from keyferry.testing.demo.progress import Progress
from keyferry.testing.demo.together import together
from keyferry.testing.demo.values import ACCOUNT, NAMESPACE, Secrets
from keyferry.testing.kubelet import csi_driver
from keyferry.testing.openbao import OpenBao
from keyferry.testing.stack import CRDS, KubeProcess

EXAMPLES = CRDS.parent / "examples"
MANIFESTS = tuple(f"{name}-secret-provider.yaml" for name in ("vault", "aws", "azure", "gcp"))
AUDIENCES = ("keyferry", "vault", "sts.amazonaws.com", "api://AzureADTokenExchange", clouds.POOL, "")
"""The last is the API server's own."""

_CLASSES = f"/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{NAMESPACE}/secretproviderclasses"
_VAULT_ADDRESS, _TENANT = "http://vault.vault.svc:8200", "your-tenant-id"  # in the guide's manifests


async def set_up(base: Base, values: Secrets, progress: Progress) -> None:
    """Everything that the guide has its reader do, against the demo's servers."""
    stack = base.stack
    await together(
        _vault(stack.openbao, stack.kube, base.kube, values, progress),
        _clouds_and_manifests(base, values, progress),
    )


async def _vault(bao: OpenBao, api: KubeProcess, kube: Kube, values: Secrets, progress: Progress) -> None:
    with progress.item("Vault's side of the guide", needs=[bao.process, api.process]) as item:
        await kube.post("/api/v1/namespaces", {"metadata": {"name": "vault"}})
        await kube.post("/api/v1/namespaces/vault/serviceaccounts", {"metadata": {"name": "vault"}})
        # In a cluster Vault reviews tokens as its own service account; so it does here.
        asked = await kube.post("/api/v1/namespaces/vault/serviceaccounts/vault/token", {"spec": {"audiences": []}})
        reviewer = asked["status"]["token"] if asked else ""
        await bao.enable_kubernetes(host=api.url, ca_pem=api.ca_pem, reviewer_token=reviewer)
        role = {
            "bound_service_account_names": ACCOUNT,
            "bound_service_account_namespaces": NAMESPACE,
            "policies": "app-policy",
            "ttl": "24h",
        }
        await bao.write("auth/kubernetes/role/app-role", role)
        await bao.allow_read("app-policy", "secret/data/myapp/*")
        await bao.put("myapp/database", {"password": values["vault-secrets", "db-password"]})
        await bao.put("myapp/api", {"token": values["vault-secrets", "api-token"]})
        item.detail = "auth/kubernetes, app-role, two secrets"


async def _clouds_and_manifests(base: Base, values: Secrets, progress: Progress) -> None:
    """The service account's annotations need the role's name."""
    with progress.item("the clouds' side of the guide", needs=[base.stack.aws.process]) as item:
        issuer = await clouds.trust(base.kube, base.azure, base.google)
        role = await clouds.fill_aws(base.stack.aws, issuer, values)
        clouds.fill_azure(base.azure, values)
        clouds.fill_google(base.google, values)
        item.detail = "a role, an application, a member; seven objects"
    with progress.item("the guide's four manifests", needs=[base.stack.kube.process]) as item:
        annotations = {"eks.amazonaws.com/role-arn": role, "azure.workload.identity/client-id": clouds.CLIENT}
        account = {"name": ACCOUNT, "annotations": annotations}
        await base.kube.post("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        await base.kube.post(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": account})
        await base.kube.post("/apis/storage.k8s.io/v1/csidrivers", csi_driver(*AUDIENCES))
        for name in MANIFESTS:
            await base.kube.post(_CLASSES, manifest(name, base.stack.openbao.address))
        item.detail = "SecretProviderClasses, as in deploy/examples"


def manifest(name: str, vault_address: str) -> Any:
    """A manifest of the guide, unchanged but for Vault's address and the number of the Azure tenant."""
    text = (EXAMPLES / name).read_text()
    return yaml.safe_load(text.replace(_VAULT_ADDRESS, vault_address).replace(_TENANT, TENANT))


def replica(deployment: Json, number: int, *, node: str, classes: Mapping[str, str]) -> Json:
    """A pod of a Deployment, bound to a node, with one volume a class made like the template's own.

    Args:
        deployment: The manifest; its template has one CSI volume.
        number: Of the pod.
        node: Where it runs.
        classes: Of SecretProviderClasses, by name of the volume.
    """
    metadata, template = deployment["metadata"], deployment["spec"]["template"]
    (volume,) = template["spec"]["volumes"]
    volumes = [
        {"name": name, "csi": {**volume["csi"], "volumeAttributes": {"secretProviderClass": class_name}}}
        for name, class_name in classes.items()
    ]
    name = {"name": f"{metadata['name']}-{number}", "namespace": metadata["namespace"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], **name},
        "spec": {**template["spec"], "nodeName": node, "volumes": volumes},
    }
