"""Syncers that die, freeze and find the world changed; an API server that is away; and nothing that leaks."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import nats
import pytest
from nats.aio.msg import Msg

from keyferry.kube import Json, Kube
from keyferry.testing.services import NodeDriver, Service
from keyferry.testing.stack import Stack

from .conftest import LEASE, Desk, entry

if TYPE_CHECKING:
    from tests.e2e.conftest import Apart, Settle

pytestmark = pytest.mark.root


@pytest.fixture
def running() -> Iterator[ExitStack]:
    """What a test starts, stopped at its end."""
    with ExitStack() as running:
        yield running


def leads(syncer: Service) -> bool:
    """Whether a syncer is the one that works."""
    with urllib.request.urlopen(f"{syncer.http}/metrics") as page:  # noqa: S310 - our own address
        return b"\nkeyferry_syncer_leading 1.0" in page.read()


async def test_a_syncer_that_was_killed(desk: Desk, breakable: Stack, running: ExitStack) -> None:
    """What happened while none was there is made good by the next start: owners, entries, Secrets that were deleted."""
    syncer = running.enter_context(breakable.syncer(**LEASE))
    await desk.make_class(
        "secrets", [entry(password="pw"), entry("dropped", user="who")], pw="db:password", who="db:user"
    )
    one = await desk.deploy("one")
    await desk.until_owners(one)
    await desk.until_owners(one, name="dropped")

    async def noted() -> bool:
        return [each["metadata"].get("annotations") for each in await desk.statuses()] == [
            {"keyferry.io/secrets": "app-secrets,dropped"}
        ]

    await desk.until(noted)
    syncer.process.kill()
    two = await desk.deploy("two")
    await desk.undeploy(one)
    await desk.change_class("secrets", spec={"secretObjects": [entry(password="pw"), entry("added", user="who")]})
    await asyncio.to_thread(syncer.process.start)

    await desk.until_owners(two)
    await desk.until_owners(two, name="added")
    await desk.until_gone("dropped")


async def test_the_next_replica_takes_over(desk: Desk, breakable: Stack, running: ExitStack) -> None:
    """Of two that are both ready one works; when it is killed, or frozen and then let go, the other does alone."""
    first = running.enter_context(breakable.syncer(**LEASE))
    await desk.until(lambda: asyncio.to_thread(leads, first))  # ready is a syncer before it has the Lease
    second = running.enter_context(breakable.syncer(**LEASE))
    assert not await asyncio.to_thread(leads, second)

    first.process.pause()
    await desk.make_class("secrets", [entry(password="pw")], pw="db:password")
    one = await desk.deploy("one")
    await desk.until_owners(one)
    assert await asyncio.to_thread(leads, second)
    first.process.resume()

    await desk.until(lambda: asyncio.to_thread(lambda: not leads(first)))
    second.process.kill()
    two = await desk.deploy("two")

    await desk.until_owners(one, two)


async def test_an_api_server_that_is_away(own: Stack, apart: Apart, running: ExitStack) -> None:
    """Refused connections, then errors: no Secret is half made, and all is as it should be soon after."""
    desk = Desk(apart.world)
    cluster = replace(own, kube=apart.world.servers.kube)
    syncer = await asyncio.to_thread(running.enter_context, cluster.syncer(**LEASE))
    await desk.make_class("synced", [entry(password="pw")], pw="db:password")
    one = await desk.deploy("one", "synced")
    await desk.until_owners(one)

    undo = apart.api.faults.answer("/api/v1/namespaces", 503, method="PATCH")
    two = await desk.deploy("two", "synced")
    await asyncio.sleep(2)
    undo()
    await desk.until_owners(one, two)
    async with apart.api.refusing_connections():
        await asyncio.sleep(4)
    three = await desk.deploy("three", "synced")
    await desk.until_owners(one, two, three)

    await asyncio.to_thread(running.close)
    assert not syncer.process.is_running


async def test_no_hot_loop(own: Stack, apart: Apart, running: ExitStack) -> None:
    """Causes that only a person can change are looked into a few times, however long they last."""
    desk = Desk(apart.world)
    cluster = replace(own, kube=apart.world.servers.kube)
    await asyncio.to_thread(running.enter_context, cluster.syncer(**LEASE))
    path = f"{desk.path}/secrets"
    await desk.kube.call(
        "POST", path, body={"metadata": {"name": "taken"}, "data": {"a": "YQ=="}}, query={"fieldManager": "helm"}
    )
    undo = apart.api.faults.answer(f"{path}/forbidden", 403)
    entries = [entry("taken", password="pw"), entry("forbidden", password="pw"), entry(password="pw")]
    await desk.make_class("synced", entries, pw="db:password")
    one = await desk.deploy("one", "synced")
    await desk.until_told("FailedToCreateSecret", "was made by helm", "Pod", "SecretProviderClass")
    await desk.until_told("FailedToCreateSecret", "secret forbidden: ", "Pod", "SecretProviderClass")
    await desk.until_owners(one)
    before = dict(apart.api.faults.requests)
    await asyncio.sleep(5)
    asked = {
        call: count - before.get(call, 0)
        for call, count in apart.api.faults.requests.items()
        if "/secrets/" in call and call.startswith("PATCH")
    }
    undo()

    assert sum(asked.values()) < 10
    await asyncio.to_thread(running.close)


def forms(value: str) -> Iterator[bytes]:
    """A value in each encoding that a log, a message or an URL may give it."""
    raw = value.encode()
    yield from (raw, raw.hex().encode(), quote(value).encode(), json.dumps(value)[1:-1].encode())
    for offset in range(3):
        yield base64.b64encode(b"x" * offset + raw)[(0, 2, 3)[offset] : -4].rstrip(b"=")


def written(directory: Path) -> bytes:
    """All that services and bus have on disk, but for what is mounted there."""
    device = directory.stat().st_dev
    files = (path for path in directory.rglob("*") if not path.is_symlink() and path.lstat().st_dev == device)
    return b"\n".join(path.read_bytes() for path in files if path.is_file())


async def test_nothing_leaks(own: Stack, settle: Settle, kube: Kube, running: ExitStack) -> None:
    """A value is on tmpfs and in the synced Secret: not on the bus, its disk, in logs, metrics, statuses or Events."""
    env = {"KEYFERRY_LOG_LEVEL": "debug"}
    fetcher = running.enter_context(own.fetcher(**env))
    node: NodeDriver = running.enter_context(own.node_driver(**env))
    syncer = running.enter_context(own.syncer(**env, **LEASE))
    heard: list[bytes] = []

    async def hear(message: Msg) -> None:
        heard.extend((message.subject.encode(), message.data))

    client = await nats.connect(own.nats.url)
    await client.subscribe(">", cb=hear)
    await client.flush()
    canary = f'Kanarie "{secrets.token_hex(12)}"/&\\ü'
    desk = Desk(await settle(node))
    await desk.world.secret("db", password=canary)
    entries = [
        entry(password="pw"),
        entry("bad-tls", "kubernetes.io/tls", tls_crt="pw", tls_key="pw"),
        entry("bad-json", "kubernetes.io/dockerconfigjson", _dockerconfigjson="pw"),
        entry("taken", password="pw"),
    ]
    taken = {"metadata": {"name": "taken"}, "data": {"a": "YQ=="}}
    await kube.call("POST", f"{desk.path}/secrets", body=taken, query={"fieldManager": "helm"})
    await desk.make_class("secrets", entries, pw="db:password")
    one = await desk.deploy("one")
    found = await desk.until_owners(one)
    for text in ("is neither PEM", "secret bad-json", "was made by helm"):
        await desk.until_told("FailedToCreateSecret", text, "Pod", "SecretProviderClass")
    pages = [await asyncio.to_thread(page, f"{each.http}/metrics") for each in (fetcher, node, syncer)]
    told: list[Json | None] = [await kube.get(f"{desk.path}/events"), *await desk.statuses()]
    await client.close()
    places = {
        "bus": b"\n".join(heard),
        "files": await asyncio.to_thread(written, own.directory),
        "metrics": b"\n".join(pages),
        "kubernetes": json.dumps(told).encode(),
    }

    assert found["data"] == {"password": canary.encode()}
    assert b"keyferry.sync." in places["bus"]
    assert [name for name, capture in places.items() if any(form in capture for form in forms(canary))] == []


def page(url: str) -> bytes:
    """What an address of our own shows."""
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - our own address
        return bytes(answer.read())
