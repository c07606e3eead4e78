"""Provider plugins: today's provider images, asked over their protocol v1alpha1 (docs/backends/plugin.md)."""

from __future__ import annotations

from collections.abc import Mapping

from fetcher.providers.plugin.fetch import Client, Plugin
from fetcher.providers.plugin.offered import Offered
from fetcher.providers.plugin.settings import PluginSettings
from keyferry.settings import load

__all__ = ["Client", "Offered", "Plugin", "PluginSettings", "open_client"]


async def open_client(environ: Mapping[str, str]) -> Client:
    """What speaks to all plugins, with the operator's settings; the caller closes it.

    Raises:
        SettingsError: naming each variable that is malformed.
    """
    return Client(load(PluginSettings, environ))
