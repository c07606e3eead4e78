"""Opens a provider as the fetcher does, from environment variables, and closes it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fetcher.provider import Provider

Opened = Callable[..., AbstractAsyncContextManager[Provider]]
"""Takes further environment variables by their names."""


def opening(open_provider: Callable[[Mapping[str, str]], Awaitable[Provider]], environ: Mapping[str, str]) -> Opened:
    """For a fixture `opened`.

    Args:
        open_provider: Of the provider's package.
        environ: What every test of the suite needs, such as where the emulator listens.
    """

    @asynccontextmanager
    async def opened(**more: str) -> AsyncIterator[Provider]:
        running = await open_provider({**environ, **more})
        try:
            yield running
        finally:
            await running.close()

    return opened
