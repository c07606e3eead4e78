"""The provider ``aws``: Secrets Manager and SSM Parameter Store, read with each pod's own role."""

from __future__ import annotations

import time
from collections.abc import Mapping

from fetcher.provider import Provider
from fetcher.providers.aws.fetch import Aws
from fetcher.providers.aws.settings import AwsSettings
from keyferry.settings import load


async def open_provider(environ: Mapping[str, str]) -> Provider:
    """The provider, ready to fetch; nothing is asked of AWS yet.

    Raises:
        SettingsError: a variable of `AwsSettings` is malformed.
    """
    return Aws(load(AwsSettings, environ), time.time)
