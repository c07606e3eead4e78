"""Azure as a server in this process: where everything is wired together."""

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from aiohttp import web

from keyferry.testing.azure.directory import Directory
from keyferry.testing.azure.entra import Entra
from keyferry.testing.azure.faults import Faults
from keyferry.testing.azure.keyvault import KeyVault
from keyferry.testing.azure.remote import Remote
from keyferry.testing.azure.vaults import Vault
from keyferry.testing.kube import tls
from keyferry.testing.ports import free_port
from keyferry.testing.serving import serving

TENANT = "11111111-2222-3333-4444-555555555555"
"""Where vaults and applications are that no other tenant is named for."""

ADMIN = "00000000-0000-0000-0000-00000000ad00"


class AzureEmulator:
    """Azure on loopback over TLS, with everything in memory. Use as ``async with AzureEmulator() as azure``.

    Args:
        now: Unix seconds, by which access tokens end.

    Attributes:
        url: Of Microsoft Entra ID, and before ``/vaults/NAME`` of each vault.
        metadata_url: Of the node's metadata service; what AZURE_POD_IDENTITY_AUTHORITY_HOST is set to.
        vault_url: Of vaults, ``{name}`` standing for the name.
        ca_pem: Certificate of the authority that signed the server's.
        ca_file: The same as a file.
        admin_token: Access token of somebody who may do everything in every vault of `TENANT`.
        directory: Who is who.
        vaults: By name.
        faults: Switches, and what was called.
        token_seconds: How long new access tokens hold.
    """

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self.token_seconds = 3600.0
        self.directory = Directory(now)
        self.vaults: dict[str, Vault] = {}
        self.faults = Faults()
        self._now = now
        self._port = free_port()
        self._stack = AsyncExitStack()
        self._listening = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="azure-"))
        self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        self._certificates = tls.issue()
        self._publish(self._certificates.ca_pem, self._folder / "ca.crt")
        admin = self.directory.register(TENANT, ADMIN)
        self.admin_token = self.directory.issue(admin, next(iter(self.directory.resources)), 10**9)
        self._entra = Entra(self.directory, self.faults, lambda: self.token_seconds)
        node = web.Application()
        node.add_routes(self._entra.node_routes())
        self.metadata_url = await self._stack.enter_async_context(serving(node))
        await self.start()
        self._stack.push_async_callback(self.stop)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start(self) -> None:
        """Listen, again after `stop`; what is kept is still there."""
        app = web.Application()
        app.add_routes(Remote(self, TENANT, ADMIN).routes())
        app.add_routes(KeyVault(self.vaults, self.directory, self.faults).routes())
        app.add_routes(self._entra.routes())
        context = self._certificates.context(self._folder)
        self.url = await self._listening.enter_async_context(serving(app, port=self._port, tls=context))
        self.vault_url = f"{self.url}/vaults/{{name}}"

    async def stop(self) -> None:
        """Have nothing listen; connections are cut."""
        await self._listening.aclose()

    def _publish(self, ca_pem: str, file: Path) -> None:
        self.ca_pem, self.ca_file = ca_pem, str(file)
        file.write_text(ca_pem)

    def vault(self, name: str, *, tenant: str = TENANT) -> Vault:
        """A vault of this name, made if there is none; the bearer of `admin_token` may do everything in it."""
        if name.lower() not in self.vaults:
            made = self.vaults[name.lower()] = Vault(name, tenant, self._now)
            made.allow(ADMIN, "*")
        return self.vaults[name.lower()]

    def environ(self) -> dict[str, str]:
        """What makes the azure provider ask here; for managed identities, AZURE_POD_IDENTITY_AUTHORITY_HOST is more."""
        return {
            "KEYFERRY_AZURE_AUTHORITY": self.url,
            "KEYFERRY_AZURE_VAULT_URL": self.vault_url,
            "KEYFERRY_AZURE_CA_FILE": self.ca_file,
        }
