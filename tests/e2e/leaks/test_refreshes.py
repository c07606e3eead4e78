"""Whatever goes wrong while a volume is refreshed, nobody has said or kept an old secret, a new one or a token."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keyferry.changes import Due, RefreshVolumes
from keyferry.events import RefreshFailed, VolumeRefreshed, volume_event
from keyferry.proto.csi.v1 import csi_pb2 as csi
from keyferry.subjects import hint_subject, volume_subject

if TYPE_CHECKING:
    from tests.e2e.leaks.conftest import Watch

pytestmark = pytest.mark.root

TOKENS = "csi.storage.k8s.io/serviceAccount.tokens"
READ, LOGIN = "GET /v1/secret/data", "login"


async def told(watch: Watch, request: csi.NodePublishVolumeRequest) -> VolumeRefreshed | RefreshFailed:
    """Hint a volume and wait for what comes of it."""
    now_ms, node = int(time.time() * 1000), watch.world.node.node
    hint = RefreshVolumes((Due("", now_ms, (request.volume_id,)),)).to_bytes()
    stream = watch.client.jetstream()
    async with asyncio.timeout(60):
        while True:
            await watch.client.publish(hint_subject(node), hint)
            await asyncio.sleep(0.3)
            last = await stream.get_last_msg("VOLUMES", volume_subject(node, request.volume_id))
            word = volume_event(last.data or b"")
            if isinstance(word, RefreshFailed) and word.asked_for_ms >= now_ms:
                return word
            if isinstance(word, VolumeRefreshed) and word.volume.fetched_at_ms >= now_ms:
                return word


async def new_secrets(watch: Watch, request: csi.NodePublishVolumeRequest, canary: Callable[[], str]) -> None:
    """The secret changes, twice, and once it stays."""
    for _ in range(2):
        watch.values.append(canary())
        await watch.world.secret("db", password=watch.values[-1])
        assert isinstance(await told(watch, request), VolumeRefreshed)
        assert (Path(request.target_path) / "password").read_text() == watch.values[-1]
    await told(watch, request)


async def bad_answers(watch: Watch, request: csi.NodePublishVolumeRequest, secret: str) -> None:
    """A backend that denies, fails, quotes what it was sent, or answers in no shape that was agreed on."""
    token = json.loads(request.volume_context[TOKENS])["vault"]["token"]
    bodies: list[Any] = [
        {"errors": [token, f"permission denied for {token}"]},
        {"data": {"data": {secret: [secret]}}},
        {"data": {"data": secret}},
        {"auth": {"client_token": f"{secret}\n"}},
        [secret],
    ]
    for status, body in zip((403, 200, 200, 400, 200), bodies, strict=True):
        watch.proxy.fail(status=status, body=json.dumps(body), match=READ)
        assert isinstance(await told(watch, request), RefreshFailed)
        watch.proxy.restore()
    watch.proxy.drop()
    assert isinstance(await told(watch, request), RefreshFailed)
    watch.proxy.restore()


async def bad_contents(watch: Watch, request: csi.NodePublishVolumeRequest, secret: str) -> None:
    """A new secret that the volume cannot hold, and one whose key has gone."""
    await watch.world.secret("db", password=secret * 3000)
    assert isinstance(await told(watch, request), RefreshFailed)
    await watch.world.secret("db", other=secret)
    assert isinstance(await told(watch, request), RefreshFailed)


async def bad_hints(watch: Watch) -> None:
    """What is no hint, and hints about nothing."""
    for payload in (b"", b"\xff", b"\x0a\xff", RefreshVolumes((Due("k", -1, ("x",)),)).to_bytes()):
        await watch.client.publish(hint_subject(watch.world.node.node), payload)


async def republishes(watch: Watch, request: csi.NodePublishVolumeRequest) -> None:
    """Kubelet's republish, before and after a restart of the driver that a hint falls into."""
    await watch.send(request)
    await asyncio.to_thread(watch.world.node.process.restart)
    hint = RefreshVolumes((Due("", int(time.time() * 1000), (request.volume_id,)),)).to_bytes()
    await watch.client.publish(hint_subject(watch.world.node.node), hint)
    await watch.send(request)
    await told(watch, request)


async def test_nothing_leaks_from_refreshes(watch: Watch, canary: Callable[[], str]) -> None:
    """After refreshes that succeed and fail no canary is on the bus, on disk, in spans, metrics, texts or events."""
    request = await watch.request()
    await watch.send(request)
    await new_secrets(watch, request, canary)
    watch.values.append(canary())
    await bad_answers(watch, request, watch.values[-1])
    await bad_contents(watch, request, watch.values[-1])
    await bad_hints(watch)
    await republishes(watch, request)
    await watch.otlp.trace("refresh", "fetch vault")
    captured = await watch.captures()

    assert {name for name, capture in captured.items() if not capture} <= {"valkey", "texts"}
    assert await watch.leaks() == {}
