"""The backends: a table of names, each opened only where an operator wants it."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from fetcher.provider import Provider
from keyferry.settings import SettingsError

TABLE = {
    "aws": "fetcher.providers.aws",
    "azure": "fetcher.providers.azure",
    "gcp": "fetcher.providers.gcp",
    "openbao": "fetcher.providers.vault",
    "vault": "fetcher.providers.vault",
}
"""Name in ``spec.provider`` to the module that offers ``async def open_provider(environ) -> Provider``. Modules are
imported when opened, so that an image for one backend carries no SDK of another; names of one module share a
provider."""

PLUGIN_DIRS = "KEYFERRY_PLUGIN_DIRS"
"""Where it is set, every other name is asked of a plugin (docs/backends/plugin.md)."""


@asynccontextmanager
async def open_providers(names: Collection[str], environ: Mapping[str, str]) -> AsyncIterator[Mapping[str, Provider]]:
    """The named backends, and plugins for all other names if there are any, for as long as the block lasts.

    Raises:
        SettingsError: a name is unknown, or a backend's settings cannot work.
    """
    unknown = sorted(set(names) - set(TABLE))
    if unknown:
        raise SettingsError(f"KEYFERRY_PROVIDERS names {', '.join(unknown)}: known are {', '.join(sorted(TABLE))}")
    async with AsyncExitStack() as stack:
        opened: dict[str, Provider] = {}
        for module in dict.fromkeys(TABLE[name] for name in names):
            opened[module] = await importlib.import_module(module).open_provider(environ)
            stack.push_async_callback(opened[module].close)
        providers = {name: opened[TABLE[name]] for name in names}
        if not environ.get(PLUGIN_DIRS):
            yield providers
            return
        plugin = importlib.import_module("fetcher.providers.plugin")
        client = await plugin.open_client(environ)
        stack.push_async_callback(client.close)
        yield plugin.Offered(providers, client)
