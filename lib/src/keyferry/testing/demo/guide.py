"""What the guide sets up before a pod can mount: its manifests, its Vault commands, its AWS role and secrets."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import boto3
import yaml

from keyferry.kube import Json, Kube
from keyferry.testing.aws import KEY, Aws
from keyferry.testing.demo.cluster import Base
from keyferry.testing.demo.progress import Progress
from keyferry.testing.demo.together import together
from keyferry.testing.kubelet import csi_driver
from keyferry.testing.openbao import OpenBao
from keyferry.testing.stack import CRDS, KubeProcess

EXAMPLES = CRDS.parent / "examples"
NAMESPACE, ACCOUNT, REGION = "production", "app-service-account", "us-west-2"
AUDIENCES = ("keyferry", "vault", "sts.amazonaws.com", "")
"""The last is the API server's own."""

_CLASSES = f"/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{NAMESPACE}/secretproviderclasses"
_VAULT_ADDRESS = "http://vault.vault.svc:8200"  # in the guide's manifest


@dataclass(frozen=True)
class Secrets:
    """Throw-away values, new in each run."""

    database: str = field(default_factory=lambda: f"vault-password-{secrets.token_hex(4)}")
    token: str = field(default_factory=lambda: f"vault-token-{secrets.token_hex(4)}")
    password: str = field(default_factory=lambda: f"aws-password-{secrets.token_hex(4)}")
    api_key: str = field(default_factory=lambda: f"aws-key-{secrets.token_hex(4)}")

    @property
    def files(self) -> Mapping[str, Mapping[str, str]]:
        """What the volume of each class must hold, by file."""
        return {
            "vault-secrets": {"api-token": self.token, "db-password": self.database},
            "aws-secrets": {"api-key": self.api_key, "db-password": self.password},
        }


async def set_up(base: Base, values: Secrets, progress: Progress) -> None:
    """Everything that the guide has its reader do, against the demo's servers."""
    stack = base.stack
    await together(
        _vault(stack.openbao, stack.kube, base.kube, values, progress),
        _aws_and_manifests(base, values, progress),
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
        await bao.put("myapp/database", {"password": values.database})
        await bao.put("myapp/api", {"token": values.token})
        item.detail = "auth/kubernetes, app-role, two secrets"


async def _aws_and_manifests(base: Base, values: Secrets, progress: Progress) -> None:
    """The manifests need the role's name for the service account."""
    with progress.item("AWS's side of the guide", needs=[base.stack.aws.process]) as item:
        arn = await _aws(base.stack.aws, await _issuer(base.kube), values)
        item.detail = "role for the account (IRSA), two secrets"
    with progress.item("the guide's two manifests", needs=[base.stack.kube.process]) as item:
        account = {"name": ACCOUNT, "annotations": {"eks.amazonaws.com/role-arn": arn}}
        await base.kube.post("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        await base.kube.post(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": account})
        await base.kube.post("/apis/storage.k8s.io/v1/csidrivers", csi_driver(*AUDIENCES))
        for name in ("vault-secret-provider.yaml", "aws-secret-provider.yaml"):
            await base.kube.post(_CLASSES, manifest(name, base.stack.openbao.address))
        item.detail = "SecretProviderClasses, as in deploy/examples"


async def _issuer(kube: Kube) -> str:
    discovery = await kube.get("/.well-known/openid-configuration")
    return str(discovery["issuer"]) if discovery else ""


async def _aws(emulator: Aws, issuer: str, values: Secrets) -> str:
    session = boto3.session.Session(KEY, KEY, region_name=REGION)
    aws = replace(emulator, region=REGION, _session=session)
    await aws.create_secret("my-app-db-password", values.password)
    await aws.create_secret("my-app-api-key", values.api_key)
    return await aws.create_role("app", issuer=issuer, subject=f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}")


def manifest(name: str, vault_address: str) -> Any:
    """A manifest of the guide, unchanged but for Vault's address."""
    return yaml.safe_load((EXAMPLES / name).read_text().replace(_VAULT_ADDRESS, vault_address))


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
