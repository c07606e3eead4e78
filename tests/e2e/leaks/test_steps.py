"""After all that can go wrong, nobody has said or kept a secret or a token."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keyferry import keymaking, keys
from keyferry.proto.csi.v1 import csi_pb2 as csi
from keyferry.testing.kubelet import call

if TYPE_CHECKING:
    from tests.e2e.leaks.conftest import Watch

pytestmark = pytest.mark.root

TOKENS = "csi.storage.k8s.io/serviceAccount.tokens"
READ, LOGIN = "GET /v1/secret/data", "login"

CLASSES = (
    *("secrets", "whole", "nested", "missing-secret", "missing-key", "not-hex", "not-base64", "denied", "too-large"),
    *("climbing", "twice", "nobody", "no-token", "unknown-provider", "absent"),
)


async def every_class(watch: Watch) -> None:
    """Classes that work and classes that fail, each in its own way."""
    for name in (
        *(
            "secrets",
            "whole",
            "nested",
            "missing-secret",
            "missing-key",
            "not-hex",
            "not-base64",
            "denied",
            "too-large",
        ),
        *("climbing", "twice", "nobody", "no-token", "unknown-provider", "absent"),
    ):
        await watch.attempt(name)


async def every_argument(watch: Watch) -> None:
    """Tokens and secrets at places, and in shapes, where they cannot be read."""
    good = await watch.request()
    tokens = good.volume_context[TOKENS]
    changes: list[Callable[[csi.NodePublishVolumeRequest], object]] = [
        lambda r: r.volume_context.update({TOKENS: tokens[:-1]}),
        lambda r: r.volume_context.update({TOKENS: json.dumps([tokens])}),
        lambda r: r.volume_context.update({TOKENS: tokens.replace('"token"', '"tokne"')}),
        lambda r: r.secrets.update({TOKENS: tokens[1:]}),
        lambda r: r.volume_context.update({"csi.storage.k8s.io/pod.name": tokens}),
        lambda r: r.volume_context.update({"secretProviderClass": tokens}),
        lambda r: r.volume_context.update({"secretProviderClass": r.secrets["clientsecret"]}),
        lambda r: r.volume_context.update({"csi.storage.k8s.io/pod.uid": "another"}),
        lambda r: r.volume_context.update({"csi.storage.k8s.io/serviceAccount.name": "other"}),
        lambda r: r.volume_context.update({TOKENS: tokens.replace("eyJ", "eyK")}),
        lambda r: r.ClearField("readonly"),
        lambda r: r.ClearField("target_path"),
    ]
    for change in changes:
        bad = csi.NodePublishVolumeRequest()
        bad.CopyFrom(good)
        change(bad)
        await watch.send(bad)


def answers(secret: str, sent: str) -> list[str]:
    """What a backend gone mad may say: errors that quote what it was sent, data in no shape that was agreed on.

    Errors that quote what it keeps are left out: Vault's reasons are shown on purpose (docs/backends/vault.md).
    """
    said: list[Any] = [
        {"errors": [sent, f"permission denied for {sent}"], "data": secret},
        {"data": {"data": secret}},
        {"data": {"data": {"password": {secret: [secret]}}, "metadata": secret}},
        {"auth": secret, "warnings": [secret, sent]},
        {"auth": {"client_token": f"{secret}\n", "lease_duration": secret}},
        [secret],
    ]
    return [json.dumps(each) for each in said] + [secret, f"<html>{secret}{sent}</html>", f'{{"data": "{secret}']


async def every_answer(watch: Watch) -> None:
    """A backend that fails in all these ways, at each step."""
    for step in (LOGIN, READ):
        for status in (200, 400, 403, 404, 429):
            for number in range(len(answers("", ""))):
                request = await watch.request()
                sent = json.loads(request.volume_context[TOKENS])["vault"]["token"]
                body = answers(watch.secret, sent)[number]
                # At once, or the fetchers would leave the backend alone while the next answers are tried.
                watch.proxy.fail(status=status, body=body, match=step, headers={"Retry-After": "0"}, times=1)
                await watch.send(request, seconds=3.5)
                watch.proxy.restore()


async def every_outage(watch: Watch) -> None:
    """A backend that is slow, drops connections or fails, and mounts that are unpublished meanwhile."""
    watch.proxy.drop()
    await watch.attempt()
    watch.proxy.restore()
    watch.proxy.fail(status=500, body=watch.secret)
    await watch.attempt()
    watch.proxy.restore()
    with watch.proxy.held():
        await watch.attempt(seconds=2.0)
        request = await watch.request()
        mount = asyncio.create_task(watch.send(request))
        gone = csi.NodeUnpublishVolumeRequest(volume_id=request.volume_id, target_path=request.target_path)
        await call(watch.world.node.endpoint, "NodeUnpublishVolume", gone, csi.NodeUnpublishVolumeResponse)
    await mount


async def every_mount(watch: Watch) -> None:
    """Volumes that cannot be mounted, are published twice, and go."""
    blocked = await watch.request()
    Path(blocked.target_path).parent.rmdir()
    Path(blocked.target_path).parent.write_text("in the way")
    await watch.send(blocked)
    good = await watch.request()
    await watch.send(good)
    await watch.send(good)
    assert (Path(good.target_path) / "password").read_text() == watch.secret
    gone = csi.NodeUnpublishVolumeRequest(volume_id=good.volume_id, target_path=good.target_path)
    await call(watch.world.node.endpoint, "NodeUnpublishVolume", gone, csi.NodeUnpublishVolumeResponse)


async def every_key(watch: Watch) -> None:
    """A node that knows other fetchers' keys: its request cannot be opened, and it cannot believe the answer."""
    public = watch.stack.keys_dir / keys.PUBLIC
    true = public.read_bytes()
    keymaking.create(watch.stack.keys_dir / "others")
    public.write_bytes((watch.stack.keys_dir / "others" / keys.PUBLIC).read_bytes())
    await watch.attempt(seconds=1.5)
    public.write_bytes(true)


async def test_nothing_leaks(watch: Watch) -> None:
    """After all that can go wrong no canary is on the bus, on disk, in spans, metrics, texts, Valkey or events."""
    for step in (every_class, every_argument, every_answer, every_outage, every_mount, every_key):
        await step(watch)
    await watch.otlp.trace("csi.v1.Node/NodePublishVolume", "fetch vault")
    await asyncio.to_thread(watch.world.node.process.restart)
    captured = await watch.captures()

    assert {name for name, capture in captured.items() if not capture} <= {"valkey"}
    assert await watch.leaks() == {}
