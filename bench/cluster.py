"""Pods with real tokens, classes, and the requests kubelet would send for them, made before anything is timed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from keyferry.kube import Json, Kube
from keyferry.proto.csi.v1 import csi_pb2
from keyferry.testing.kubelet import Kubelet, csi_driver, pod_manifest
from storm import PUBLISH, UNPUBLISH, Call
from stub import FILES

NAMESPACE, ACCOUNT, SHARED = "bench", "app", "shared"
AUDIENCES = ("keyferry", "vault")
_AT_ONCE = 16
_CLASS_KEY = "secretProviderClass"


@dataclass(frozen=True)
class Mount:
    """One volume of one pod: what to send, and where it will be."""

    publish: Call
    unpublish: Call
    target: Path


class Cluster:
    """A namespace whose pods mount classes of the stub backend.

    Args:
        kube: The API.
        backend: URL of the stub.
    """

    def __init__(self, kube: Kube, backend: str) -> None:
        self._kube = kube
        self._backend = backend

    async def prepare(self) -> None:
        """Make what pods need: namespace, account, CSIDriver, and the class that all can share."""
        await self._kube.post("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        await self._kube.post("/apis/storage.k8s.io/v1/csidrivers", csi_driver(*AUDIENCES))
        await self._kube.post(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": ACCOUNT}})
        await self.add_class(SHARED)

    async def add_class(self, name: str) -> None:
        """Make a class whose files all come from one path of the backend, named as the class."""
        objects = "".join(
            f"- objectName: file-{number}\n  secretPath: secret/data/{name}\n  secretKey: key-{number}\n"
            for number in range(FILES)
        )
        body = {
            "apiVersion": "secrets-store.csi.x-k8s.io/v1",
            "kind": "SecretProviderClass",
            "metadata": {"name": name},
            "spec": {
                "provider": "vault",
                "parameters": {"vaultAddress": self._backend, "roleName": "app", "objects": objects},
            },
        }
        path = f"/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{NAMESPACE}/secretproviderclasses"
        await self._kube.post(path, body)

    async def pods(self, count: int, *, node: str) -> list[Json]:
        """Make pods that run on a node."""

        async def make(number: int) -> Json:
            manifest = pod_manifest(
                NAMESPACE, f"{node}-{number}", node=node, secret_provider_class=SHARED, account=ACCOUNT
            )
            made = await self._kube.post(f"/api/v1/namespaces/{NAMESPACE}/pods", manifest)
            assert made is not None  # noqa: S101 - the namespace exists
            return made

        limit = asyncio.Semaphore(_AT_ONCE)

        async def limited(number: int) -> Json:
            async with limit:
                return await make(number)

        return await asyncio.gather(*(limited(number) for number in range(count)))

    async def requests(
        self, pods: Sequence[Json], *, endpoint: str, root: Path
    ) -> list[csi_pb2.NodePublishVolumeRequest]:
        """What kubelet would send for each pod's volume, its tokens signed by the API."""
        kubelet = Kubelet(endpoint, root, self._kube, AUDIENCES)
        limit = asyncio.Semaphore(_AT_ONCE)

        async def make(pod: Json) -> csi_pb2.NodePublishVolumeRequest:
            async with limit:
                return await kubelet.request(pod, SHARED)

        return await asyncio.gather(*(make(pod) for pod in pods))


def mounts(
    requests: Sequence[csi_pb2.NodePublishVolumeRequest], volume: str, *, classes: Sequence[str] = (SHARED,)
) -> Iterator[Mount]:
    """Another volume of each pod, never mounted before, so that pods and their tokens serve for many mounts.

    Args:
        requests: One of each pod.
        volume: A name that was not used before.
        classes: What to mount; the pods take turns.
    """
    for number, like in enumerate(requests):
        request = csi_pb2.NodePublishVolumeRequest()
        request.CopyFrom(like)
        target = Path(like.target_path).parents[1] / volume / "mount"
        target.parent.mkdir(parents=True, exist_ok=True)  # kubelet makes the parent
        request.target_path = str(target)
        request.volume_id = f"{like.volume_id[:100]}-{volume}"
        request.volume_context[_CLASS_KEY] = classes[number % len(classes)]
        gone = csi_pb2.NodeUnpublishVolumeRequest(volume_id=request.volume_id, target_path=request.target_path)
        yield Mount(Call(PUBLISH, request.SerializeToString()), Call(UNPUBLISH, gone.SerializeToString()), target)


def mounted_below(root: Path) -> int:
    """How many mounts the kernel has below a folder."""
    return sum(line.split()[4].startswith(f"{root}/") for line in Path("/proc/self/mountinfo").read_text().splitlines())
