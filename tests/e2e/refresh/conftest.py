"""Plays the rotator: hints to nodes over the bus, and hears what they tell of their volumes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from keyferry.changes import Due, RefreshVolumes
from keyferry.events import RefreshFailed, VolumeEvent, VolumePublished, VolumeRefreshed, volume_event
from keyferry.kube import Json
from keyferry.subjects import hint_subject
from keyferry.testing.otlp import Otlp, otlp_receiver
from keyferry.testing.proxy import CountingProxy, counting_proxy
from keyferry.testing.services import NodeDriver, Service
from keyferry.testing.stack import Stack
from keyferry.testing.world import World

if TYPE_CHECKING:
    from tests.e2e.conftest import Settle

Answer = VolumeRefreshed | RefreshFailed


@dataclass
class Rotator:
    """A connection that hints to one node.

    Attributes:
        client: Of the bus.
        node: Whom it hints to.
        heard: What was told of volumes, in order.
    """

    client: Client
    node: str
    heard: list[VolumeEvent] = field(default_factory=list)

    async def hear(self, message: Msg) -> None:
        """Keep a word on a volume."""
        self.heard.append(volume_event(message.data))

    async def hint(self, *due: Due) -> None:
        """Tell what is due."""
        await self.send(RefreshVolumes(due).to_bytes())

    async def send(self, payload: bytes) -> None:
        """Send anything at all where hints are sent."""
        await self.client.publish(hint_subject(self.node), payload)
        await self.client.flush()

    def answers(self, volume_id: str, not_before_ms: int) -> list[Answer]:
        """What was told of a volume since it was hinted."""
        return [
            word
            for word in self.heard
            if isinstance(word, VolumeRefreshed | RefreshFailed)
            and word.volume.volume_id == volume_id
            and (word.asked_for_ms if isinstance(word, RefreshFailed) else word.volume.fetched_at_ms) >= not_before_ms
        ]

    async def published(self, volume_id: str) -> VolumePublished:
        """The word on a new volume, as soon as it has come."""
        async with asyncio.timeout(20):
            while True:
                for word in reversed(self.heard):
                    if isinstance(word, VolumePublished) and word.volume_id == volume_id:
                        return word
                await asyncio.sleep(0.01)

    async def refresh(self, *volume_ids: str, repeat: float = 2.0, within: float = 40.0) -> list[Answer]:
        """Hint, as often as it takes, until each volume is told of; returns the first word on each."""
        now_ms, hinted = int(time.time() * 1000), -repeat
        async with asyncio.timeout(within):
            while missing := tuple(each for each in volume_ids if not self.answers(each, now_ms)):
                if time.monotonic() >= hinted + repeat:
                    await self.hint(Due("", now_ms, missing))
                    hinted = time.monotonic()
                await asyncio.sleep(0.01)
        return [self.answers(each, now_ms)[0] for each in volume_ids]


@dataclass(frozen=True)
class Shop:
    """A namespace with a secret `db`, a class `secrets` that mounts it through a proxy, and the rotator of its node."""

    world: World
    proxy: CountingProxy
    rotator: Rotator
    fetcher: Service

    READ = "GET /v1/secret/data"

    async def mount(self, class_name: str = "secrets") -> tuple[Json, Path, str]:
        """Mount a new pod's volume: the pod, where, and the volume's id."""
        pod = await self.world.pod(class_name)
        return pod, await self.world.kubelet.publish(pod, class_name), self.world.kubelet.handle(pod, "secrets")

    async def rotate(self, **values: Any) -> None:
        """Give the secret new values."""
        await self.world.secret("db", **values)

    @property
    def reads(self) -> int:
        """How often the backend was asked for a secret."""
        return self.proxy.count(self.READ)


@pytest.fixture(scope="module")
def driver(breakable: Stack) -> Iterator[tuple[NodeDriver, Service]]:
    """A node and a fetcher that tests of a file break and mend."""
    with breakable.fetcher(KEYFERRY_VAULT_TIMEOUT="3s") as fetcher, breakable.node_driver() as node:
        yield node, fetcher


@pytest.fixture
async def shop(breakable: Stack, driver: tuple[NodeDriver, Service], settle: Settle) -> AsyncIterator[Shop]:
    """A namespace on that node, with a rotator."""
    node, fetcher = driver
    assert node.process.is_running, "a test before this one left the driver dead"
    async with opened(breakable, await settle(node), fetcher) as shop:
        yield shop


@asynccontextmanager
async def opened(stack: Stack, world: World, fetcher: Service) -> AsyncIterator[Shop]:
    """A shop in a namespace."""
    client = await nats.connect(stack.nats.url)
    async with counting_proxy(stack.openbao.address) as proxy:
        rotator = Rotator(client, world.node.node)
        await client.subscribe("keyferry.volume.>", cb=rotator.hear)
        await client.flush()
        await world.secret("db", password="tiger", user="app")
        await world.vault_class(vaultAddress=proxy.url)
        await world.vault_class("both", "password=db:password", "user=db:user", vaultAddress=proxy.url)
        yield Shop(world, proxy, rotator, fetcher)
        await client.close()


@pytest.fixture
async def observed(own: Stack, settle: Settle) -> AsyncIterator[tuple[Shop, Otlp]]:
    """A shop whose node and fetcher send their spans to the test."""
    async with otlp_receiver() as otlp:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp.url}
        with own.fetcher(**env) as fetcher, own.node_driver(**env) as node:
            async with opened(own, await settle(node), fetcher) as shop:
                yield shop, otlp
            # In threads: while they stop they send their last spans to this loop.
            await asyncio.gather(*(asyncio.to_thread(each.process.stop) for each in (fetcher, node)))


@pytest.fixture
def running() -> Iterator[ExitStack]:
    """What a test starts, stopped at its end."""
    with ExitStack() as running:
        yield running
