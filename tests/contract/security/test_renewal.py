"""Certificates that are made anew under clients that are connected: real servers, restarted with what was renewed."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from keyferry import certificates, identities, streams
from keyferry.bus import Bus, connect
from keyferry.cli.jetstream import JetStream
from keyferry.errors import BusUnavailable, StoreUnavailable
from keyferry.store import Store, connect_store
from keyferry.testing.nats import Nats, guarded_nats_server
from keyferry.testing.ports import free_port
from keyferry.testing.valkey import PASSWORD, Valkey

from .conftest import access_of
from .tls import encrypted

DAY = 86400.0
FILES = ["nats.crt", "nats.key", "redis.crt", "redis.key"]
HOSTS = ["127.0.0.1", "localhost"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Identities of this test's own."""
    made = tmp_path / "own"
    identities.create(made, nats_hosts=HOSTS, redis_hosts=HOSTS)
    return made


@pytest.fixture
def nats(tmp_path: Path, folder: Path) -> Iterator[Nats]:
    """A NATS as it is deployed, with streams."""
    with guarded_nats_server(tmp_path / "nats", folder) as running:
        yield running


def serial(port: int, ca_file: Path) -> int:
    """The serial number of the certificate that a server shows on 127.0.0.1, to one who trusts the file."""
    context = ssl.create_default_context(cafile=str(ca_file))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        return int(str((secured.getpeercert() or {})["serialNumber"]), 16)


def port_of(nats: Nats) -> int:
    return int(nats.url.rpartition(":")[2])


async def until(holds: Callable[[], Awaitable[bool]], *, within: float = 60.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(within):
        while not await holds():  # noqa: ASYNC110 - what is waited for happens elsewhere
            await asyncio.sleep(0.05)


async def is_answered(bus: Bus) -> bool:
    """Whether a client asks the server something, and hears the answer."""
    try:
        return await JetStream(bus).stream("VOLUMES") is not None
    except BusUnavailable:
        return False


async def is_stored(store: Store) -> bool:
    """Whether a client has something stored."""
    try:
        return bool(await store.call("SET", "keyferry:content:renewal", "v") == b"OK")
    except StoreUnavailable:
        return False


async def make_streams(nats: Nats, folder: Path) -> None:
    """As the chart's Job does."""
    key, ca = str(folder / "streams.nk"), str(folder / "ca.crt")
    await streams.ensure(streams.Settings(nats_url=nats.url, nats_ca_file=ca, nats_nkey_file=key))


@asynccontextmanager
async def connected(nats: Nats, folder: Path) -> AsyncIterator[Bus]:
    """A client that is connected and answered."""
    await make_streams(nats, folder)
    async with connect(nats.url, name="cli", access=access_of(folder, "cli")) as bus:
        assert await is_answered(bus)
        yield bus


async def test_the_same_authority(nats: Nats, folder: Path) -> None:
    """A server that restarts with a renewed certificate has its clients again, and shows another certificate."""
    async with connected(nats, folder) as bus:
        before = await asyncio.to_thread(serial, port_of(nats), folder / "ca.crt")
        trusted = (folder / "ca.crt").read_text()
        now = time.time()
        assert identities.renew(folder, now=now, since=now) == FILES
        await asyncio.to_thread(nats.process.restart)
        await until(lambda: is_answered(bus))
        assert await asyncio.to_thread(serial, port_of(nats), folder / "ca.crt") != before
        assert (folder / "ca.crt").read_text() == trusted


def replace_authority(folder: Path, now: float) -> None:
    """The first of two steps, two days ago: an authority whose key nobody has any more is joined by another."""
    (folder / "ca.key").unlink()
    assert identities.renew(folder, now=now - 2 * DAY) == ["ca.crt", "ca.key"]
    assert (folder / "ca.crt").read_text().count("BEGIN CERTIFICATE") == 2


async def test_another_authority(tmp_path: Path) -> None:
    """Clients that were connected before there was the new authority know its servers, without a restart of theirs."""
    folder, now = tmp_path / "old", time.time()
    identities.create(folder, nats_hosts=HOSTS, redis_hosts=HOSTS, now=now - 300 * DAY)
    with guarded_nats_server(tmp_path / "nats", folder) as nats:
        async with connected(nats, folder) as bus:
            old = (folder / "ca.crt").read_text()
            replace_authority(folder, now)
            assert identities.renew(folder, now=now) == FILES
            await asyncio.to_thread(nats.process.restart)
            await until(lambda: is_answered(bus))
        only_old = tmp_path / "only-old.crt"
        only_old.write_text(old)
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.to_thread(serial, port_of(nats), only_old)


async def test_another_authority_for_redis(valkey: Valkey, tmp_path: Path) -> None:
    """The same of the store's clients."""
    folder, now = tmp_path / "old", time.time()
    identities.create(folder, nats_hosts=HOSTS, redis_hosts=HOSTS, now=now - 300 * DAY)
    port = free_port()
    async with AsyncExitStack() as exits:
        async with encrypted(valkey, folder, port=port):
            url = f"rediss://:{PASSWORD}@127.0.0.1:{port}/0"
            store = await exits.enter_async_context(connect_store(url, name="x", ca_file=str(folder / "ca.crt")))
            assert await is_stored(store)
            replace_authority(folder, now)
            assert "redis.crt" in identities.renew(folder, now=now)
        await until(lambda: is_lost(store))
        async with encrypted(valkey, folder, port=port):
            await until(lambda: is_stored(store))


async def is_lost(store: Store) -> bool:
    return not await is_stored(store)


def test_a_folder_whose_time_has_not_come(folder: Path) -> None:
    """Nothing changes before a third of a year is left; then certificates do, by one authority, for the same hosts."""
    before = {path.name: path.read_text() for path in folder.iterdir()}
    assert identities.renew(folder, now=time.time() + 240 * DAY) == []
    assert {path.name: path.read_text() for path in folder.iterdir()} == before

    later = time.time() + 250 * DAY
    assert identities.renew(folder, now=later) == FILES
    told = certificates.Certificate.parse((folder / "nats.crt").read_text())
    assert told.hosts == set(HOSTS)
    assert told.ends_at > later + 364 * DAY
    assert (folder / "ca.crt").read_text() == before["ca.crt"]


def test_an_authority_whose_end_is_near(folder: Path) -> None:
    """After seven years there is another beside it; the old one is trusted until it ends."""
    old, years = (folder / "ca.crt").read_text(), time.time() + 7 * 365 * DAY
    assert identities.renew(folder, now=years) == [
        *("ca.crt", "ca.key"),
        *FILES,
    ]  # they have ended: nothing to wait for
    assert (folder / "ca.crt").read_text().endswith(old)
    assert certificates.bundle(time.time() + 11 * 365 * DAY, (folder / "ca.crt").read_text()).count("BEGIN") == 1


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the files that have changed; none where nothing is due."""
    assert identities.main(["renew", "--dir", str(folder)]) == 0
    assert capsys.readouterr().out == ""
    assert identities.main(["renew", "--dir", str(folder), "--all"]) == 0
    assert capsys.readouterr().out.split() == FILES
    (folder / "ca.key").write_text((folder / "nats.key").read_text())
    assert identities.main(["renew", "--dir", str(folder)]) == 1
    assert "is not the key of this authority" in capsys.readouterr().err
