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
from syncer.settings import Settings
from syncer.sync import Sync, Tools


async def serve(settings: Settings, ready: Readiness) -> None:
    """Keep the cluster in step until cancelled."""
    keys_dir = Path(settings.keys_dir)
    public, keys = KeyFile.public(keys_dir), KeyFile.syncer(keys_dir)
    # A pod's name is enough: who restarts in it knows that the holder of its Lease is dead.
    identity = settings.identity or f"{socket.gethostname()}-{secrets.token_hex(4)}"
    async with (
        connect(settings.nats_url, name="syncer", access=settings.access) as bus,
        connect_kube(settings.kubeconfig or None, user_agent="keyferry-syncer") as kube,
    ):
        leader = Leader(kube, namespace=settings.namespace, identity=identity, seconds=settings.lease)
        tools = Tools(bus, kube, Contents(bus, public, keys))
        terms: list[Sync] = []

        def missing() -> list[str]:
            # A replica that waits for its turn is ready: it is the next.
            away = [] if bus.is_connected else ["NATS is not connected"]
            return away + leader.missing() + [text for term in terms for text in term.missing()]

        async def term() -> None:
            terms[:] = [Sync(tools, secrets=settings.secrets)]
            try:
                await terms[0].run()
            finally:
                terms.clear()

        ready.wait_for(missing)
        await leader.run(term)
