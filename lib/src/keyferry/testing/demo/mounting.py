"""What kubelet does for a pod that mounts the guide's four classes, and what it finds afterwards."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import yaml

from keyferry.kube import Json
from keyferry.proto.csi.v1 import csi_pb2
from keyferry.testing.demo import volume
from keyferry.testing.demo.cluster import NODE, Base, Keyferry
from keyferry.testing.demo.failure import Failure
from keyferry.testing.demo.guide import AUDIENCES, EXAMPLES, replica
from keyferry.testing.demo.mounted import mounted_below
from keyferry.testing.demo.progress import Item, Progress
from keyferry.testing.demo.values import CLASSES, NAMESPACE
from keyferry.testing.kubelet import Kubelet, call

_SECONDS = 30.0  # kubelet waits two minutes; whoever looks on need not


@dataclass(frozen=True)
class Mounting:
    """Kubelet, and who tells what it does.

    Attributes:
        base: The servers.
        services: Keyferry.
        progress: Where it is told.
    """

    base: Base
    services: Keyferry
    progress: Progress

    async def pod(self, number: int) -> Json:
        """Make a pod of the guide's Deployment on our node."""
        deployment = yaml.safe_load((EXAMPLES / "deployment-with-secrets.yaml").read_text())
        manifest = replica(deployment, number, node=NODE, classes=CLASSES)
        made = await self.base.kube.post(f"/api/v1/namespaces/{NAMESPACE}/pods", manifest)
        if made is None:
            raise Failure("pod", f"the Kubernetes API knows no namespace {NAMESPACE}")
        return made

    async def publish(self, pod: Json, expected: Mapping[str, Mapping[str, str]]) -> dict[str, Path]:
        """Publish the volumes of a pod, and make sure of what they hold.

        Args:
            pod: Made by `pod`.
            expected: Contents by class and file.

        Returns:
            Where each class is mounted.
        """
        targets = {}
        for name, class_name in CLASSES.items():
            with self._item(pod, class_name) as item:
                request = await self._kubelet.request(pod, class_name, volume=name)
                begun = time.perf_counter()
                await call(
                    self._kubelet.endpoint,
                    "NodePublishVolume",
                    request,
                    csi_pb2.NodePublishVolumeResponse,
                    seconds=_SECONDS,
                )
                item.seconds = time.perf_counter() - begun
                target = targets[class_name] = Path(request.target_path)
                if volume.contents(target) != expected[class_name]:
                    raise Failure(class_name, f"the files in {target} are not what the backend holds")
                item.detail = "published; files as in the backend"
        return targets

    def targets(self, pod: Json) -> dict[str, Path]:
        """Where each class is mounted."""
        root = self.services.node.kubelet_root / "pods" / pod["metadata"]["uid"] / "volumes" / "kubernetes.io~csi"
        return {class_name: root / name / "mount" for name, class_name in CLASSES.items()}

    async def unpublish(self, pod: Json) -> None:
        """Unpublish the volumes of a pod."""
        for name, class_name in CLASSES.items():
            with self._item(pod, class_name) as item:
                await self._kubelet.unpublish(pod, volume=name)
                item.detail = "unpublished"

    def require_nothing_left(self) -> None:
        """Make sure that no mount, target or record of a volume is left on the node."""
        with self.progress.item("what is left on the node") as item:
            root = self.services.node.kubelet_root.resolve()
            records = root / "plugins" / "csi-secrets-store" / "volumes"
            targets = root.glob("pods/*/volumes/kubernetes.io~csi/*/mount")
            left = [*mounted_below(root), *targets, *records.glob("*.json")]
            if left:
                raise Failure("unpublish", "left on the node: " + ", ".join(str(each) for each in left))
            item.detail = "no mount, no target, no record"

    @property
    def _kubelet(self) -> Kubelet:
        node = self.services.node
        return Kubelet(node.endpoint, node.kubelet_root, self.base.kube, AUDIENCES)

    def _item(self, pod: Json, class_name: str) -> AbstractContextManager[Item]:
        name = f"{pod['metadata']['name']}  {class_name}"
        return self.progress.item(name, needs=self.services.processes)
