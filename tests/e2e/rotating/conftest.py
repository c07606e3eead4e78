"""The whole of rotation as a cluster runs it: three fetchers, two rotators and two nodes around one Valkey."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from keyferry.changes import BackendChanged, EndContent, RefreshVolumes
from keyferry.errors import UntrustedMessage
from keyferry.events import VolumeEvent, VolumePublished, VolumeUnpublished, volume_event
from keyferry.kube import Json
from keyferry.subjects import END_SUBJECT, change_subject
from keyferry.testing import services
from keyferry.testing.nats import nats_server
from keyferry.testing.services import NodeDriver, Service
from keyferry.testing.stack import Stack
from keyferry.testing.valkey import valkey_server
from keyferry.testing.world import NOT_FINAL, World
from tests.e2e.rotating.watching import Watcher

if TYPE_CHECKING:
    from tests.e2e.conftest import Settle

END_AFTER = "1s"
PATIENCE = 60.0
"""Seconds that anything may take on a machine that others use as well."""


@dataclass(frozen=True)
class Fleet:
    """A cluster's services, all running; who breaks one mends it."""

    stack: Stack
    fetchers: tuple[Service, ...]
    rotators: tuple[Service, ...]
    nodes: tuple[NodeDriver, ...]

    @property
    def services(self) -> tuple[Service, ...]:
        """All of them."""
        return (*self.fetchers, *self.rotators, *self.nodes)


@pytest.fixture(scope="session")
def fleet(servers: Stack, place: Path) -> Iterator[Fleet]:
    """Classes rotate only if they say so, or if something changes; contents end soon."""
    directory = place / uuid.uuid4().hex[:6]
    with ExitStack() as exits:
        bus = exits.enter_context(nats_server(directory / "nats"))
        valkey = exits.enter_context(valkey_server(directory / "valkey"))
        services.prepare(bus.url, directory / "keys")
        stack = replace(servers, directory=directory, nats=bus, valkey=valkey)
        yield started(stack, exits)


def started(stack: Stack, exits: ExitStack, **env: str) -> Fleet:
    """A fleet on these servers, until the exit stack ends it."""
    pauses = {"KEYFERRY_ROTATION_CHANGE_PAUSE": "200ms", "KEYFERRY_ROTATION_CHANGE_SPREAD": "2s"}
    rotator = {"KEYFERRY_ROTATION_INTERVAL": "1h", **pauses, **env}
    starting: list[Callable[[], Any]] = [
        *(lambda: stack.fetcher(KEYFERRY_VAULT_TIMEOUT="2s", **env) for _ in range(3)),
        *(lambda: stack.rotator(KEYFERRY_ROTATION_END_AFTER=END_AFTER, **rotator) for _ in range(2)),
        *(lambda name=name: stack.node_driver(name, KEYFERRY_ROTATION_INTERVAL="1h", **env) for name in "ab"),
    ]
    with ThreadPoolExecutor(len(starting)) as pool:
        running = list(pool.map(lambda start: exits.enter_context(start()), starting))
    return Fleet(stack, tuple(running[:3]), tuple(running[3:5]), tuple(running[5:]))


@dataclass(frozen=True)
class Mounted:
    """A volume of a pod."""

    world: World
    pod: Json
    class_name: str
    target: Path

    @property
    def id(self) -> str:
        """Kubelet's id of it."""
        return self.world.kubelet.handle(self.pod, "secrets")

    @property
    def password(self) -> str:
        """What the pod reads."""
        return (self.target / "password").read_text()

    async def republish(self) -> None:
        """Bring fresh tokens, as kubelet does every minute or so."""
        await self.world.kubelet.publish(self.pod, self.class_name, seconds=5.0)


@dataclass
class Scene:
    """A namespace on a fleet, and all that is said on the bus of its volumes.

    Attributes:
        fleet: What runs.
        world: The namespace, seen from the first node.
        client: Of the bus.
        words: What nodes told of their volumes.
        hints: What rotators told nodes.
        ended: Contents whose end rotators told.
        mounted: What `mount` made and nobody unmounted.
    """

    fleet: Fleet
    world: World
    client: Client
    words: list[VolumeEvent] = field(default_factory=list)
    hints: list[tuple[str, bytes]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    mounted: list[Mounted] = field(default_factory=list)

    async def hear(self, message: Msg) -> None:
        """Keep a message of the bus."""
        if message.subject == END_SUBJECT:
            self.ended.append(EndContent.from_bytes(message.data).content_key)
        elif message.subject.startswith("keyferry.refresh."):
            self.hints.append((message.subject, message.data))
        else:
            try:
                self.words.append(volume_event(message.data))
            except UntrustedMessage:
                return  # a test's own

    async def make_class(self, name: str = "secrets", *objects: Any, every: str = "0", **parameters: str) -> str:
        """A class of the vault provider that is asked for again so often; files `password` and `user` by default."""
        await self.world.vault_class(name, *(objects or ("password=db:password", "user=db:user")), **parameters)
        await self.annotate(name, rotation_interval=every)
        return name

    async def annotate(self, class_name: str = "secrets", **annotations: str) -> None:
        """Annotate a class."""
        named = {f"keyferry.io/{name.replace('_', '-')}": value for name, value in annotations.items()}
        await self.patch(class_name, {"metadata": {"annotations": named}})

    async def patch(self, class_name: str, body: Json) -> None:
        """Edit a class."""
        kind = "application/merge-patch+json"
        assert await self.world.kube.call("PATCH", self.path(class_name), body=body, content_type=kind)

    def path(self, class_name: str) -> str:
        """Of a class in the Kubernetes API."""
        version = "/apis/secrets-store.csi.x-k8s.io/v1"
        return f"{version}/namespaces/{self.world.namespace}/secretproviderclasses/{class_name}"

    async def rotate(self, number: int, name: str = "db") -> None:
        """Give the secret new values, both the same."""
        await self.world.secret(name, password=value(number), user=value(number))

    async def mount(self, class_name: str = "secrets", *, node: int = 0) -> Mounted:
        """Mount a new pod's volume."""
        world = self.world.on(self.fleet.nodes[node])
        pod = await world.pod(class_name)
        mounted = Mounted(world, pod, class_name, await world.mounted(pod, class_name))
        self.mounted.append(mounted)
        return mounted

    async def mount_all(self, each: int = 2, class_name: str = "secrets") -> list[Mounted]:
        """Mount some on each node."""
        nodes = range(len(self.fleet.nodes))
        return await asyncio.gather(*(self.mount(class_name, node=node) for node in nodes for _ in range(each)))

    async def unmount(self, *volumes: Mounted) -> None:
        """Their pods are gone."""
        for each in volumes:
            await each.world.kubelet.unpublish(each.pod)
            self.mounted.remove(each)

    async def change(self, *secrets: str) -> None:
        """Tell of a change, as a source of events does."""
        event = self.event(*secrets, event_id=uuid.uuid4().hex)
        await self.client.jetstream().publish(change_subject("vault"), event.to_bytes())

    def event(self, *secrets: str, event_id: str) -> BackendChanged:
        """That secrets have changed; none stands for everything."""
        sources = tuple(self.world.path(secret) for secret in secrets)
        return BackendChanged("vault", sources, int(time.time() * 1000), event_id)

    def reads(self, name: str = "db") -> int:
        """How often OpenBao was asked for a secret."""
        return self.world.servers.openbao.count_requests(self.world.path(name), operation="read")

    def told(self, volume: Mounted, kind: type[VolumeEvent] | Any = object) -> list[Any]:
        """What was told of a volume."""
        return [word for word in self.words if isinstance(word, kind) and about(word).volume_id == volume.id]

    def key(self, volume: Mounted) -> str:
        """Which content a volume was last told to hold."""
        told = (about(word) for word in self.told(volume))
        return [state.content_key for state in told if isinstance(state, VolumePublished)][-1]

    def moments(self, content_key: str) -> set[int]:
        """All `not_before` that hints asked of a content."""
        hints = [RefreshVolumes.from_bytes(payload) for _, payload in self.hints]
        return {due.not_before_ms for hint in hints for due in hint.due if due.content_key == content_key}

    async def shows(self, number: int, *volumes: Mounted, within: float = PATIENCE) -> None:
        """Wait until volumes, or all of them, hold these values."""
        await self.until(lambda: {each.password for each in volumes or self.mounted} == {value(number)}, within=within)

    async def until(self, claim: Callable[[], Any], *, within: float = PATIENCE) -> None:
        """Wait for what others do.

        Raises:
            TimeoutError: they do not.
        """
        async with asyncio.timeout(within):
            while not claim():  # noqa: ASYNC110 - other processes have no event to wait for
                await asyncio.sleep(0.05)

    def watched(self, *volumes: Mounted) -> Watcher:
        """Read these volumes, or all, all the time, as their pods do."""
        return Watcher([each.target for each in volumes or self.mounted])

    @asynccontextmanager
    async def kubelet(self, every: float = 0.5) -> AsyncIterator[None]:
        """Republish all volumes all the time; only a driver that is down may not answer OK."""
        task = asyncio.create_task(self._republish(every))
        yield
        task.cancel()
        assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)

    async def _republish(self, every: float) -> None:
        while True:
            for each in self.mounted:
                try:
                    await each.republish()
                except grpc.aio.AioRpcError as error:
                    if error.code().name not in NOT_FINAL:
                        raise
            await asyncio.sleep(every)


def about(word: VolumeEvent) -> VolumePublished | VolumeUnpublished:
    """Which volume a word is about."""
    return word if isinstance(word, VolumePublished | VolumeUnpublished) else word.volume


def value(number: int) -> str:
    """The values of a secret, in the order in which it had them."""
    return f"v{number:06}"


@asynccontextmanager
async def entered(fleet: Fleet, world: World) -> AsyncIterator[Scene]:
    """A scene in a namespace; in the end nothing of it is mounted."""
    client = await nats.connect(fleet.stack.nats.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    scene = Scene(fleet, world, client)
    for subject in ("keyferry.volume.>", "keyferry.refresh.*", END_SUBJECT):
        await client.subscribe(subject, cb=scene.hear)
    await client.flush()
    await scene.rotate(0)
    yield scene
    await scene.unmount(*scene.mounted)
    await client.close()


@pytest.fixture
async def scene(fleet: Fleet, settle: Settle) -> AsyncIterator[Scene]:
    """A namespace with a secret `db`."""
    assert [each for each in fleet.services if not each.process.is_running] == [], "a test before this one broke it"
    async with entered(fleet, await settle(fleet.nodes[0])) as scene:
        yield scene
