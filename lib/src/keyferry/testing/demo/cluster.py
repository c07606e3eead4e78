"""All processes of the demo: the servers at the same time, then Keyferry's services on them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keyferry.kube import Kube, connect
from keyferry.testing import services
from keyferry.testing.aws import aws_server
from keyferry.testing.azure import AzureEmulator
from keyferry.testing.demo.clouds import GKE
from keyferry.testing.demo.progress import Progress
from keyferry.testing.demo.together import in_thread, together
from keyferry.testing.gcp import GcpEmulator
from keyferry.testing.nats import nats_server
from keyferry.testing.openbao import openbao_server
from keyferry.testing.otlp import Otlp, otlp_receiver
from keyferry.testing.ports import free_port
from keyferry.testing.processes import Server
from keyferry.testing.proxy import CountingProxy, counting_proxy
from keyferry.testing.services import NodeDriver, Service
from keyferry.testing.stack import Stack, kube_api
from keyferry.testing.valkey import PASSWORD, valkey_server

NODE = "node-a"
ROTATION_SECONDS = 5
"""Two minutes are the default; nobody would look on for so long."""


@dataclass(frozen=True)
class Base:
    """What Keyferry stands on, and what watches it.

    Attributes:
        stack: The servers.
        kube: The administrator's client.
        otlp: Receives the services' traces.
        aws: Stands before the AWS emulator and counts.
        azure: Entra ID and Key Vault, in this process.
        google: Secret Manager and its identities, in this process.
    """

    stack: Stack
    kube: Kube
    otlp: Otlp
    aws: CountingProxy
    azure: AzureEmulator
    google: GcpEmulator

    @property
    def environ(self) -> Mapping[str, str]:
        """What has a fetcher find the clouds here."""
        return {"AWS_ENDPOINT_URL": self.aws.url, **self.azure.environ(), **self.google.environ()}


@dataclass(frozen=True)
class Keyferry:
    """Keyferry's services."""

    fetcher: Service
    node: NodeDriver
    rotator: Service
    syncer: Service
    webhook_url: str
    webhook_token: str = field(repr=False)

    @property
    def processes(self) -> tuple[Server, ...]:
        """Those whose logs tell why a mount failed."""
        return self.fetcher.process, self.node.process, self.rotator.process, self.syncer.process


@asynccontextmanager
async def servers(directory: Path, progress: Progress) -> AsyncIterator[Base]:
    """Start the servers; they stop in the end."""
    async with AsyncExitStack() as running:

        async def start(name: str, server: AbstractContextManager[Any], address: str) -> Any:
            with progress.item(name) as item:
                started = await running.enter_async_context(in_thread(server))
                item.detail = str(getattr(started, address)).replace(PASSWORD, "***")
            return started

        nats, valkey, openbao, aws, kube = await together(
            start("NATS with JetStream", nats_server(directory / "nats"), "url"),
            start("Valkey", valkey_server(directory / "valkey"), "url"),
            start("OpenBao", openbao_server(directory / "openbao"), "address"),
            start("AWS emulator", aws_server(directory / "aws"), "endpoint_url"),
            start("Kubernetes API", kube_api(directory / "kube"), "url"),
        )
        yield Base(
            stack=Stack(directory, nats, valkey, openbao, aws, kube),
            kube=await running.enter_async_context(connect(kube.kubeconfig, user_agent="keyferry-demo")),
            otlp=await running.enter_async_context(otlp_receiver()),
            aws=await running.enter_async_context(counting_proxy(aws.endpoint_url)),
            azure=await running.enter_async_context(AzureEmulator()),
            google=await running.enter_async_context(GcpEmulator(metadata=GKE)),
        )


@asynccontextmanager
async def keyferry(base: Base, progress: Progress) -> AsyncIterator[Keyferry]:
    """Start Keyferry's services by their own commands; they stop in the end."""
    stack, traces = base.stack, {"OTEL_EXPORTER_OTLP_ENDPOINT": base.otlp.url}
    with progress.item("streams and keys", needs=[stack.nats.process]) as item:
        await asyncio.to_thread(services.prepare, stack.nats.url, stack.keys_dir)
        item.detail = "python -m keyferry.streams, keyferry keys create"
    async with AsyncExitStack() as running:

        async def start(name: str, service: AbstractContextManager[Any], detail: str) -> Any:
            with progress.item(name) as item:
                started = await running.enter_async_context(in_thread(service))
                item.detail = detail
            return started

        redis = {"KEYFERRY_REDIS_URL": stack.valkey.url}
        interval = {"KEYFERRY_ROTATION_INTERVAL": f"{ROTATION_SECONDS}s"}
        token, port = secrets.token_hex(16), free_port()
        (stack.directory / "webhook-token").write_text(token)
        webhook = {
            "KEYFERRY_WEBHOOK_ADDRESS": f"127.0.0.1:{port}",
            "KEYFERRY_WEBHOOK_TOKEN_FILE": str(stack.directory / "webhook-token"),
        }
        rotator = services.rotator(
            stack.directory, nats_url=stack.nats.url, redis_url=stack.valkey.url, env={**traces, **interval, **webhook}
        )
        fetcher, node, rotating, syncing = await together(
            start("fetcher", stack.fetcher(**traces, **redis, **base.environ), "python -m fetcher"),
            start(f"node-driver of {NODE}", stack.node_driver(NODE, **traces, **interval), "python -m node_driver"),
            start("rotator", rotator, f"python -m rotator, every {ROTATION_SECONDS} s"),
            start("syncer", stack.syncer(**traces), "python -m syncer"),
        )
        yield Keyferry(fetcher, node, rotating, syncing, f"http://127.0.0.1:{port}", token)


def processes(base: Base, services: Keyferry) -> Sequence[tuple[str, int]]:
    """Names and ids of all processes."""
    stack = base.stack
    return [
        ("NATS", stack.nats.process.pid),
        ("VALKEY", stack.valkey.process.pid),
        ("OPENBAO", stack.openbao.process.pid),
        ("AWS", stack.aws.process.pid),
        ("KUBERNETES", stack.kube.process.pid),
        ("FETCHER", services.fetcher.process.pid),
        ("NODE_DRIVER", services.node.process.pid),
        ("ROTATOR", services.rotator.process.pid),
        ("SYNCER", services.syncer.process.pid),
    ]
