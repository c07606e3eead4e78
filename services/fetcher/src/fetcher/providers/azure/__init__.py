"""The provider ``azure``: secrets, keys and certificates of Azure Key Vault, read with each pod's own identity."""

from __future__ import annotations

import time
from collections.abc import Mapping

from fetcher.provider import Provider
from fetcher.providers.azure.fetch import Azure
from fetcher.providers.azure.settings import AzureSettings
from keyferry.settings import load


async def open_provider(environ: Mapping[str, str]) -> Provider:
    """The provider, ready to fetch; nothing is asked of Azure yet.

    Raises:
        SettingsError: a variable of `AzureSettings` is malformed, or its CA file cannot be used.
    """
    return Azure(load(AzureSettings, environ), time.time)
