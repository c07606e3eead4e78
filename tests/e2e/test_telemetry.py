"""What an operator sees of a mount: one trace, log lines that lead to it, and the numbers that dashboards know."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from keyferry.kube import Json
from keyferry.proto.csi.v1 import csi_pb2 as csi
from keyferry.testing.kubelet import NODE
from keyferry.testing.otlp import Otlp, Span, otlp_receiver
from keyferry.testing.services import NodeDriver, Service
from keyferry.testing.stack import Stack
from keyferry.testing.world import World

if TYPE_CHECKING:
    from tests.e2e.conftest import Settle

pytestmark = pytest.mark.root

SERVER, SEND, PROCESS, FETCH = (
    "csi.v1.Node/NodePublishVolume",
    "send keyferry.fetch.mount",
    "process keyferry.fetch.mount",
    "fetch vault",
)


@dataclass(frozen=True)
class Seen:
    """A world whose services send their spans to the test."""

    world: World
    otlp: Otlp
    fetcher: Service

    async def publish(self, pod: Json, class_name: str = "secrets") -> str:
        """Publish within a trace of kubelet's; returns its ``traceparent``."""
        parent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
        request = await self.world.kubelet.request(pod, class_name)
        async with grpc.aio.insecure_channel(self.world.node.endpoint) as channel:
            rpc = channel.unary_unary(
                f"/{NODE}/NodePublishVolume",
                request_serializer=csi.NodePublishVolumeRequest.SerializeToString,
                response_deserializer=csi.NodePublishVolumeResponse.FromString,
            )
            await rpc(request, metadata=(("traceparent", parent),))
        return parent


@pytest.fixture
async def seen(own: Stack, settle: Settle) -> AsyncIterator[Seen]:
    """A node and a fetcher under observation."""
    async with otlp_receiver() as otlp:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp.url}
        with own.fetcher(**env) as fetcher, own.node_driver(**env) as node:
            world = await settle(node)
            await world.secret("db", password="tiger")
            await world.vault_class()
            yield Seen(world, otlp, fetcher)
            # In threads: while they stop they send their last spans to this loop.
            await asyncio.gather(*(asyncio.to_thread(each.process.stop) for each in (fetcher, node)))


def named(spans: Sequence[Span], name: str) -> Span:
    (found,) = [span for span in spans if span.name == name]
    return found


def messages(service: Service, trace_id: str) -> set[str]:
    """What the log says of a trace; every line of it is JSON."""
    lines = [json.loads(line) for line in service.process.output().splitlines()]
    return {line["message"] for line in lines if line.get("trace_id") == trace_id}


def metrics(service: Service) -> dict[str, float]:
    """What /metrics says, by name and labels."""
    with urllib.request.urlopen(f"{service.http}/metrics") as answer:  # noqa: S310 - our own address
        text = answer.read().decode()
    return {key: float(value) for key, value in re.findall(r"^([^#\s]\S*(?: ?\{.*\})?) (\S+)$", text, re.MULTILINE)}


async def test_one_mount_is_one_trace(seen: Seen) -> None:
    """All spans and phases of a mount hang on the trace that kubelet began, and both logs lead to it."""
    parent = await seen.publish(await seen.world.pod())
    spans = await seen.otlp.trace(SERVER, SEND, PROCESS, FETCH)

    _, trace_id, span_id, _ = parent.split("-")
    server, send, process, fetch = (named(spans, name) for name in (SERVER, SEND, PROCESS, FETCH))
    assert {span.trace_id for span in spans} == {trace_id}
    assert [server.parent_id, send.parent_id, process.parent_id, fetch.parent_id] == [
        span_id,
        server.span_id,
        send.span_id,
        process.span_id,
    ]
    assert [span.kind for span in (server, send, process, fetch)] == ["server", "producer", "consumer", "client"]
    assert [span.service for span in (server, send, process, fetch)] == ["node-driver"] * 2 + ["fetcher"] * 2
    assert {span.status for span in spans} == {"unset"}
    assert {span.name: [event.name for event in span.events] for span in spans} == {
        SERVER: ["seal", "open", "mount", "write"],
        SEND: [],
        PROCESS: ["queue", "verify", "seal"],
        FETCH: ["fetch"],
    }
    assert all(event.attributes["duration_ms"] >= 0 for span in spans for event in span.events)
    assert "volume published" in messages(seen.world.node, trace_id)
    assert "content delivered" in messages(seen.fetcher, trace_id)


async def test_failed_mount(seen: Seen) -> None:
    """A mount that fails is a trace with an error by its reason, in the words that the pod's owner reads."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await seen.publish(await seen.world.pod("absent"), "absent")
    spans = await seen.otlp.trace(SERVER, PROCESS)

    server = named(spans, SERVER)
    assert server.status == "error"
    assert server.attributes["error.type"] == "SecretProviderClassNotFound"
    assert server.status_message == raised.value.details()


async def test_metrics(seen: Seen) -> None:
    """Mounts, failures and unpublishes are counted under upstream's names and labels, and under ours."""
    pod = await seen.world.pod()
    await seen.publish(pod)
    await seen.publish(pod)
    await seen.world.vault_class("wrong", "password=absent:password")
    for name in ("absent", "wrong"):
        with pytest.raises(grpc.aio.AioRpcError):
            await seen.publish(await seen.world.pod(name), name)
    during = await asyncio.to_thread(metrics, seen.world.node)
    await seen.world.kubelet.unpublish(pod)
    after = await asyncio.to_thread(metrics, seen.world.node)
    fetcher = await asyncio.to_thread(metrics, seen.fetcher)

    assert during['node_publish_total{os_type="linux",provider="vault"}'] == 2
    error = 'node_publish_error_total{error_type="%s",os_type="linux",provider="%s"}'
    assert during[error % ("SecretProviderClassNotFound", "")] == 1
    assert during[error % ("SecretNotFound", "vault")] == 1
    assert (during["keyferry_volumes"], after["keyferry_volumes"]) == (1, 0)
    assert after['node_unpublish_total{os_type="linux"}'] == 1
    assert after['keyferry_rpc_total{code="OK",method="NodePublishVolume"}'] == 2
    assert after['keyferry_rpc_total{code="NOT_FOUND",method="NodePublishVolume"}'] == 2
    assert after['keyferry_phase_seconds_count{phase="write"}'] == 1
    assert after["keyferry_bus_connected"] == 1
    assert fetcher['keyferry_contents_total{outcome="fetched"}'] == 1
    assert fetcher['keyferry_contents_total{outcome="failed"}'] == 1
    assert fetcher['keyferry_bus_consumed_total{consumer="fetch-mount",outcome="done"}'] == 3


async def test_health(node: NodeDriver, fetcher: Service) -> None:
    """A fetcher with all it needs is ready; a node-driver is alive before kubelet has registered it, and says so."""

    def status(url: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(url) as answer:  # noqa: S310 - our own address
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    asked = [f"{fetcher.http}/readyz", f"{node.http}/healthz", f"{node.http}/readyz"]
    answers = [await asyncio.to_thread(status, url) for url in asked]

    assert answers == [(200, "ok"), (200, "ok"), (503, "kubelet has not registered the driver yet")]
