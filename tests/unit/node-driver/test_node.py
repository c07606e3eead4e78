from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from keyferry.errors import AccessDenied, FailedToMount, InvalidArgument, KeyferryError, RateLimited, VolumeBusy
from keyferry.proto.csi.v1 import csi_pb2 as csi
from keyferry.resources import Pod
from node_driver.node import Node
from node_driver.published import Published
from node_driver.records import Record
from node_driver.volume import Credentials, Volume

INFO = "csi.storage.k8s.io/"
RECORD = Record("csi-1", "/pods/u/mount", Pod("shop", "web-0", "u-1", "web"), "db", "vault", "k", b"", 0, ())


@dataclass
class Publisher:
    """Does nothing, or fails as it is told to."""

    failure: KeyferryError | None = None
    published: list[tuple[Volume, Credentials, float]] = field(default_factory=list)
    unpublished: list[tuple[str, str]] = field(default_factory=list)
    left: tuple[str, str] = ("", "")

    async def publish(self, volume: Volume, credentials: Credentials, deadline: float) -> Published:
        """See `node_driver.publish.Publisher`."""
        self.published.append((volume, credentials, deadline))
        if self.failure:
            raise self.failure
        return Published(RECORD, volume, credentials)

    async def unpublish(self, volume_id: str, target_path: str) -> None:
        """See `node_driver.publish.Publisher`."""
        self.unpublished.append((volume_id, target_path))
        if self.failure:
            raise self.failure

    def meets_anothers(self, volume_id: str, target_path: str) -> bool:
        """See `node_driver.publish.Publisher`."""
        return self.left == (volume_id, target_path)


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def node(publisher: Publisher) -> Node:
    return Node(node="node-a", publisher=cast("Any", publisher))


def publish_request() -> csi.NodePublishVolumeRequest:
    mode = csi.VolumeCapability.AccessMode(mode=csi.VolumeCapability.AccessMode.SINGLE_NODE_WRITER)
    mount = csi.VolumeCapability.MountVolume(volume_mount_group="2000")
    return csi.NodePublishVolumeRequest(
        volume_id="csi-1",
        target_path="/pods/u/mount",
        volume_capability=csi.VolumeCapability(mount=mount, access_mode=mode),
        readonly=True,
        secrets={"clientsecret": "swordfish"},
        volume_context={
            "secretProviderClass": "db",
            INFO + "pod.name": "web-0",
            INFO + "pod.namespace": "shop",
            INFO + "pod.uid": "u-1",
            INFO + "serviceAccount.name": "web",
            INFO + "ephemeral": "true",
            INFO + "serviceAccount.tokens": json.dumps({"keyferry": {"token": "t1"}}),
        },
    )


UNPUBLISH = csi.NodeUnpublishVolumeRequest(volume_id="csi-1", target_path="/pods/u/mount")


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"os_type": "linux", **labels}) or 0.0


def test_constant_answers(node: Node) -> None:
    """What kubelet asks before each mount is answered by bytes made once: one capability, and the node's name."""
    capabilities = csi.NodeGetCapabilitiesResponse.FromString(node.NodeGetCapabilities)

    assert [each.rpc.type for each in capabilities.capabilities] == [csi.NodeServiceCapability.RPC.VOLUME_MOUNT_GROUP]
    assert csi.NodeGetInfoResponse.FromString(node.NodeGetInfo) == csi.NodeGetInfoResponse(node_id="node-a")


async def test_publish(node: Node, publisher: Publisher) -> None:
    """The request reaches the publisher as a volume and credentials, with kubelet's deadline; it is counted."""
    before = counted("node_publish_total", provider="vault")
    answer = await node.NodePublishVolume(publish_request(), 1_000.0)

    assert answer == csi.NodePublishVolumeResponse()
    ((volume, credentials, deadline),) = publisher.published
    assert (volume.volume_id, volume.target_path, volume.pod) == ("csi-1", "/pods/u/mount", RECORD.pod)
    assert (volume.secret_provider_class, volume.group, deadline) == ("db", 2000, 1_000.0)
    assert credentials == Credentials({"keyferry": "t1"}, {"clientsecret": "swordfish"})
    assert counted("node_publish_total", provider="vault") == before + 1


async def test_publish_that_fails(node: Node, publisher: Publisher, caplog: pytest.LogCaptureFixture) -> None:
    """A failure is counted by backend and reason, logged with its text, and raised as it is."""
    publisher.failure = AccessDenied("no policy")
    publisher.failure.provider = "vault"
    before = counted("node_publish_error_total", provider="vault", error_type="AccessDenied")
    with pytest.raises(AccessDenied) as raised:
        await node.NodePublishVolume(publish_request(), 1_000.0)

    assert raised.value is publisher.failure
    assert counted("node_publish_error_total", provider="vault", error_type="AccessDenied") == before + 1
    assert "publish failed: no policy" in caplog.text


FAILURES = [AccessDenied("no policy"), InvalidArgument("no class"), VolumeBusy("under way"), RateLimited("slower")]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.reason)
async def test_what_is_mounted_by_another_driver_never_fails_for_good(
    node: Node, publisher: Publisher, failure: KeyferryError
) -> None:
    """The words stay; the code says that it may be mounted, and is the failure's own where it says so already."""
    publisher.failure, publisher.left, before = failure, ("csi-1", "/pods/u/mount"), failure.code
    with pytest.raises(KeyferryError) as raised:
        await node.NodePublishVolume(publish_request(), 1_000.0)

    assert raised.value is failure
    assert raised.value.code == {"PERMISSION_DENIED": "UNAVAILABLE", "INVALID_ARGUMENT": "UNAVAILABLE"}.get(
        before, before
    )
    assert type(failure).code == before


async def test_bad_request(node: Node, publisher: Publisher, caplog: pytest.LogCaptureFixture) -> None:
    """A request that cannot be parsed reaches no publisher, is counted, and its secrets are not logged."""
    caplog.set_level(logging.DEBUG)
    request = publish_request()
    request.volume_context[INFO + "serviceAccount.tokens"] = '{"keyferry": {"token": "t1"'
    before = counted("node_publish_error_total", provider="", error_type="InvalidArgument")
    with pytest.raises(InvalidArgument):
        await node.NodePublishVolume(request, 1_000.0)

    assert publisher.published == []
    assert counted("node_publish_error_total", provider="", error_type="InvalidArgument") == before + 1
    assert "t1" not in caplog.text
    assert "swordfish" not in caplog.text


async def test_unpublish(node: Node, publisher: Publisher) -> None:
    """Volume id and path reach the publisher; it is counted."""
    before = counted("node_unpublish_total")
    answer = await node.NodeUnpublishVolume(UNPUBLISH, 1_000.0)

    assert answer == csi.NodeUnpublishVolumeResponse()
    assert publisher.unpublished == [("csi-1", "/pods/u/mount")]
    assert counted("node_unpublish_total") == before + 1


async def test_unpublish_that_fails(node: Node, publisher: Publisher, caplog: pytest.LogCaptureFixture) -> None:
    """A failure is counted and raised, in upstream's words that e2e tests grep for."""
    publisher.failure = FailedToMount("failed to clean and unmount target path /pods/u/mount: Device or resource busy")
    before = counted("node_unpublish_error_total"), counted("node_unpublish_total")
    with pytest.raises(FailedToMount):
        await node.NodeUnpublishVolume(UNPUBLISH, 1_000.0)

    assert (counted("node_unpublish_error_total"), counted("node_unpublish_total")) == (before[0] + 1, before[1])
    assert "failed to clean and unmount target path" in caplog.text


@pytest.mark.parametrize("field", ["volume_id", "target_path"])
async def test_bad_unpublish(node: Node, publisher: Publisher, field: str) -> None:
    """An unpublish without id or path reaches no publisher: it could take away what it should not."""
    request = csi.NodeUnpublishVolumeRequest()
    request.CopyFrom(UNPUBLISH)
    request.ClearField(cast("Any", field))
    with pytest.raises(InvalidArgument, match="missing in request"):
        await node.NodeUnpublishVolume(request, 1_000.0)

    assert publisher.unpublished == []
