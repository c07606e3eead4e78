"""All the wiring of the syncer on one screen."""

from __future__ import annotations

import secrets
import socket
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from keyferry.bus import connect
from keyferry.health import Readiness
from keyferry.keys import KeyFile
from keyferry.kube import connect as connect_kube
from keyferry.resources import SYNCER_NODE
from keyferry.sealing import OpeningKey
from keyferry.subjects import inbox_prefix
from syncer.asking import Asking
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
        AsyncExitStack() as more,
    ):
        leader = Leader(kube, namespace=settings.namespace, identity=identity, seconds=settings.lease)
        asking = None
        if settings.secret_syncs:
            # Apart, since it hears answers in a node's place.
            inbox, own_key = inbox_prefix(SYNCER_NODE), OpeningKey.generate(f"syncer-{secrets.token_hex(4)}")
            line = connect(settings.nats_url, name="syncer-asking", inbox=inbox, access=settings.access)
            asking = Asking(kube, await more.enter_async_context(line), public, own_key)
        tools = Tools(bus, kube, Contents(bus, public, keys), asking, settings.secret_sync_interval)
        tools = replace(tools, rollouts=settings.rollouts, rollout_pause=settings.rollout_pause)
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
