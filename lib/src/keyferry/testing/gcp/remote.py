"""The emulator's own HTTP routes, by which other processes set up what Google's APIs here cannot."""

import grpc
from aiohttp import web

from keyferry.testing.gcp.faults import Fault, Faults
from keyferry.testing.gcp.identities import Identities
from keyferry.testing.gcp.policies import Policies


class Remote:
    """Routes below ``/emulator``; all need the administrator's token.

    Args:
        identities: Who is who.
        policies: Who may what.
        faults: Switches.
        admin: The administrator, as a member.
    """

    def __init__(self, identities: Identities, policies: Policies, faults: Faults, admin: str) -> None:
        self._identities, self._policies, self._faults, self._admin = identities, policies, faults, admin

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        return [
            web.post("/emulator/allow", self._allow),
            web.post("/emulator/accounts", self._account),
            web.post("/emulator/fail", self._fail),
            web.post("/emulator/mend", self._mend),
            web.get("/emulator/calls/{method}", self._calls),
        ]

    async def _allow(self, request: web.Request) -> web.Response:
        """Takes member, resource and role; they are those of `Policies.allow`."""
        self._check(request)
        sent = await request.json()
        self._policies.allow(sent["member"], sent["resource"], sent["role"])
        return web.json_response({})

    async def _account(self, request: web.Request) -> web.Response:
        """Takes the email of a service account to be made; answers with a key.json of its."""
        self._check(request)
        return web.json_response(self._identities.create_account((await request.json())["email"]))

    async def _fail(self, request: web.Request) -> web.Response:
        """Takes method, and fields of `Fault` with the code by name; holds until mended."""
        self._check(request)
        sent = await request.json()
        method, code = sent.pop("method"), sent.pop("code", "")
        self._faults.always(method, Fault(code=grpc.StatusCode[code] if code else None, **sent))
        return web.json_response({})

    async def _mend(self, request: web.Request) -> web.Response:
        self._check(request)
        self._faults.mend()
        return web.json_response({})

    async def _calls(self, request: web.Request) -> web.Response:
        self._check(request)
        return web.json_response({"count": self._faults.count(request.match_info["method"])})

    def _check(self, request: web.Request) -> None:
        if self._admin not in (self._identities.bearer(request.headers.get("Authorization", "")) or ()):
            raise web.HTTPUnauthorized
