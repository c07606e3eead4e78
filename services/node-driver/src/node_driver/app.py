"""All the wiring of the node-driver on one screen."""

from __future__ import annotations

import asyncio
import logging
import secrets
from importlib.metadata import version
from pathlib import Path

from keyferry.bus import Bus, connect
from keyferry.health import Readiness
from keyferry.keys import KeyFile
from keyferry.proto.csi.v1 import csi_pb2
from keyferry.rpc import serve as serve_rpc
from keyferry.sealing import OpeningKey
from keyferry.subjects import hint_subject, inbox_prefix
from node_driver.announce import Announcer
from node_driver.ask import Asking
from node_driver.identity import Identity
from node_driver.node import Node
from node_driver.publish import Limits, Publisher
from node_driver.published import Published
from node_driver.records import Records
from node_driver.refresh import Refresher
from node_driver.registration import registered
from node_driver.settings import Settings

log = logging.getLogger(__name__)

HINTS = "keyferry.refresh"  # what `hint_subject` begins with, for spans and metrics


async def serve(settings: Settings, ready: Readiness) -> None:
    """Serve kubelet until cancelled."""
    services = csi_pb2.DESCRIPTOR.services_by_name
    kubelet_says: list[str] = ["kubelet has not registered the driver yet"]

    def on_registration(problem: str | None) -> None:
        kubelet_says[:] = [f"kubelet did not register the driver: {problem}"] if problem else []

    inbox = inbox_prefix(settings.node)
    async with connect(settings.nats_url, name="node-driver", inbox=inbox, access=settings.access) as bus:

        def missing() -> list[str]:
            return [*([] if bus.is_connected else ["NATS is not connected"]), *kubelet_says]

        identity = Identity(name=settings.driver_name, version=version("node-driver"), ready=lambda: bus.is_connected)
        async with asyncio.TaskGroup() as tasks:
            publisher, refresher, announcer = _volumes(settings, bus, tasks)
            publisher.adopt()
            served = {services["Identity"]: identity, services["Node"]: Node(node=settings.node, publisher=publisher)}
            async with (
                serve_rpc(settings.endpoint, served),
                registered(
                    Path(settings.plugins_registry) / f"{settings.driver_name}-reg.sock",
                    driver=settings.driver_name,
                    endpoint=settings.endpoint.removeprefix("unix://"),
                    on_status=on_registration,
                ),
            ):
                tasks.create_task(bus.listen(hint_subject(settings.node), refresher.hear, destination=HINTS))
                ready.wait_for(missing)
                log.info("serving kubelet", extra={"endpoint": settings.endpoint})
                await tasks.create_task(announcer.run())


def _volumes(settings: Settings, bus: Bus, tasks: asyncio.TaskGroup) -> tuple[Publisher, Refresher, Announcer]:
    """What publishes volumes, what keeps them current, and what tells of them: all on the same volumes."""
    published: dict[str, Published] = {}
    own_key = OpeningKey.generate(f"node-{secrets.token_hex(4)}")
    asking = Asking(bus, KeyFile.public(Path(settings.keys_dir)), settings.node, own_key)
    records, announcer = Records(settings.state_dir), Announcer(bus, settings.node)
    refresher = Refresher(
        published=published,
        asking=asking,
        records=records,
        announcer=announcer,
        tasks=tasks,
        interval=settings.rotation_interval,
    )
    publisher = Publisher(
        published=published,
        refresher=refresher,
        asking=asking,
        records=records,
        announcer=announcer,
        limits=Limits(settings.volume_bytes, settings.volume_inodes),
    )
    return publisher, refresher, announcer
