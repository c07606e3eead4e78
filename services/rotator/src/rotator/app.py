"""All the wiring of the rotator on one screen."""

from __future__ import annotations

import asyncio
import importlib
import os

from keyferry.bus import connect
from keyferry.health import Readiness
from keyferry.store import connect_store
from keyferry.streams import SCHEDULE_CHANGES, SCHEDULE_VOLUMES
from rotator.gathering import Gathering
from rotator.listen import Listener, emitter
from rotator.rebuild import Rebuild
from rotator.rotate import Rotation
from rotator.schedule import Policy, Schedule
from rotator.settings import Settings
from rotator.sources import run_sources

_CHANGES_AT_ONCE = 16


async def serve(settings: Settings, ready: Readiness) -> None:
    """Rotate until cancelled."""
    policy = Policy(
        interval_ms=int(settings.interval * 1000),
        change_pause_ms=int(settings.change_pause * 1000),
        change_spread_ms=int(settings.change_spread * 1000),
        end_after_ms=int(settings.end_after * 1000),
    )
    async with (
        connect(settings.nats_url, name="rotator", access=settings.access) as bus,
        connect_store(
            settings.redis_url, name="rotator", ca_file=settings.redis_ca_file, any_version=settings.redis_any_version
        ) as store,
        asyncio.TaskGroup() as tasks,
    ):
        schedule = Schedule(store, policy)
        rotation, rebuild = Rotation(schedule, bus), Rebuild(schedule, bus)
        listener = Listener(schedule, Gathering(schedule, places=settings.concurrency).tell, rotation.stir)

        def missing() -> list[str]:
            checks = {
                "NATS is not connected": bus.is_connected,
                "Redis does not answer": store.is_connected,
                "the schedule is being made from what nodes told": rebuild.is_complete,
            }
            return [text for text, holds in checks.items() if not holds]

        tasks.create_task(bus.consume(SCHEDULE_VOLUMES, listener.volume, concurrency=settings.concurrency))
        tasks.create_task(bus.consume(SCHEDULE_CHANGES, listener.change, concurrency=_CHANGES_AT_ONCE))
        tasks.create_task(rotation.run())
        tasks.create_task(rebuild.run())
        tasks.create_task(rebuild.run_sweeps(settings.sweep_interval))
        tasks.create_task(run_sources(os.environ, emitter(bus)))
        if settings.ui_address:  # imported when wanted: without the page there is no client of Kubernetes in here
            page = importlib.import_module("rotator.ui.page")
            tasks.create_task(page.serve_page(settings, bus, store, missing))
        ready.wait_for(missing)
