"""The vault provider: HashiCorp Vault and OpenBao (docs/backends/vault.md)."""

from __future__ import annotations

from collections.abc import Mapping

from fetcher.providers.vault.fetch import Vault
from fetcher.providers.vault.settings import VaultSettings
from keyferry.settings import load

__all__ = ["Vault", "VaultSettings", "open_provider"]


async def open_provider(environ: Mapping[str, str]) -> Vault:
    """A provider with the operator's settings; the caller closes it.

    Raises:
        SettingsError: naming each variable that is malformed.
    """
    return Vault(load(VaultSettings, environ))
