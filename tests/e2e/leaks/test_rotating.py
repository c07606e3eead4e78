"""Contents rotate by clock and by events, live by leases, go stale and end: nobody tells a secret, token or lease."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keyferry.changes import BackendChanged
from keyferry.proto.csi.v1 import csi_pb2 as csi
from keyferry.subjects import change_subject
from keyferry.testing.kubelet import call
from keyferry.testing.services import Service
from keyferry.testing.stack import Stack
from keyferry.testing.valkey import PASSWORD, valkey_server

if TYPE_CHECKING:
    from tests.e2e.leaks.conftest import Watch

pytestmark = pytest.mark.root

READ, RENEW, REVOKE = "GET /v1/secret/data", "sys/leases/renew", "revoke-self"
TTL = 20
Made = csi.NodePublishVolumeRequest


@pytest.fixture
def own(own: Stack) -> Iterator[Stack]:
    """A bus with a Valkey that writes all it is told to the same disk."""
    with valkey_server(own.directory / "valkey", appendonly=True) as valkey:
        yield replace(own, valkey=valkey)


@pytest.fixture
async def services(watch: Watch) -> AsyncIterator[list[Service]]:
    """A second fetcher and two rotators, which say all they can."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": watch.otlp.url, "KEYFERRY_LOG_LEVEL": "debug", "PYTHONASYNCIODEBUG": "1"}
    stack = watch.stack
    starting: list[AbstractContextManager[Service]] = [
        stack.fetcher(KEYFERRY_VAULT_TIMEOUT="2s", **env),
        *(stack.rotator(KEYFERRY_ROTATION_END_AFTER="1s", **env) for _ in range(2)),
    ]
    async with AsyncExitStack() as exits:
        running = []
        for each in starting:
            # In threads: they send their last spans to this loop.
            running.append(await asyncio.to_thread(each.__enter__))
            exits.push_async_callback(asyncio.to_thread, each.__exit__, None, None, None)
        watch.pages += [f"{service.http}/metrics" for service in running]
        yield running


async def annotated(watch: Watch, name: str, **annotations: str) -> None:
    path = f"/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{watch.world.namespace}/secretproviderclasses/{name}"
    named = {f"keyferry.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    body = {"metadata": {"annotations": named}}
    assert await watch.world.kube.call("PATCH", path, body=body, content_type="application/merge-patch+json")


async def leased(watch: Watch) -> Made:
    """A volume with a database user, and another secret beside it."""
    world, bao = watch.world, watch.world.servers.openbao
    mount = f"{world.namespace}-db"
    port = world.servers.valkey.port
    await bao.enable_database(port=port, password=PASSWORD, mount=mount, default_ttl=f"{TTL}s", max_ttl="1h")
    read = '{ capabilities = ["read"] }'
    await bao.policy(world.namespace, f'path "secret/data/{world.namespace}/*" {read}\npath "{mount}/creds/web" {read}')
    asked = {"user": "username", "login": "password"}
    entries: list[Any] = [
        {"objectName": file, "secretPath": f"{mount}/creds/web", "secretKey": key} for file, key in asked.items()
    ]
    await world.vault_class("leased", *entries, vaultAddress=watch.proxy.url)
    request = await watch.request("leased")
    await watch.send(request)
    return request


def read(request: Made, name: str) -> str:
    return (Path(request.target_path) / name).read_text()


def credentials(watch: Watch, request: Made) -> set[str]:
    """What the pod has just now, which is to be found nowhere else."""
    known = {read(request, "user"), read(request, "login")}
    watch.values += sorted(known - set(watch.values))
    return known


def tokens(watch: Watch) -> list[str]:
    """Vault's, in the order in which they were used."""
    return [call.headers["X-Vault-Token"] for call in watch.proxy.calls if "X-Vault-Token" in call.headers]


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not claim():  # noqa: ASYNC110 - other processes have no event to wait for
            await asyncio.sleep(0.05)


async def changed(watch: Watch, canary: Callable[[], str]) -> str:
    """Give the secret a new value, and return it."""
    secret = canary()
    watch.values.append(secret)
    await watch.world.secret("db", password=secret)
    return secret


async def rotated(watch: Watch, request: Made, canary: Callable[[], str]) -> None:
    """The secret changes, once for the clock to find and once told of."""
    secret = await changed(watch, canary)
    await until(lambda: read(request, "password") == secret)
    secret = await changed(watch, canary)
    event = BackendChanged("vault", (watch.world.path("db"),), int(time.time() * 1000), "event-1")
    await watch.client.jetstream().publish(change_subject("vault"), event.to_bytes())
    await until(lambda: read(request, "password") == secret)


async def unwell(watch: Watch, request: Made, canary: Callable[[], str]) -> None:
    """The backend throttles, fails and quotes while a class may be stale; then Valkey dies, then a rotator."""
    token = tokens(watch)[-1]
    for status in (429, 503):
        reads = watch.proxy.count(READ)
        body = json.dumps({"errors": [token, *watch.values], "data": watch.values})
        watch.proxy.fail(status=status, body=body, match=READ, headers={"Retry-After": "1"})
        await watch.proxy.arrived(reads + 1, READ, within=60)
        await watch.attempt()  # it gets the stale content
        watch.proxy.restore()
    await asyncio.to_thread(watch.stack.valkey.process.kill)
    secret = await changed(watch, canary)
    await watch.attempt()
    await asyncio.to_thread(watch.stack.valkey.process.start)
    await until(lambda: read(request, "password") == secret)


async def renewed(watch: Watch, request: Made) -> None:
    """A lease is renewed; then that fails with an answer that quotes all it was sent, and credentials are made anew."""
    renewals = watch.proxy.count(RENEW)
    before = credentials(watch, request)
    await watch.proxy.arrived(renewals + 1, RENEW, within=60)
    leases = await watch.world.servers.openbao.leases(f"{watch.world.namespace}-db/creds/web")
    watch.values += leases
    token = tokens(watch)[-1]
    watch.proxy.fail(status=400, body=json.dumps({"errors": [token, *leases, *before]}), match=RENEW)
    await until(lambda: credentials(watch, request).isdisjoint(before))
    watch.proxy.restore()


async def known_to_all(watch: Watch) -> None:
    """Wait until no fetcher works without Valkey: a lease made alone is known to one only, and ends by itself."""
    async with asyncio.timeout(60):
        while "keyferry_store_connected 0" in await pages(watch):  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(0.1)
    renewals = watch.proxy.count(RENEW)
    await watch.proxy.arrived(renewals + 1, RENEW, within=60)


async def pages(watch: Watch) -> str:
    """All metrics."""
    return (await watch.captures())["metrics"].decode()


async def ended(watch: Watch, request: Made) -> None:
    """The last volume goes while its lease is renewed, and the first try to revoke that quotes the token."""
    await known_to_all(watch)
    renewals, revoked = watch.proxy.count(RENEW), watch.proxy.count(REVOKE)
    with watch.proxy.held(RENEW):
        await watch.proxy.arrived(renewals + 1, RENEW, within=60)
        credentials(watch, request)
        token = tokens(watch)[-1]
        watch.proxy.fail(status=503, body=json.dumps({"errors": [token]}), match=REVOKE, times=1)
        gone = csi.NodeUnpublishVolumeRequest(volume_id=request.volume_id, target_path=request.target_path)
        await call(watch.world.node.endpoint, "NodeUnpublishVolume", gone, csi.NodeUnpublishVolumeResponse)
    await watch.proxy.arrived(revoked + 2, REVOKE, within=60)
    assert [call.headers["X-Vault-Token"] for call in watch.proxy.calls if call.matches(REVOKE)][-2:] == [token] * 2
    bao, path = watch.world.servers.openbao, f"{watch.world.namespace}-db/creds/web"
    async with asyncio.timeout(60):
        while await bao.leases(path):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.1)


async def test_nothing_leaks_from_rotation(watch: Watch, services: list[Service], canary: Callable[[], str]) -> None:
    """After all that can happen in rotation no canary is on the bus, on disk, in spans, metrics, texts or Valkey."""
    await annotated(watch, "secrets", rotation_interval="1s", stale_if_error="1h")
    static = await watch.request()
    await watch.send(static)
    lease = await leased(watch)
    await rotated(watch, static, canary)
    await renewed(watch, lease)
    await unwell(watch, static, canary)
    await asyncio.to_thread(services[1].process.restart)
    await ended(watch, lease)
    captured = await watch.captures()

    assert {name for name, capture in captured.items() if not capture} <= {"texts"}
    assert await watch.leaks() == {}
