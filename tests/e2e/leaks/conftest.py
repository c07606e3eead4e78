"""Watches everything that services write, send and say, and knows the values that must not be there."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import grpc.aio
import nats
import pytest
import redis.asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg

from keyferry.proto.csi.v1 import csi_pb2 as csi
from keyferry.testing.kubelet import call
from keyferry.testing.otlp import Otlp, otlp_receiver
from keyferry.testing.proxy import CountingProxy, counting_proxy
from keyferry.testing.services import Service
from keyferry.testing.stack import Stack
from keyferry.testing.world import World

if TYPE_CHECKING:
    from tests.e2e.conftest import Settle

TOKENS = "csi.storage.k8s.io/serviceAccount.tokens"


def canary() -> str:
    """A secret that every encoding changes."""
    return f'Kanarie "{secrets.token_hex(12)}"/&\\ü'


def forms(value: str) -> Iterator[bytes]:
    """A value as it may stand in something: raw, and in each encoding that a log, a message or an URL may give it."""
    raw = value.encode()
    yield raw
    yield from (raw.hex().encode(), raw.hex().upper().encode())
    yield from (quote(value).encode(), quote(value, safe="").encode())
    yield from (json.dumps(value)[1:-1].encode(), json.dumps(value, ensure_ascii=False)[1:-1].encode())
    yield repr(value)[1:-1].encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):  # base64 of something longer shows it in one of three ways; its ends hang on neighbours
            yield encode(b"x" * offset + raw)[(0, 2, 3)[offset] : -4].rstrip(b"=")


def found(haystack: bytes, values: list[str]) -> list[str]:
    """The values that occur."""
    return [value for value in values if any(form in haystack for form in forms(value))]


@dataclass
class Watch:
    """Everything that is written, sent or said while it runs."""

    stack: Stack
    world: World
    otlp: Otlp
    proxy: CountingProxy
    values: list[str]
    """What must not be found; the first is the secret that the classes mount."""
    pages: list[str]
    client: Client
    bus: list[bytes] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def secret(self) -> str:
        """What the backend keeps, and every volume shows."""
        return self.values[0]

    async def hear(self, message: Msg) -> None:
        """Keep a message of the bus."""
        self.bus += [message.subject.encode(), json.dumps(message.headers or {}).encode(), message.data]

    async def captures(self) -> dict[str, bytes]:
        """What there is, by where it was found."""
        store = redis.asyncio.from_url(self.stack.valkey.url)
        async with store:
            await store.config_set("rdbcompression", "no")  # which would hide what is dumped
            stored = [key + (await store.dump(key) or b"") async for key in store.scan_iter()]
        events = await self.world.kube.get("/api/v1/events")
        return {
            "bus": b"\n".join(self.bus),
            "files": await asyncio.to_thread(written, self.stack.directory),
            "spans": b"\n".join(self.otlp.bodies),
            "metrics": b"\n".join([await asyncio.to_thread(read, page) for page in self.pages]),
            "texts": "\n".join(self.texts).encode(),
            "valkey": b"\n".join(stored),
            "events": json.dumps(events).encode(),
        }

    async def leaks(self) -> dict[str, list[str]]:
        """Which values were found where."""
        captured = await self.captures()
        # Vault's tokens are secrets as well, and the proxy has seen them.
        values = self.values + list(
            {c.headers["X-Vault-Token"] for c in self.proxy.calls if "X-Vault-Token" in c.headers}
        )
        return {name: hits for name, capture in captured.items() if (hits := found(capture, values))}

    async def request(self, class_name: str = "secrets") -> csi.NodePublishVolumeRequest:
        """What kubelet would send for a new pod: its tokens, and a secret of its nodePublishSecretRef."""
        pod = await self.world.pod(class_name)
        secret = canary()
        request = await self.world.kubelet.request(pod, class_name, secrets={"clientsecret": secret})
        self.values.append(secret)
        for entry in json.loads(request.volume_context[TOKENS]).values():
            # The signature is what makes a token; the rest of it names what is no secret.
            self.values.append(entry["token"].rpartition(".")[2])
        return request

    async def send(self, request: csi.NodePublishVolumeRequest, *, seconds: float = 10.0) -> None:
        """Publish, whatever comes of it."""
        try:
            await call(
                self.world.node.endpoint, "NodePublishVolume", request, csi.NodePublishVolumeResponse, seconds=seconds
            )
        except grpc.aio.AioRpcError as error:
            self.texts += [str(error), str(error.details()), repr(error.trailing_metadata())]

    async def attempt(self, class_name: str = "secrets", *, seconds: float = 3.5) -> None:
        """Publish a new pod's volume, whatever comes of it."""
        await self.send(await self.request(class_name), seconds=seconds)


def written(directory: Path) -> bytes:
    """All that services and bus have on disk: logs, records, streams, keys; not what is mounted there."""
    device, parts = directory.stat().st_dev, []
    for folder, below, names in os.walk(directory):
        below[:] = [name for name in below if Path(folder, name).lstat().st_dev == device]
        paths = [Path(folder, name) for name in names]
        parts += [str(path).encode() for path in paths]
        parts += [path.read_bytes() for path in paths if path.is_file() and not path.is_symlink()]
    return b"\n".join(parts)


def read(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - our own address
        return bytes(answer.read())


@pytest.fixture
async def watch(own: Stack, settle: Settle) -> AsyncIterator[Watch]:
    """A node and a fetcher that say all they can, and a class whose secret is a canary."""
    temporary = own.directory / "tmp"
    temporary.mkdir()
    client = await nats.connect(own.nats.url)
    async with otlp_receiver() as otlp, counting_proxy(own.openbao.address) as proxy:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": otlp.url,
            "KEYFERRY_LOG_LEVEL": "debug",
            "PYTHONASYNCIODEBUG": "1",
            "TMPDIR": str(temporary),
        }
        with (
            own.fetcher(KEYFERRY_VAULT_TIMEOUT="2s", **env) as fetcher,
            own.node_driver(KEYFERRY_VOLUME_SIZE="64Ki", **env) as node,
        ):
            secret = canary()
            world = await furnished(await settle(node), proxy, secret)
            pages = [f"{service.http}/metrics" for service in (fetcher, node)]
            watch = Watch(own, world, otlp, proxy, [secret], pages, client)
            await client.subscribe(">", cb=watch.hear)
            await client.flush()
            yield watch
            await stopped(fetcher, node)
            await client.close()


async def stopped(*services: Service) -> None:
    """End services in threads: while they stop they send their last spans to this loop."""
    await asyncio.gather(*(asyncio.to_thread(service.process.stop) for service in services))


async def furnished(world: World, proxy: CountingProxy, secret: str) -> World:
    """Classes that work and classes that fail, all of one secret."""
    await world.secret("db", password=secret, other=secret, large=secret * 3000, nested={"deep": [secret]})
    classes: Mapping[str, tuple[Any, ...]] = {
        "secrets": ("password=db:password",),
        "missing-secret": ("password=absent:password",),
        "missing-key": ("password=db:absent",),
        "whole": ("all=db:",),
        "nested": ("nested=db:nested",),
        "not-hex": ({"objectName": "x", "secretPath": world.path("db"), "secretKey": "password", "encoding": "hex"},),
        "not-base64": (
            {"objectName": "x", "secretPath": world.path("db"), "secretKey": "password", "encoding": "base64"},
        ),
        "denied": ({"objectName": "x", "secretPath": "secret/data/theirs", "secretKey": "y"},),
        "too-large": ("large=db:large",),
        "climbing": ("../../x=db:password",),
        "twice": ("x=db:password", "x=db:other"),
    }
    for name, objects in classes.items():
        await world.vault_class(name, *objects, vaultAddress=proxy.url)
    await world.vault_class("nobody", vaultAddress=proxy.url, roleName="nobody")
    await world.vault_class("no-token", vaultAddress=proxy.url, audience="elsewhere")
    await world.make_class("unknown-provider", "hal", {"objects": "x"})
    return world


@pytest.fixture(name="canary")
def makes_canary() -> Callable[[], str]:
    """Makes values to look for."""
    return canary


@pytest.fixture
def search() -> Callable[[bytes, list[str]], list[str]]:
    """Finds values in whatever encoding."""
    return found
