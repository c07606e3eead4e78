"""Redis over TLS. The Valkey at hand has none, so that one connection's end of TLS stands before it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from keyferry import identities
from keyferry.errors import StoreUnavailable
from keyferry.settings import SettingsError
from keyferry.store import check_store, connect_store
from keyferry.testing.valkey import PASSWORD, Valkey

from .tls import encrypted


def at(port: int) -> str:
    """The URL of a Valkey behind a port of this machine."""
    return f"rediss://:{PASSWORD}@127.0.0.1:{port}/0"


@dataclass
class Forwarded:
    """A port that leads to another, and hands on nothing more when its gate is shut; an end it never hands on."""

    port: int = 0
    is_open: bool = True

    @asynccontextmanager
    async def to(self, port: int) -> AsyncIterator[Forwarded]:
        """Lead there."""
        writers: list[asyncio.StreamWriter] = []

        async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65536):
                writer.write(data if self.is_open else b"")

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection("127.0.0.1", port)
            writers.extend((writer, back))
            await asyncio.gather(copy(reader, back), copy(there, writer), return_exceptions=True)

        running = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with running:
            self.port = int(running.sockets[0].getsockname()[1])
            yield self
            for each in writers:
                each.transport.abort()
            await asyncio.gather(*(each.wait_closed() for each in writers), return_exceptions=True)


async def test_no_goodbye(valkey: Valkey, made: Path) -> None:
    """A server that never answers the end of a connection, as behind `kubectl port-forward`, does not make it fail."""
    ca_file = str(made / "ca.crt")
    async with (
        encrypted(valkey, made) as port,
        Forwarded().to(port) as way,
        connect_store(at(way.port), name="x", ca_file=ca_file) as store,
    ):
        assert await store.call("PING") == b"PONG"
        way.is_open = False


async def test_tls(valkey: Valkey, made: Path) -> None:
    """A server that our authority vouches for is used."""
    async with (
        encrypted(valkey, made) as port,
        connect_store(at(port), name="x", ca_file=str(made / "ca.crt")) as store,
    ):
        assert await store.call("PING") == b"PONG"


async def test_another_authority(valkey: Valkey, made: Path, tmp_path: Path) -> None:
    """One that another vouches for is not, nor one that nobody known does."""
    identities.create(tmp_path / "other", nats_hosts=["127.0.0.1"], redis_hosts=["127.0.0.1"])
    async with encrypted(valkey, made) as port:
        for ca_file in (str(tmp_path / "other" / "ca.crt"), ""):
            async with connect_store(at(port), name="x", ca_file=ca_file) as store:
                with pytest.raises(StoreUnavailable):
                    await store.call("PING")


async def test_another_name(valkey: Valkey, tmp_path: Path) -> None:
    """One whose certificate is for another host is not."""
    identities.create(tmp_path / "other", nats_hosts=["127.0.0.1"], redis_hosts=["elsewhere"])
    ca_file = str(tmp_path / "other" / "ca.crt")
    async with (
        encrypted(valkey, tmp_path / "other") as port,
        connect_store(at(port), name="x", ca_file=ca_file) as store,
    ):
        with pytest.raises(StoreUnavailable):
            await store.call("PING")


def test_plaintext() -> None:
    """Nobody starts who would speak to Redis over a network in the clear; the error shows no password."""
    with pytest.raises(SettingsError, match="KEYFERRY_REDIS_URL has valkey without TLS: write rediss://") as refused:
        check_store("redis://fetcher:hunter2@valkey:6379/0", allow_plaintext=False)
    assert "hunter2" not in str(refused.value)
    check_store("redis://fetcher:hunter2@valkey:6379/0", allow_plaintext=True)
    check_store("rediss://valkey:6379/0,", allow_plaintext=False)
    check_store("redis://127.0.0.1:6379/0", allow_plaintext=False)
    check_store("", allow_plaintext=False)
