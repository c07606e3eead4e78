"""Redis over TLS. The Valkey at hand has none, so that one connection's end of TLS stands before it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from keyferry import identities
from keyferry.errors import StoreUnavailable
from keyferry.settings import SettingsError
from keyferry.store import check_store, connect_store
from keyferry.testing.valkey import PASSWORD, Valkey


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand on all that comes."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def encrypted(valkey: Valkey, made: Path) -> AsyncIterator[str]:
    """The URL of a Valkey that is reached by TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made / "redis.crt", made / "redis.key")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", valkey.port)
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer), return_exceptions=True)

    running = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with running:
        yield f"rediss://:{PASSWORD}@127.0.0.1:{running.sockets[0].getsockname()[1]}/0"


async def test_tls(valkey: Valkey, made: Path) -> None:
    """A server that our authority vouches for is used."""
    async with encrypted(valkey, made) as url, connect_store(url, name="x", ca_file=str(made / "ca.crt")) as store:
        assert await store.call("PING") == b"PONG"


async def test_another_authority(valkey: Valkey, made: Path, tmp_path: Path) -> None:
    """One that another vouches for is not, nor one that nobody known does."""
    identities.create(tmp_path / "other", nats_hosts=["127.0.0.1"], redis_hosts=["127.0.0.1"])
    async with encrypted(valkey, made) as url:
        for ca_file in (str(tmp_path / "other" / "ca.crt"), ""):
            async with connect_store(url, name="x", ca_file=ca_file) as store:
                with pytest.raises(StoreUnavailable):
                    await store.call("PING")


async def test_another_name(valkey: Valkey, tmp_path: Path) -> None:
    """One whose certificate is for another host is not."""
    identities.create(tmp_path / "other", nats_hosts=["127.0.0.1"], redis_hosts=["elsewhere"])
    ca_file = str(tmp_path / "other" / "ca.crt")
    async with encrypted(valkey, tmp_path / "other") as url, connect_store(url, name="x", ca_file=ca_file) as store:
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
