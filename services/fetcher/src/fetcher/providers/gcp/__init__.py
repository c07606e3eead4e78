"""The provider ``gcp``: Secret Manager and Parameter Manager, read with each pod's own identity."""

from __future__ import annotations

import time
from collections.abc import Mapping

from fetcher.provider import Provider
from fetcher.providers.gcp.fetch import Gcp
from fetcher.providers.gcp.settings import GcpSettings
from keyferry.settings import load


async def open_provider(environ: Mapping[str, str]) -> Provider:
    """The provider, ready to fetch; nothing is asked of Google yet.

    Raises:
        SettingsError: a variable of `GcpSettings` is malformed.
    """
    return Gcp(load(GcpSettings, environ), time.time)
