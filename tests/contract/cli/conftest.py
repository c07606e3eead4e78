"""A bus of a test's own with our streams, and the command line on it as somebody with just the rights it needs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from hashlib import sha256

import pytest

from keyferry import streams
from keyferry.__main__ import main
from keyferry.bus import Bus, connect
from keyferry.bus.permissions import SERVICES, Rights
from keyferry.store import Store, connect_store
from keyferry.store_users import STORE_USERS
from keyferry.subjects import service_inbox
from keyferry.testing.nats import Nats, nats_server
from keyferry.testing.valkey import valkey_server

NOTHING = Rights(("_none",), (f"{service_inbox('cli')}.>",))
_USER = "{{user: {name}, password: p, permissions: {{publish: {publish}, subscribe: {subscribe}}}}}"


def user(name: str, rights: Rights) -> str:
    """A user of nats-server's configuration."""
    return _USER.format(name=name, publish=json.dumps(rights.publish), subscribe=json.dumps(rights.subscribe))


@dataclass(frozen=True)
class Site:
    """Servers, and how each of their users reaches them."""

    nats: Nats
    store_url: str
    admin_store_url: str

    def url(self, name: str) -> str:
        """NATS, as a user."""
        return self.nats.url.replace("nats://", f"nats://{name}:p@")

    def prepare(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """The environment of somebody at a keyboard, outside the cluster."""
        monkeypatch.setenv("KEYFERRY_NATS_URL", self.url(name))
        monkeypatch.setenv("KEYFERRY_REDIS_URL", self.store_url)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A bus with an administrator, somebody who may look and somebody who may mend; a Valkey with the same."""
    users = ["{user: admin, password: p}", *(user(name, SERVICES[name]) for name in ("cli", "mender"))]
    users.append(user("nobody", NOTHING))
    extra = f"authorization {{ users: [ {', '.join(users)} ] }}"
    with (
        nats_server(tmp_path_factory.mktemp("nats"), extra=extra) as nats,
        valkey_server(tmp_path_factory.mktemp("valkey")) as valkey,
    ):
        site = Site(nats, valkey.url.replace("//:", "//cli:").replace("test-only-password", "p"), valkey.url)
        asyncio.run(_furnish(site))
        yield site


async def _furnish(site: Site) -> None:
    await streams.ensure(streams.Settings(nats_url=site.url("admin")))
    keys, commands = STORE_USERS["cli"]
    rules = [*(f"~{key}" for key in keys), *(f"+{command}" for command in commands)]
    async with connect_store(site.admin_store_url, name="admin") as store:
        await store.call("ACL", "SETUSER", "cli", "on", f"#{sha256(b'p').hexdigest()}", *rules)


@pytest.fixture
async def bus(site: Site) -> AsyncIterator[Bus]:
    """The administrator's connection."""
    async with connect(site.url("admin"), name="admin") as bus:
        yield bus


@pytest.fixture
async def store(site: Site) -> AsyncIterator[Store]:
    """The administrator's connection to Valkey, which is emptied first."""
    async with connect_store(site.admin_store_url, name="admin") as store:
        await store.call("FLUSHALL")
        yield store


async def keyferry(*argv: str) -> int:
    """Run a command as a process of its own would; it has its own event loop."""
    return await asyncio.to_thread(main, list(argv))
