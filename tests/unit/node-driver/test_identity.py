import pytest

from keyferry.proto.csi.v1 import csi_pb2
from node_driver.identity import Identity


def identity(*, ready: bool = True) -> Identity:
    return Identity(name="secrets-store.csi.k8s.io", version="0.1.0", ready=lambda: ready)


def test_the_plugin_names_itself() -> None:
    """Kubelet and csi-sanity read name and version from a constant answer."""
    info = csi_pb2.GetPluginInfoResponse.FromString(identity().GetPluginInfo)

    assert (info.name, info.vendor_version) == ("secrets-store.csi.k8s.io", "0.1.0")


def test_the_plugin_promises_no_service_that_it_lacks() -> None:
    """There is no controller service, so none is announced, unlike upstream."""
    answer = csi_pb2.GetPluginCapabilitiesResponse.FromString(identity().GetPluginCapabilities)

    assert list(answer.capabilities) == []


@pytest.mark.parametrize("ready", [True, False])
async def test_a_probe_says_whether_the_driver_is_ready(*, ready: bool) -> None:
    """The answer is what the driver knows now, stated explicitly either way."""
    answer = await identity(ready=ready).Probe(csi_pb2.ProbeRequest(), None)

    assert answer.HasField("ready")
    assert answer.ready.value is ready
