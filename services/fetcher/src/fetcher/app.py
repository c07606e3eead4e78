"""All the wiring of the fetcher on one screen."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from fetcher.admission import Admission
from fetcher.alone import Alone
from fetcher.announce import Announcer
from fetcher.backends import Calling
from fetcher.boxes import Boxes
from fetcher.budgets import Budgets
from fetcher.claims import Claims
from fetcher.classes import Classes, ServiceAccounts
from fetcher.coalesce import Coalescer
from fetcher.endings import Endings
from fetcher.fetch import Fetch
from fetcher.identity import TokenVerifier
from fetcher.nodes import Nodes
from fetcher.providers import open_providers
from fetcher.settings import Settings
from fetcher.shared import Shared
from fetcher.stale import LastKnown
from fetcher.turns import Turns
from keyferry.audit import written_to
from keyferry.bus import connect
from keyferry.health import Readiness
from keyferry.keys import FetcherKeys, KeyFile, PublicKeys
from keyferry.kube import connect as connect_kube
from keyferry.store import connect_store
from keyferry.streams import ENDINGS, MOUNTS, REFRESHES

_ENDINGS_AT_ONCE = 16


async def serve(settings: Settings, ready: Readiness) -> None:
    """Answer requests until cancelled."""
    keys, public = KeyFile.fetcher(Path(settings.keys_dir)), KeyFile.public(Path(settings.keys_dir))
    with written_to(settings.audit_log, "fetcher"):
        await _serve(settings, ready, keys, public)


async def _serve(settings: Settings, ready: Readiness, keys: KeyFile[FetcherKeys], public: KeyFile[PublicKeys]) -> None:
    async with (
        connect(settings.nats_url, name="fetcher", access=settings.access) as bus,
        connect_kube(settings.kubeconfig or None, user_agent="keyferry-fetcher") as kube,
        connect_store(
            settings.redis_url, name="fetcher", ca_file=settings.redis_ca_file, any_version=settings.redis_any_version
        ) as store,
        open_providers(settings.providers, os.environ) as providers,
        asyncio.TaskGroup() as tasks,
    ):
        tokens, classes, accounts = TokenVerifier(kube), Classes(kube), ServiceAccounts(kube)
        shared, alone = Shared(store, Boxes(keys)), Alone(Budgets(), settings.sharing_bytes)
        coalescer = Coalescer(Claims(shared, alone), window=settings.sharing_window, max_bytes=settings.sharing_bytes)
        announcer = Announcer(bus, keys, public)
        endings = Endings(shared, alone, coalescer, providers, settings.fetch_timeout)
        admission = Admission(settings, tokens) if settings.callout_dir else None
        fetch = Fetch(
            bus=bus,
            keys=keys,
            tokens=tokens,
            classes=classes,
            accounts=accounts,
            nodes=Nodes(kube),
            providers=providers,
            coalescer=coalescer,
            calling=Calling(keys, Turns(settings.backend_calls), settings.backend_rate, settings.fetch_timeout),
            last_known=LastKnown(shared, alone),
            announcer=announcer,
        )

        def missing() -> list[str]:
            checks = {
                "NATS is not connected": bus.is_connected,
                "the issuer's keys are not known": tokens.ready,
                "SecretProviderClasses are not listed": classes.watched.synced,
                "ServiceAccounts are not listed": accounts.watched.synced,
            }
            absent = [text for text, holds in checks.items() if not holds]
            return absent + (admission.missing() if admission else [])

        for lasting in (tokens, classes, accounts, announcer):
            tasks.create_task(lasting.run())
        tasks.create_task(bus.consume(MOUNTS, fetch, concurrency=settings.mounts))
        tasks.create_task(bus.consume(REFRESHES, fetch, concurrency=settings.refreshes))
        tasks.create_task(bus.consume(ENDINGS, endings, concurrency=_ENDINGS_AT_ONCE))
        if admission:
            tasks.create_task(admission.run())
        ready.wait_for(missing)
