"""Answers the CSI Node service: what a mount begins and ends with."""

from __future__ import annotations

import logging

from prometheus_client import Counter

from keyferry.errors import KeyferryError
from keyferry.proto.csi.v1 import csi_pb2
from node_driver.publish import Publisher
from node_driver.volume import parse_publish, parse_unpublish

log = logging.getLogger(__name__)

_OS = "linux"
_NOT_FINAL = {"CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"}

# Upstream's names, which dashboards know (its pkg/secrets-store/stats_reporter.go).
PUBLISHED = Counter("node_publish_total", "Publish calls answered OK.", ["provider", "os_type"])
PUBLISH_ERRORS = Counter(
    "node_publish_error_total", "Publish calls that failed.", ["provider", "error_type", "os_type"]
)
UNPUBLISHED = Counter("node_unpublish_total", "Unpublish calls answered OK.", ["os_type"])
UNPUBLISH_ERRORS = Counter("node_unpublish_error_total", "Unpublish calls that failed.", ["os_type"])


class Node:
    """The Node service (CSI spec, "Node Service RPC").

    Attributes:
        NodeGetCapabilities: VOLUME_MOUNT_GROUP alone, so that kubelet hands us the pod's fsGroup. Constant bytes, since
            kubelet asks twice for each mount.
        NodeGetInfo: This node's name.
    """

    def __init__(self, *, node: str, publisher: Publisher) -> None:
        rpc = csi_pb2.NodeServiceCapability.RPC(type=csi_pb2.NodeServiceCapability.RPC.VOLUME_MOUNT_GROUP)
        capability = csi_pb2.NodeServiceCapability(rpc=rpc)
        self.NodeGetCapabilities = csi_pb2.NodeGetCapabilitiesResponse(capabilities=[capability]).SerializeToString()
        self.NodeGetInfo = csi_pb2.NodeGetInfoResponse(node_id=node).SerializeToString()
        self._publisher = publisher

    async def NodePublishVolume(  # noqa: N802 - the RPC
        self, request: csi_pb2.NodePublishVolumeRequest, deadline: float
    ) -> csi_pb2.NodePublishVolumeResponse:
        """Put a volume in place (CSI spec, "NodePublishVolume"); idempotent."""
        try:
            volume, credentials = parse_publish(request)
            published = await self._publisher.publish(volume, credentials, deadline)
        except KeyferryError as error:
            PUBLISH_ERRORS.labels(error.provider, error.reason, _OS).inc()
            log.warning("publish failed: %s", error.message, extra={"volume_id": request.volume_id})
            if error.code not in _NOT_FINAL and self._publisher.meets_anothers(request.volume_id, request.target_path):
                # It is mounted. Told that this is final, kubelets with kubernetes#121271 would forget the volume, and
                # unmount it never.
                error.code = "UNAVAILABLE"
            raise
        PUBLISHED.labels(published.record.provider, _OS).inc()
        log.debug("volume is in place", extra={"volume_id": volume.volume_id, "pod": str(volume.pod)})
        return csi_pb2.NodePublishVolumeResponse()

    async def NodeUnpublishVolume(  # noqa: N802 - the RPC
        self, request: csi_pb2.NodeUnpublishVolumeRequest, _deadline: float
    ) -> csi_pb2.NodeUnpublishVolumeResponse:
        """Take a volume away (CSI spec, "NodeUnpublishVolume"); idempotent."""
        try:
            volume_id, target_path = parse_unpublish(request)
            await self._publisher.unpublish(volume_id, target_path)
        except KeyferryError as error:
            UNPUBLISH_ERRORS.labels(_OS).inc()
            log.warning("unpublish failed: %s", error.message, extra={"volume_id": request.volume_id})
            raise
        UNPUBLISHED.labels(_OS).inc()
        log.info("volume unpublished", extra={"volume_id": volume_id})
        return csi_pb2.NodeUnpublishVolumeResponse()
