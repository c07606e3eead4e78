"""All the wiring of the syncer on one screen."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

from keyferry.bus import connect
from keyferry.health import Readiness
from keyferry.keys import KeyFile
from keyferry.kube import connect as connect_kube
from syncer.contents import Contents
from syncer.leader import Leader
from syncer.reporting import Reporter
from syncer.settings import Settings
from syncer.sync import Sync, Tools


async def serve(settings: Settings, ready: Readiness) -> None:
    """Keep the cluster in step until cancelled."""
    keys_dir = Path(settings.keys_dir)
    public, keys = KeyFile.public(keys_dir), KeyFile.syncer(keys_dir)
    identity = settings.identity or f"{socket.gethostname()}-{secrets.token_hex(4)}"
    async with (
        connect(settings.nats_url, name="syncer") as bus,
        connect_kube(settings.kubeconfig or None, user_agent="keyferry-syncer") as kube,
    ):
        leader = Leader(kube, namespace=settings.namespace, identity=identity)
        tools = Tools(bus, kube, Contents(bus, public, keys), Reporter(kube))
        ready.wait_for(lambda: [] if bus.is_connected else ["NATS is not connected"])
        await leader.run(lambda: Sync(tools, secrets=settings.secrets).run())
