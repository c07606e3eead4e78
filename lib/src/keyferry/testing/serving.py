"""An aiohttp application on a free loopback port, for fake backends and receivers that live in a test's event loop."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from keyferry.testing.ports import free_port


@asynccontextmanager
async def serving(
    app: web.Application, *, port: int | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve `app` for the length of the block and give its base URL, without a slash at the end.

    Args:
        app: What answers.
        port: Where it listens on 127.0.0.1; a free one by default.
        tls: Server context for https; http without. The URL then says `localhost`, the name certificates carry.
    """
    port = port or free_port()
    # Requests still in flight when the block ends are cancelled at once: what they wait for is over.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
        yield f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()
