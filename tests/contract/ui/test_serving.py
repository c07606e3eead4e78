"""What the page's server does with browsers that are slow, silent or no browsers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from rotator.listening import Handler
from rotator.ui.connection import answer
from rotator.ui.connection import listening as listening_for
from rotator.ui.streams import told_in_time


@asynccontextmanager
async def served(handler: Handler, *, seconds: float = 20.0) -> AsyncIterator[int]:
    """The port of a server with this handler."""
    server = listening_for(handler, seconds=seconds)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await server.shutdown(0.1)


async def plain(_: web.BaseRequest) -> web.StreamResponse:
    """Any answer."""
    return answer(200, "fine")


async def test_who_does_not_read_is_dropped() -> None:
    """Writing to a browser that takes nothing ends, and so does its connection."""
    ended = asyncio.get_running_loop().create_future()

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while await told_in_time(request, response, b"x" * 1_000_000, seconds=0.3):
            pass
        ended.set_result(request.transport is None or request.transport.is_closing())
        return response

    async with served(endless) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(20):
            assert await ended
        writer.close()


async def test_who_says_nothing_is_not_waited_for() -> None:
    """A connection ends by itself, whether nothing came or half a request."""
    async with served(plain, seconds=0.3) as port:
        for said in (b"", b"GET / HTTP/1.1\r\nHost: a\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            async with asyncio.timeout(10):
                assert await reader.read() == b""
            writer.close()


@pytest.mark.parametrize(
    "said",
    [
        b"token-that-nobody-must-see\r\n\r\n",
        b"GET / HTTP/1.1\r\nAuthorization: Bearer token-that-nobody-must-see\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nAuthorization: " + b"token-that-nobody-must-see" * 1000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_answered_without_its_words(said: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """400 with the usual headers; what was sent is neither in the answer nor in the log."""
    async with served(plain) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        async with asyncio.timeout(10):
            told = await reader.read()
        writer.close()

    assert told.split(b" ")[1] == b"400"
    assert b"Content-Security-Policy" in told
    assert b"nobody-must-see" not in told
    assert "nobody-must-see" not in caplog.text


async def test_connections_are_bounded() -> None:
    """Beyond some hundreds a new one is closed at once, and the others go on."""
    async with served(plain) as port:
        many = [await asyncio.open_connection("127.0.0.1", port) for _ in range(270)]
        async with asyncio.timeout(10):
            assert await many[-1][0].read() == b""
        many[0][1].write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(10):
            assert (await many[0][0].read()).endswith(b"fine")
        for _, writer in many:
            writer.close()
