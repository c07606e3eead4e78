"""What an operator can tell the node-driver."""

from __future__ import annotations

from dataclasses import dataclass

from keyferry.resources import DRIVER_NAME
from keyferry.service import ServiceSettings
from keyferry.settings import count, interval, setting, size


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(ServiceSettings):
    """Read from the environment once, in `keyferry.service.run`."""

    node: str = setting("KEYFERRY_NODE_NAME", "name of this node, as Kubernetes knows it (spec.nodeName)")
    driver_name: str = setting("KEYFERRY_DRIVER_NAME", "name of the CSI driver that pods ask for", default=DRIVER_NAME)
    endpoint: str = setting(
        "KEYFERRY_CSI_ENDPOINT",
        "socket that kubelet calls",
        default="unix:///var/lib/kubelet/plugins/csi-secrets-store/csi.sock",
    )
    plugins_registry: str = setting(
        "KEYFERRY_PLUGINS_REGISTRY",
        "folder where kubelet looks for drivers to register",
        default="/var/lib/kubelet/plugins_registry",
    )
    state_dir: str = setting(
        "KEYFERRY_STATE_DIR",
        "folder on the host for the records of published volumes; holds no secret",
        default="/var/lib/kubelet/plugins/csi-secrets-store/volumes",
    )
    volume_bytes: int = setting(
        "KEYFERRY_VOLUME_SIZE",
        "limit of one volume's tmpfs; a content of 4Mi is there twice while it is switched",
        default=16 * 1024**2,
        parse=size,
    )
    volume_inodes: int = setting(
        "KEYFERRY_VOLUME_INODES",
        "limit of files, folders and symlinks of one volume; each file takes two, twice while it is switched",
        default=16384,
        parse=count,
    )
    rotation_interval: float = setting(
        "KEYFERRY_ROTATION_INTERVAL",
        "how often volumes are refreshed whose class says nothing; after twice that without a hint the node refreshes "
        "by itself at kubelet's next republish; off never does",
        default=120.0,
        parse=interval,
    )
