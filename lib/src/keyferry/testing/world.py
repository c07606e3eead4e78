"""A namespace of a test, in Kubernetes and in OpenBao, and the node that its pods run on."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc.aio
import yaml

from keyferry.kube import Json, Kube
from keyferry.testing.kubelet import Kubelet, pod_manifest
from keyferry.testing.services import NodeDriver
from keyferry.testing.stack import Stack

NOT_FINAL = {"CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"}
AUDIENCES = ("keyferry", "vault", "sts.amazonaws.com")


@dataclass(frozen=True)
class World:
    """A namespace of one test, in Kubernetes and in OpenBao, and the node that its pods run on.

    The service accounts of the namespace may read the secrets below ``secret/data/<namespace>/``.
    """

    servers: Stack
    kube: Kube
    node: NodeDriver
    namespace: str
    auth_mount: str = "kubernetes"

    @property
    def kubelet(self) -> Kubelet:
        """The node's kubelet."""
        return Kubelet(self.node.endpoint, self.node.kubelet_root, self.kube, AUDIENCES)

    def on(self, node: NodeDriver) -> World:
        """The same namespace, seen from another node."""
        return replace(self, node=node)

    async def account(self, name: str, **annotations: str) -> None:
        """Make a service account."""
        account = {"metadata": {"name": name, "annotations": annotations}}
        await self.kube.post(f"/api/v1/namespaces/{self.namespace}/serviceaccounts", account)

    async def pod(self, class_name: str = "secrets", *, account: str = "app") -> Json:
        """Make a pod that runs on the node and mounts a class."""
        name = f"pod-{uuid.uuid4().hex[:8]}"
        pod = pod_manifest(
            self.namespace,
            name,
            node=self.node.node,
            secret_provider_class=class_name,
            account=account,
        )
        made = await self.kube.post(f"/api/v1/namespaces/{self.namespace}/pods", pod)
        assert made is not None
        return made

    def path(self, secret: str) -> str:
        """API path in OpenBao of a secret of this namespace."""
        return f"secret/data/{self.namespace}/{secret}"

    async def secret(self, name: str = "db", **values: Any) -> None:
        """Write a secret."""
        await self.servers.openbao.put(f"{self.namespace}/{name}", values)

    async def make_class(self, name: str, provider: Any, parameters: Any, **spec: Any) -> str:
        """Make a SecretProviderClass, as sensible as it is told."""
        body = {
            "apiVersion": "secrets-store.csi.x-k8s.io/v1",
            "kind": "SecretProviderClass",
            "metadata": {"name": name},
            "spec": {"provider": provider, "parameters": parameters, **spec},
        }
        path = f"/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{self.namespace}/secretproviderclasses"
        await self.kube.post(path, body)
        return name

    async def vault_class(self, name: str = "secrets", *objects: Mapping[str, Any] | str, **parameters: str) -> str:
        """Make a class of the vault provider.

        Args:
            name: Of the class.
            objects: Each an entry of ``objects``, or a text for one secret's key: ``file=secret:key``. Without any, the
                file ``password`` is the key ``password`` of the secret ``db``.
            parameters: More of them, or other ones.
        """
        entries = [self._entry(each) for each in objects or ("password=db:password",)]
        usual = {
            "vaultAddress": self.servers.openbao.address,
            "roleName": self.namespace,
            "vaultAuthMountPath": self.auth_mount,
            "objects": yaml.safe_dump(entries),
        }
        return await self.make_class(name, "vault", {**usual, **parameters})

    def _entry(self, told: Mapping[str, Any] | str) -> Mapping[str, Any]:
        if not isinstance(told, str):
            return told
        file, _, where = told.partition("=")
        secret, _, key = where.partition(":")
        return {"objectName": file, "secretPath": self.path(secret), "secretKey": key}

    async def mounted(self, pod: Json, class_name: str = "secrets", *, seconds: float = 120.0) -> Path:
        """Mount as kubelet does, which asks again for as long as the error is not final (design.md, section 3)."""
        async with asyncio.timeout(60.0):
            while True:
                try:
                    return await self.kubelet.publish(pod, class_name, seconds=seconds)
                except grpc.aio.AioRpcError as error:
                    if error.code().name not in NOT_FINAL:
                        raise
                await asyncio.sleep(0.2)

    async def refused(self, attempt: Awaitable[Any], pod: Json) -> tuple[str, str]:
        """The code and text that an attempt to mount fails with, after making sure that it left nothing."""
        try:
            await attempt
        except grpc.aio.AioRpcError as error:
            assert self.left(pod) == []
            return error.code().name, str(error.details())
        raise AssertionError("the mount was not refused")

    def left(self, pod: Json) -> list[str]:
        """What there is of a pod's volume on the node: target, mount, record."""
        target = self.kubelet.target(pod, "secrets")
        mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        record = self.records / f"{hashlib.sha256(self.kubelet.handle(pod, 'secrets').encode()).hexdigest()}.json"
        found = [f"mount {place}" for place in mounted if place == str(target)]
        return found + [f"path {path}" for path in (target, record) if path.exists()]

    @property
    def records(self) -> Path:
        """The folder of the node's records."""
        return self.node.kubelet_root / "plugins" / "csi-secrets-store" / "volumes"
