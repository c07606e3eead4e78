"""Kubelet's side of the CSI socket: what it calls for a pod's volume, in its order and on fresh connections."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from keyferry.kube import Json, Kube
from keyferry.proto.csi.v1 import csi_pb2
from keyferry.resources import DRIVER_NAME

R = TypeVar("R", bound=Message)

CALL_SECONDS = 120.0
"""Kubelet's limit for a CSI call."""

NODE, IDENTITY = "csi.v1.Node", "csi.v1.Identity"


async def call(
    endpoint: str, method: str, request: Message, answer: type[R], *, seconds: float = CALL_SECONDS, service: str = NODE
) -> R:
    """One CSI call on a connection of its own, as kubelet makes it.

    Raises:
        grpc.aio.AioRpcError: the driver's status.
    """
    # A pool of its own: gRPC would otherwise hand out one connection for all channels to the same address.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(endpoint, options=options) as channel:
        rpc = channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return cast("R", await rpc(request, timeout=seconds))


@dataclass(frozen=True)
class Kubelet:
    """Publishes and unpublishes the volumes of pods that exist in a Kubernetes API.

    Attributes:
        endpoint: The driver's CSI socket, ``unix:///…``.
        root: Kubelet's root directory; volumes are mounted below it.
        kube: The API server, which signs the pods' tokens.
        audiences: ``tokenRequests`` of the CSIDriver object.
    """

    endpoint: str
    root: Path
    kube: Kube
    audiences: tuple[str, ...]

    async def publish(
        self,
        pod: Json,
        secret_provider_class: str,
        *,
        volume: str = "secrets",
        secrets: Mapping[str, str] | None = None,
        group: str = "",
        seconds: float = CALL_SECONDS,
    ) -> Path:
        """Set up one volume of a pod and return where it is mounted.

        Raises:
            grpc.aio.AioRpcError: as kubelet would report it in a FailedMount event.
        """
        for _ in range(2):  # for NodeSupportsVolumeMountGroup, and for the access modes
            await self._call(
                "NodeGetCapabilities", csi_pb2.NodeGetCapabilitiesRequest(), csi_pb2.NodeGetCapabilitiesResponse
            )
        request = await self.request(pod, secret_provider_class, volume=volume, secrets=secrets, group=group)
        await self._call("NodePublishVolume", request, csi_pb2.NodePublishVolumeResponse, seconds=seconds)
        return Path(request.target_path)

    async def request(
        self,
        pod: Json,
        secret_provider_class: str,
        *,
        volume: str = "secrets",
        secrets: Mapping[str, str] | None = None,
        group: str = "",
    ) -> csi_pb2.NodePublishVolumeRequest:
        """The NodePublishVolume request that kubelet would send, with fresh tokens."""
        mount = csi_pb2.VolumeCapability.MountVolume(volume_mount_group=group)
        mode = csi_pb2.VolumeCapability.AccessMode(mode=csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER)
        target = self.target(pod, volume)
        target.parent.mkdir(parents=True, exist_ok=True)  # kubelet makes the parent
        return csi_pb2.NodePublishVolumeRequest(
            volume_id=self.handle(pod, volume),
            target_path=str(target),
            volume_capability=csi_pb2.VolumeCapability(mount=mount, access_mode=mode),
            readonly=True,
            secrets=secrets or {},
            volume_context=await self._context(pod, secret_provider_class),
        )

    async def unpublish(self, pod: Json, *, volume: str = "secrets") -> None:
        """Tear one volume of a pod down."""
        request = csi_pb2.NodeUnpublishVolumeRequest(
            volume_id=self.handle(pod, volume), target_path=str(self.target(pod, volume))
        )
        await self._call("NodeUnpublishVolume", request, csi_pb2.NodeUnpublishVolumeResponse)

    def handle(self, pod: Json, volume: str) -> str:
        """The volume id that kubelet makes for an inline volume (pkg/volume/csi/csi_plugin.go, makeVolumeHandle)."""
        return "csi-" + hashlib.sha256(f"{pod['metadata']['uid']}{volume}".encode()).hexdigest()

    def target(self, pod: Json, volume: str) -> Path:
        """Where kubelet wants the volume."""
        uid: str = pod["metadata"]["uid"]
        return self.root / "pods" / uid / "volumes" / "kubernetes.io~csi" / volume / "mount"

    async def _context(self, pod: Json, secret_provider_class: str) -> dict[str, str]:
        metadata = pod["metadata"]
        tokens = {audience: await self.token(pod, audience) for audience in self.audiences}
        return {
            "secretProviderClass": secret_provider_class,
            "csi.storage.k8s.io/pod.name": metadata["name"],
            "csi.storage.k8s.io/pod.namespace": metadata["namespace"],
            "csi.storage.k8s.io/pod.uid": metadata["uid"],
            "csi.storage.k8s.io/serviceAccount.name": pod["spec"].get("serviceAccountName", "default"),
            "csi.storage.k8s.io/ephemeral": "true",
            "csi.storage.k8s.io/serviceAccount.tokens": json.dumps(tokens),
        }

    async def token(self, pod: Json, audience: str, *, seconds: int = 3600) -> dict[str, str]:
        """A token of the pod's service account, bound to the pod (TokenRequest), as kubelet hands it to drivers."""
        metadata = pod["metadata"]
        account = pod["spec"].get("serviceAccountName", "default")
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [audience] if audience else [],  # the empty one stands for the API server's own
                "expirationSeconds": seconds,
                "boundObjectRef": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                },
            },
        }
        path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token"
        answer = await self.kube.post(path, body)
        if answer is None:
            raise LookupError(f"no service account {metadata['namespace']}/{account}")
        status: dict[str, Any] = answer["status"]
        return {"token": status["token"], "expirationTimestamp": status["expirationTimestamp"]}

    async def _call(self, method: str, request: Message, answer: type[R], *, seconds: float = CALL_SECONDS) -> R:
        return await call(self.endpoint, method, request, answer, seconds=seconds)


def csi_driver(*audiences: str) -> Json:
    """The CSIDriver object that makes kubelet hand out these tokens."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIDriver",
        "metadata": {"name": DRIVER_NAME},
        "spec": {
            "attachRequired": False,
            "podInfoOnMount": True,
            "requiresRepublish": True,
            "volumeLifecycleModes": ["Ephemeral"],
            "tokenRequests": [{"audience": audience} for audience in audiences],
        },
    }


def pod_manifest(namespace: str, name: str, *, node: str, secret_provider_class: str, account: str = "default") -> Json:
    """A pod that mounts a class, already bound to a node."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "nodeName": node,
            "serviceAccountName": account,
            "containers": [{"name": "app", "image": "app"}],
            "volumes": [
                {
                    "name": "secrets",
                    "csi": {
                        "driver": DRIVER_NAME,
                        "readOnly": True,
                        "volumeAttributes": {"secretProviderClass": secret_provider_class},
                    },
                }
            ],
        },
    }
