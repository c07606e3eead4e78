"""A reader of docs/troubleshooting.md: makes classes and pods, and looks at them with kubectl for the page's texts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from keyferry.kube import Json
from keyferry.testing.kube.pods import pod_spec
from tests.e2e_kube.docs.cluster import NAMESPACE, Cluster
from tests.unit.docs.pages import DOCS

PAGE = (DOCS / "troubleshooting.md").read_text()
ACCOUNT = "app-service-account"
VAULT_OBJECTS = [{"objectName": "db-password", "secretPath": "secret/data/myapp/database", "secretKey": "password"}]


def pattern(text: str) -> str:
    """A text of the page's tables as a regular expression."""
    assert f"`{text}`" in PAGE
    return ".*".join(re.escape(part) for part in text.split("…"))


def secret_class(name: str, provider: str = "vault", objects: object = None, **more: Any) -> Json:
    """A class that mounts Vault's password as the guide's does, but for what is told."""
    parameters = {
        "vaultAddress": more.pop("address", ""),
        "roleName": "app-role",
        "objects": json.dumps(objects or VAULT_OBJECTS),
        **more.pop("parameters", {}),
    }
    return {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"provider": provider, "parameters": parameters, **more},
    }


@dataclass(frozen=True)
class Reader:
    """Somebody who makes classes and pods, and looks at them with kubectl."""

    cluster: Cluster

    async def apply(self, manifest: Json) -> None:
        """As ``kubectl apply -f``."""
        if manifest["kind"] == "SecretProviderClass" and manifest["spec"]["provider"] == "vault":
            manifest["spec"]["parameters"]["vaultAddress"] = self.cluster.around.openbao.address
        await self.cluster.node.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    async def pod(self, name: str, class_name: str, *, account: str = ACCOUNT, **spec: Any) -> None:
        """Make a pod that mounts a class."""
        about = {"name": name, "namespace": NAMESPACE}
        wanted = {**pod_spec((class_name,), **spec), "serviceAccountName": account}
        await self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": wanted})

    async def sees(self, kind: str, name: str, text: str) -> None:
        """Wait until ``kubectl describe`` says a text of the page."""
        await self.cluster.seen(f"kubectl describe {kind} {name} -n {NAMESPACE}", pattern(text))

    async def starts(self, name: str, class_name: str = "", **spec: Any) -> None:
        """Make a pod if a class is named, as kubelet tries one that failed again only after a while; it gets ready."""
        if class_name:
            await self.pod(name, class_name, **spec)
        words = ("wait", "--for=condition=Ready", f"pod/{name}", "-n", NAMESPACE, "--timeout=100s")
        await self.cluster.node.kubectl(*words)

    async def delete(self, *what: str) -> None:
        """As ``kubectl delete``."""
        await self.cluster.node.kubectl("delete", "-n", NAMESPACE, "--wait=false", *what)

    async def has_secret(self, name: str, key: str = "password") -> None:
        """Wait until a Secret has a key."""
        await self.cluster.seen(f"kubectl describe secret {name} -n {NAMESPACE}", rf"^{re.escape(key)}: +\d+ bytes")
