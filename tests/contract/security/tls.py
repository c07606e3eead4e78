"""An end of TLS before a Valkey that has none itself."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from keyferry.testing.valkey import Valkey


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand on all that comes."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def encrypted(valkey: Valkey, made: Path, *, port: int = 0) -> AsyncIterator[int]:
    """A port of this machine at which a Valkey is reached by TLS; connections end with it."""
    writers: list[asyncio.StreamWriter] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made / "redis.crt", made / "redis.key")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", valkey.port)
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer), return_exceptions=True)

    running = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context)
    async with running:
        yield int(running.sockets[0].getsockname()[1])
        for writer in writers:
            writer.transport.abort()
