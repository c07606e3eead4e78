"""A namespace on a real node: its classes and pods, and what is seen of them in the pod, on the node and in events."""

from __future__ import annotations

import asyncio
import hashlib
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from keyferry.errors import KubernetesUnavailable
from keyferry.kube import Json, Kube
from keyferry.resources import DRIVER_NAME
from keyferry.testing.kube.node import RealNode
from keyferry.testing.openbao import OpenBao
from keyferry.testing.processes import answers
from keyferry.testing.services import NodeDriver

GROUP = "/apis/secrets-store.csi.x-k8s.io"
ACCOUNT = "app"
MOUNTED_AT = "/mnt"
"""The volume of a class `c` is at ``/mnt/c`` in the pods."""
LIMIT_SECONDS = 90.0


async def until(claim: Callable[[], Awaitable[bool]], *, within: float = LIMIT_SECONDS) -> None:
    """Wait for what a cluster does.

    Raises:
        TimeoutError: it does not.
    """
    async with asyncio.timeout(within):
        while True:
            if await claim():
                return
            await asyncio.sleep(0.2)


async def registered(driver: NodeDriver) -> None:
    """Wait until kubelet has registered the driver, and it is ready."""
    ready = answers(f"{driver.http}/readyz")
    await until(lambda: asyncio.to_thread(ready, driver.process))


def metrics(driver: NodeDriver) -> dict[str, float]:
    """What a driver counts: name and labels to value."""
    with urllib.request.urlopen(f"{driver.http}/metrics") as answer:  # noqa: S310 - loopback http
        lines: list[str] = answer.read().decode().splitlines()
    samples = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in samples}


@dataclass(frozen=True)
class Namespace:
    """A namespace of one test. Its service account `app` may read the secrets below ``secret/<namespace>/``."""

    node: RealNode
    kube: Kube
    openbao: OpenBao
    name: str

    async def make(self) -> None:
        """Create it, in Kubernetes and in OpenBao."""
        await self.kube.post("/api/v1/namespaces", {"metadata": {"name": self.name}})
        await self.kube.post(self.path("serviceaccounts"), {"metadata": {"name": ACCOUNT}})
        await self.openbao.allow_read(self.name, f"secret/data/{self.name}/*")
        await self.openbao.kubernetes_role(
            self.name, accounts=[ACCOUNT], namespaces=[self.name], policies=[self.name], audience="vault"
        )

    def path(self, resource: str, group: str = "/api/v1") -> str:
        """Where the API server has a list of this namespace, or an object of one."""
        return f"{group}/namespaces/{self.name}/{resource}"

    async def secret(self, name: str = "db", **values: str) -> None:
        """Write a secret to OpenBao."""
        await self.openbao.put(f"{self.name}/{name}", values)

    async def vault_class(
        self,
        name: str = "secrets",
        *objects: str,
        version: str = "v1",
        annotations: dict[str, str] | None = None,
        role: str = "",
        **spec: Any,
    ) -> None:
        """Make a class of the vault provider, as the user's guide writes it.

        Args:
            name: Of the class.
            objects: Each a file, a secret and its key: ``file=secret:key``; else ``password`` from ``db:password``.
            version: Of the API.
            annotations: Of the class.
            role: To log in with, if not the namespace's.
            spec: More of it.
        """
        parameters = {
            "vaultAddress": self.openbao.address,
            "roleName": role or self.name,
            "objects": yaml.safe_dump([self._entry(each) for each in objects or ("password=db:password",)]),
        }
        body = {
            "apiVersion": f"secrets-store.csi.x-k8s.io/{version}",
            "kind": "SecretProviderClass",
            "metadata": {"name": name, "annotations": annotations or {}},
            "spec": {"provider": "vault", "parameters": parameters, **spec},
        }
        await self.kube.post(self.path("secretproviderclasses", f"{GROUP}/{version}"), body)

    def _entry(self, told: str) -> dict[str, str]:
        file, _, where = told.partition("=")
        secret, _, key = where.partition(":")
        return {"objectName": file, "secretPath": f"secret/data/{self.name}/{secret}", "secretKey": key}

    async def pod(self, name: str, *classes: str, **spec: Any) -> Json:
        """Make a pod that mounts classes (`secrets` if none is named), without waiting for it."""
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod_spec(classes, **spec)}
        made: list[Json | None] = []

        async def accepted() -> bool:
            try:
                made.append(await self.kube.post(self.path("pods"), body))
            except KubernetesUnavailable:  # such as: the service account has no token yet
                return False
            return True

        await until(accepted)
        assert made[0] is not None
        return made[0]

    async def deployment(self, name: str, *classes: str, **spec: Any) -> None:
        """Make a deployment of such a pod and wait until the pod is Ready."""
        label = {"app": name}
        template = {"metadata": {"labels": label}, "spec": pod_spec(classes, **spec)}
        body = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": label}, "template": template},
        }
        await self.kube.post(self.path("deployments", "/apis/apps/v1"), body)
        limit = f"--timeout={LIMIT_SECONDS:.0f}s"
        await self.node.kubectl("-n", self.name, "rollout", "status", f"deployment/{name}", limit)

    async def ready(self, *pods: Json) -> None:
        """Wait until all of the pods are Ready."""
        for pod in pods:
            await until(partial(self._is_ready, self.path(f"pods/{pod['metadata']['name']}")))

    async def _is_ready(self, where: str) -> bool:
        pod = await self.kube.get(where)
        conditions = pod["status"].get("conditions", []) if pod else []
        return ("Ready", "True") in [(each["type"], each["status"]) for each in conditions]

    async def running(self, name: str, *classes: str, **spec: Any) -> Json:
        """Make a pod and wait until it is Ready."""
        pod = await self.pod(name, *classes, **spec)
        await self.ready(pod)
        return pod

    async def run(self, pod: Json, *argv: str) -> str:
        """Run a command in a pod's container and return what it prints."""
        return await self.run_in(f"pod/{pod['metadata']['name']}", *argv)

    async def run_in(self, what: str, *argv: str) -> str:
        """Run a command in a container of what kubectl names, such as ``deployment/app``."""
        return await self.node.kubectl("-n", self.name, "exec", what, "--", *argv)

    async def read(self, pod: Json, file: str = "secrets/password") -> str:
        """Read a mounted file in a pod: the name of the class and of the file."""
        return await self.run(pod, "cat", f"{MOUNTED_AT}/{file}")

    async def delete(self, *pods: Json, grace: int = 1) -> None:
        """Tell the API server to delete pods, without waiting for the node."""
        for pod in pods:
            await self.kube.call(
                "DELETE", self.path(f"pods/{pod['metadata']['name']}"), body={"gracePeriodSeconds": grace}
            )

    async def gone(self, *pods: Json) -> None:
        """Wait until pods are no more and nothing of their volumes is left on the node."""
        for pod in pods:
            await until(partial(self._is_gone, pod))

    async def _is_gone(self, pod: Json) -> bool:
        return not self.left(pod) and await self.kube.get(self.path(f"pods/{pod['metadata']['name']}")) is None

    async def warned(self, pod: Json, *texts: str) -> str:
        """Wait for an event FailedMount of a pod with all of these texts, and return its message."""
        found: list[str] = []

        async def told() -> bool:
            found[:] = [text for text in await self.warnings(pod) if all(each in text for each in texts)]
            return bool(found)

        await until(told)
        return found[0]

    async def warnings(self, pod: Json) -> list[str]:
        """What kubelet's FailedMount events say of a pod."""
        wanted = f"reason=FailedMount,involvedObject.uid={pod['metadata']['uid']}"
        events = await self.kube.get(self.path("events"), {"fieldSelector": wanted})
        return [each["message"] for each in (events or {"items": []})["items"]]

    def folder(self, pod: Json) -> Path:
        """What the node has of a pod, until it has forgotten it."""
        return self.node.kubelet_root / "pods" / str(pod["metadata"]["uid"])

    def target(self, pod: Json, volume: str = "secrets") -> Path:
        """Where kubelet has a pod's volume mounted."""
        return self.folder(pod) / "volumes" / "kubernetes.io~csi" / volume / "mount"

    def left(self, pod: Json, volume: str = "secrets") -> list[str]:
        """What there is of a pod's volume on the node: mounts, record, target."""
        handle = "csi-" + hashlib.sha256(f"{pod['metadata']['uid']}{volume}".encode()).hexdigest()
        record = f"{hashlib.sha256(handle.encode()).hexdigest()}.json"
        found = [*self.node.mounted(pod["metadata"]["uid"]), *(name for name in self.node.records() if name == record)]
        return [*found, *(str(path) for path in [self.target(pod, volume)] if path.exists())]


def pod_spec(classes: Sequence[str] = (), *, env: Sequence[Json] = (), **more: Any) -> Json:
    """The specification of a pod that mounts each class, `secrets` if none is named, at ``/mnt/<class>``."""
    names = classes or ("secrets",)
    return {
        "serviceAccountName": ACCOUNT,
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": "app",
                "image": "localhost/busybox:1",
                "command": ["sleep", "3600"],
                "env": list(env),
                "volumeMounts": [
                    {"name": name, "mountPath": f"{MOUNTED_AT}/{name}", "readOnly": True} for name in names
                ],
            }
        ],
        "volumes": [{"name": name, "csi": _volume(name)} for name in names],
        **more,
    }


def _volume(class_name: str) -> Json:
    return {"driver": DRIVER_NAME, "readOnly": True, "volumeAttributes": {"secretProviderClass": class_name}}
