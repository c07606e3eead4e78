"""Answers the CSI Identity service: who this plugin is and whether it can work."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf import wrappers_pb2

from keyferry.proto.csi.v1 import csi_pb2


class Identity:
    """The Identity service (CSI spec, "Identity Service RPC").

    Answers that never change are attributes: the serialised response itself, built once.

    Attributes:
        GetPluginInfo: The driver's name and version.
        GetPluginCapabilities: None at all: there is no controller service to look for, and no topology.
    """

    def __init__(self, *, name: str, version: str, ready: Callable[[], bool]) -> None:
        self.GetPluginInfo = csi_pb2.GetPluginInfoResponse(name=name, vendor_version=version).SerializeToString()
        self.GetPluginCapabilities = csi_pb2.GetPluginCapabilitiesResponse().SerializeToString()
        self._ready = ready

    async def Probe(self, _request: csi_pb2.ProbeRequest, _call: object) -> csi_pb2.ProbeResponse:  # noqa: N802 - the RPC
        """Whether the driver could serve a mount now."""
        return csi_pb2.ProbeResponse(ready=wrappers_pb2.BoolValue(value=self._ready()))
