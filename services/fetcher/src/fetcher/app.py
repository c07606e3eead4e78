"""All the wiring of the fetcher on one screen."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from fetcher.classes import Classes, ServiceAccounts
from fetcher.coalesce import Coalescer
from fetcher.fetch import Fetch
from fetcher.identity import TokenVerifier
from fetcher.nodes import Nodes
from fetcher.providers import open_providers
from fetcher.settings import Settings
from keyferry.bus import connect
from keyferry.health import Readiness
from keyferry.keys import KeyFile
from keyferry.kube import connect as connect_kube
from keyferry.streams import MOUNTS, REFRESHES


async def serve(settings: Settings, ready: Readiness) -> None:
    """Answer requests until cancelled."""
    keys = KeyFile.fetcher(Path(settings.keys_dir))
    async with (
        connect(settings.nats_url, name="fetcher") as bus,
        connect_kube(settings.kubeconfig or None, user_agent="keyferry-fetcher") as kube,
        open_providers(settings.providers, os.environ) as providers,
        asyncio.TaskGroup() as tasks,
    ):
        tokens, classes, accounts = TokenVerifier(kube), Classes(kube), ServiceAccounts(kube)
        fetch = Fetch(
            bus=bus,
            keys=keys,
            tokens=tokens,
            classes=classes,
            accounts=accounts,
            nodes=Nodes(kube),
            providers=providers,
            coalescer=Coalescer(window=settings.sharing_window, max_bytes=settings.sharing_bytes),
            fetch_seconds=settings.fetch_timeout,
        )

        def missing() -> list[str]:
            checks = {
                "NATS is not connected": bus.is_connected,
                "the issuer's keys are not known": tokens.ready,
                "SecretProviderClasses are not listed": classes.watched.synced,
                "ServiceAccounts are not listed": accounts.watched.synced,
            }
            return [text for text, holds in checks.items() if not holds]

        for cache in (tokens, classes, accounts):
            tasks.create_task(cache.run())
        tasks.create_task(bus.consume(MOUNTS, fetch, concurrency=settings.mounts))
        tasks.create_task(bus.consume(REFRESHES, fetch, concurrency=settings.refreshes))
        ready.wait_for(missing)
