"""The emulator's own HTTP routes, by which other processes set up what Key Vault's API cannot."""

from typing import TYPE_CHECKING, Any

from aiohttp import web

from keyferry.testing.azure import certificates
from keyferry.testing.azure.directory import VAULT, NotAccepted
from keyferry.testing.azure.faults import Fault

if TYPE_CHECKING:
    from keyferry.testing.azure.server import AzureEmulator


class Remote:
    """Routes below ``/emulator``; all need the administrator's token.

    Args:
        azure: What they set up.
        tenant: The administrator's.
        admin: Its client id.
    """

    def __init__(self, azure: "AzureEmulator", tenant: str, admin: str) -> None:
        self._azure, self._tenant, self._admin = azure, tenant, admin

    def routes(self) -> list[web.RouteDef]:
        """All of them; each takes a JSON object and answers with one."""
        return [
            web.post("/emulator/secrets", self._secret),
            web.post("/emulator/keys", self._key),
            web.post("/emulator/certificates", self._certificate),
            web.post("/emulator/federate", self._federate),
            web.post("/emulator/client-secrets", self._client_secret),
            web.post("/emulator/allow", self._allow),
            web.post("/emulator/fail", self._fail),
            web.post("/emulator/mend", self._mend),
            web.post("/emulator/calls", self._calls),
        ]

    async def _secret(self, request: web.Request) -> web.Response:
        """Takes vault, name, value and fields of `Version`; answers with the version."""
        sent = await self._sent(request)
        return web.json_response({"version": self._azure.vault(sent.pop("vault")).set_secret(**sent)})

    async def _key(self, request: web.Request) -> web.Response:
        """Takes vault, name, kty and crv; answers with the version."""
        sent = await self._sent(request)
        return web.json_response({"version": self._azure.vault(sent.pop("vault")).create_key(**sent)})

    async def _certificate(self, request: web.Request) -> web.Response:
        """Takes vault, name, kind (RSA or EC) and pfx; makes a chain of three, and answers with the version."""
        sent = await self._sent(request)
        issued = certificates.issue(kind=sent.get("kind", "RSA"))
        secret = (certificates.PFX, issued.pfx()) if sent.get("pfx") else (certificates.PEM, issued.pem())
        vault = self._azure.vault(sent["vault"])
        return web.json_response({"version": vault.import_certificate(sent["name"], issued.key, issued.chain, secret)})

    async def _federate(self, request: web.Request) -> web.Response:
        """Takes tenant, client_id, issuer and subject; they are those of `Directory.federate`."""
        self._azure.directory.federate(**await self._sent(request))
        return web.json_response({})

    async def _client_secret(self, request: web.Request) -> web.Response:
        """Takes tenant and client_id; answers with a secret of the client."""
        return web.json_response({"secret": self._azure.directory.create_secret(**await self._sent(request))})

    async def _allow(self, request: web.Request) -> web.Response:
        """Takes vault, client_id and rights; they are those of `Vault.allow`."""
        sent = await self._sent(request)
        self._azure.vault(sent["vault"]).allow(sent["client_id"], *sent.get("rights", ()))
        return web.json_response({})

    async def _fail(self, request: web.Request) -> web.Response:
        """Takes operation, and fields of `Fault`; holds until mended."""
        sent = await self._sent(request)
        self._azure.faults.always(sent.pop("operation"), Fault(**sent))
        return web.json_response({})

    async def _mend(self, request: web.Request) -> web.Response:
        await self._sent(request)
        self._azure.faults.mend()
        return web.json_response({})

    async def _calls(self, request: web.Request) -> web.Response:
        """Takes operation; answers with how often it was called."""
        sent = await self._sent(request)
        return web.json_response({"count": self._azure.faults.count(sent["operation"])})

    async def _sent(self, request: web.Request) -> dict[str, Any]:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            caller = self._azure.directory.bearer(token, tenant=self._tenant, resource=VAULT)
        except NotAccepted:
            raise web.HTTPUnauthorized from None
        if caller.client_id != self._admin:
            raise web.HTTPUnauthorized
        sent: dict[str, Any] = await request.json()
        return sent
