"""The CSI contract as csi-sanity holds a node-only driver to it, and every argument that kubelet could get wrong."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message

from keyferry.proto.csi.v1 import csi_pb2 as csi
from keyferry.testing.kubelet import IDENTITY, NODE, call
from keyferry.testing.services import NodeDriver
from keyferry.testing.world import World

pytestmark = pytest.mark.root

INFO = "csi.storage.k8s.io/"
TOKENS = INFO + "serviceAccount.tokens"

Change = Callable[[csi.NodePublishVolumeRequest], object]


async def refusal(endpoint: str, method: str, request: Message, service: str = NODE) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(endpoint, method, request, csi.NodePublishVolumeResponse, service=service)
    return raised.value.code().name, str(raised.value.details())


async def test_plugin_info(node: NodeDriver) -> None:
    """The driver has the name that pods ask for, and a version."""
    info = await call(
        node.endpoint, "GetPluginInfo", csi.GetPluginInfoRequest(), csi.GetPluginInfoResponse, service=IDENTITY
    )

    assert info.name == "secrets-store.csi.k8s.io"
    assert info.vendor_version


async def test_plugin_capabilities(node: NodeDriver) -> None:
    """No controller service is promised, for there is none."""
    answer = await call(
        node.endpoint,
        "GetPluginCapabilities",
        csi.GetPluginCapabilitiesRequest(),
        csi.GetPluginCapabilitiesResponse,
        service=IDENTITY,
    )

    assert list(answer.capabilities) == []


async def test_probe(node: NodeDriver) -> None:
    """A driver that can serve mounts is ready."""
    answer = await call(node.endpoint, "Probe", csi.ProbeRequest(), csi.ProbeResponse, service=IDENTITY)

    assert answer.ready.value is True


async def test_node_capabilities(node: NodeDriver) -> None:
    """Kubelet is told to hand over the fsGroup, and nothing else."""
    answer = await call(
        node.endpoint, "NodeGetCapabilities", csi.NodeGetCapabilitiesRequest(), csi.NodeGetCapabilitiesResponse
    )

    assert [each.rpc.type for each in answer.capabilities] == [csi.NodeServiceCapability.RPC.VOLUME_MOUNT_GROUP]


async def test_node_info(node: NodeDriver) -> None:
    """The node has its name, no limit of volumes and no topology."""
    answer = await call(node.endpoint, "NodeGetInfo", csi.NodeGetInfoRequest(), csi.NodeGetInfoResponse)

    assert answer == csi.NodeGetInfoResponse(node_id="node-a")


@pytest.mark.parametrize(
    ("service", "method"),
    [
        (NODE, "NodeStageVolume"),
        (NODE, "NodeUnstageVolume"),
        (NODE, "NodeGetVolumeStats"),
        (NODE, "NodeExpandVolume"),
        ("csi.v1.Controller", "CreateVolume"),
        ("csi.v1.Controller", "ControllerGetCapabilities"),
    ],
)
async def test_not_offered(node: NodeDriver, service: str, method: str) -> None:
    """What the driver does not do is UNIMPLEMENTED."""
    code, _ = await refusal(node.endpoint, method, csi.NodeGetInfoRequest(), service)

    assert code == "UNIMPLEMENTED"


def clears(*fields: str) -> Change:
    def change(request: csi.NodePublishVolumeRequest) -> None:
        for field in fields:
            request.ClearField(field)

    return change


MISSING: dict[str, tuple[Change, str]] = {
    "all": (lambda r: r.Clear(), "Volume ID missing in request"),
    "volume id": (clears("volume_id"), "Volume ID missing in request"),
    "target": (clears("target_path"), "Target path missing in request"),
    "target and capability": (clears("target_path", "volume_capability"), "Target path missing in request"),
    "capability": (clears("volume_capability"), "Volume capability missing in request"),
    "capability and context": (clears("volume_capability", "volume_context"), "Volume capability missing in request"),
    "context": (lambda r: r.volume_context.clear(), "Volume attributes missing in request"),
    "readonly": (clears("readonly"), "Readonly is not true in request"),
    "class": (lambda r: r.volume_context.pop("secretProviderClass"), "secretProviderClass is not set"),
    "ephemeral": (lambda r: r.volume_context.pop(INFO + "ephemeral"), "podInfoOnMount: true"),
    "pod name": (lambda r: r.volume_context.pop(INFO + "pod.name"), INFO + "pod.name missing"),
    "namespace": (lambda r: r.volume_context.pop(INFO + "pod.namespace"), INFO + "pod.namespace missing"),
    "pod uid": (lambda r: r.volume_context.pop(INFO + "pod.uid"), INFO + "pod.uid missing"),
    "account": (lambda r: r.volume_context.pop(INFO + "serviceAccount.name"), INFO + "serviceAccount.name missing"),
}

MALFORMED: dict[str, tuple[Change, str]] = {
    "long volume id": (lambda r: setattr(r, "volume_id", "v" * 129), "longer than 128 bytes"),
    "volume id with a slash": (lambda r: setattr(r, "volume_id", "../../etc"), 'Volume ID in request holds "/"'),
    "volume id with a newline": (lambda r: setattr(r, "volume_id", "a\nb"), "unprintable"),
    "relative target": (lambda r: setattr(r, "target_path", "var/lib/kubelet"), "not absolute"),
    "climbing target": (lambda r: setattr(r, "target_path", f"{r.target_path}/../../x"), 'holds ".."'),
    "target with a NUL": (lambda r: setattr(r, "target_path", f"{r.target_path}\0x"), "NUL"),
    "long target": (lambda r: setattr(r, "target_path", "/" + "x" * 4096), "longer than 4095 bytes"),
    "root as target": (lambda r: setattr(r, "target_path", "/"), "not a plain directory path"),
    "block device": (lambda r: r.volume_capability.block.SetInParent(), "remove volumeMode"),
    "group that is no number": (
        lambda r: setattr(r.volume_capability.mount, "volume_mount_group", "wheel"),
        "volume_mount_group in request is not a group id",
    ),
    "group out of range": (
        lambda r: setattr(r.volume_capability.mount, "volume_mount_group", "4294967295"),
        "between 0 and 4294967294",
    ),
    "persistent volume": (lambda r: r.volume_context.update({INFO + "ephemeral": "false"}), "Persistent volumes"),
    "class that is a path": (lambda r: r.volume_context.update({"secretProviderClass": "../other"}), "not a valid"),
    "namespace with a wildcard": (lambda r: r.volume_context.update({INFO + "pod.namespace": "*"}), "not a valid"),
    "account with a slash": (lambda r: r.volume_context.update({INFO + "serviceAccount.name": "a/b"}), "not a valid"),
    "tokens that are no JSON": (lambda r: r.volume_context.update({TOKENS: "{"}), "not kubelet's JSON"),
    "tokens of another shape": (lambda r: r.volume_context.update({TOKENS: '{"vault": "x"}'}), "not kubelet's JSON"),
    "tokens in secrets": (lambda r: r.secrets.update({TOKENS: "[]"}), f"{TOKENS} in secrets"),
}


@pytest.mark.parametrize(("change", "text"), [*MISSING.values(), *MALFORMED.values()], ids=[*MISSING, *MALFORMED])
async def test_bad_publish_argument(world: World, change: Change, text: str) -> None:
    """A request that cannot work is INVALID_ARGUMENT, names what to mend and leaves nothing; mended, it works."""
    pod = await world.pod()
    good = await world.kubelet.request(pod, "secrets")
    bad = csi.NodePublishVolumeRequest()
    bad.CopyFrom(good)
    change(bad)
    attempt = call(world.node.endpoint, "NodePublishVolume", bad, csi.NodePublishVolumeResponse)
    code, said = await world.refused(attempt, pod)

    assert code == "INVALID_ARGUMENT"
    assert text in said
    await call(world.node.endpoint, "NodePublishVolume", good, csi.NodePublishVolumeResponse)
    assert (world.kubelet.target(pod, "secrets") / "password").read_text() == "tiger"


@pytest.mark.parametrize(
    ("volume_id", "target", "text"),
    [
        ("", "/tmp/x", "Volume ID missing in request"),
        ("csi-1", "", "Target path missing in request"),
        ("", "", "Volume ID missing in request"),
        ("../x", "/tmp/x", "Volume ID in request"),
        ("csi-1", "tmp/x", "not absolute"),
        ("csi-1", "/tmp/../etc", "not a plain directory path"),
    ],
)
async def test_bad_unpublish_argument(node: NodeDriver, volume_id: str, target: str, text: str) -> None:
    """An unpublish that names no volume or no plain path is INVALID_ARGUMENT."""
    request = csi.NodeUnpublishVolumeRequest(volume_id=volume_id, target_path=target)
    code, said = await refusal(node.endpoint, "NodeUnpublishVolume", request)

    assert code == "INVALID_ARGUMENT"
    assert text in said


async def test_publish_elsewhere(world: World) -> None:
    """A published volume cannot be published at another path; the mount that stands is not touched."""
    pod = await world.pod()
    target = await world.kubelet.publish(pod, "secrets")
    request = await world.kubelet.request(pod, "secrets")
    request.target_path += "-elsewhere"
    code, said = await refusal(world.node.endpoint, "NodePublishVolume", request)

    assert code == "ALREADY_EXISTS"
    assert "unpublish it first" in said
    assert (target / "password").read_text() == "tiger"
    assert not target.with_name("mount-elsewhere").exists()


async def test_publish_another_class(world: World) -> None:
    """A published volume cannot become another class's."""
    await world.vault_class("user", "user=db:user")
    pod = await world.pod()
    target = await world.kubelet.publish(pod, "secrets")
    code, said = await refusal(world.node.endpoint, "NodePublishVolume", await world.kubelet.request(pod, "user"))

    assert code == "ALREADY_EXISTS"
    assert "class secrets" in said
    assert (target / "password").read_text() == "tiger"


async def test_foreign_bytes(node: NodeDriver) -> None:
    """A call that is no protobuf of its method is refused, and the driver goes on."""
    async with grpc.aio.insecure_channel(node.endpoint) as channel:
        rpc = channel.unary_unary(f"/{NODE}/NodePublishVolume")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await rpc(b"\xff\xff\xff\xff")

    assert raised.value.code() in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
    await test_probe(node)
