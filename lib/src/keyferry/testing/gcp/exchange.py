"""The HTTP side: STS, GKE's identity binding tokens, the IAM Credentials API, OAuth for keys, and a metadata server."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from keyferry.testing.gcp.faults import Call, Faults
from keyferry.testing.gcp.identities import Identities, Refusal
from keyferry.testing.gcp.policies import Policies

_ACCOUNT = "projects/-/serviceAccounts/"
_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_KEY_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/iam")


class ExchangeApi:
    """Routes of one application.

    Args:
        identities: Who is who.
        policies: Who may act as whom.
        faults: Switches.
        metadata: What the metadata server says by path below ``/computeMetadata/v1/``.
        token_seconds: How long new access tokens hold; read at each exchange.
        now: Unix seconds.
    """

    def __init__(
        self,
        identities: Identities,
        policies: Policies,
        faults: Faults,
        *,
        metadata: dict[str, str],
        token_seconds: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._identities, self._policies, self._faults = identities, policies, faults
        self._metadata, self._token_seconds, self._now = metadata, token_seconds, now

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        return [
            web.post("/v1/token", self._sts),
            web.post("/v1/identitybindingtoken", self._binding),
            web.post("/token", self._oauth),
            web.post("/v1/projects/-/serviceAccounts/{account}", self._generate),
            web.get("/computeMetadata/v1/{path:.+}", self._about),
        ]

    async def _sts(self, request: web.Request) -> web.Response:
        sent = dict(await request.post()) if request.content_type != "application/json" else await request.json()
        return await self._exchanged("token", sent, _oauth_error)

    async def _binding(self, request: web.Request) -> web.Response:
        return await self._exchanged("identitybindingtoken", await request.json(), _api_error)

    async def _exchanged(
        self, method: str, sent: dict[str, Any], refuse: Callable[[Refusal], web.Response]
    ) -> web.Response:
        if failure := await self._failure(Call(method, str(sent.get("audience", "")))):
            return failure
        try:
            if sent.get("grant_type") != _GRANT or sent.get("scope") not in _SCOPES:
                raise Refusal("invalid_request", "Invalid value for grant_type or scope.")
            members = self._identities.of_pod(str(sent.get("audience")), str(sent.get("subject_token")))
        except Refusal as refusal:
            return refuse(refusal)
        return self._granted(members)

    async def _oauth(self, request: web.Request) -> web.Response:
        sent = await request.post()
        if failure := await self._failure(Call("oauth")):
            return failure
        try:
            if sent.get("grant_type") != _KEY_GRANT:
                raise Refusal("unsupported_grant_type", "Invalid grant_type.")
            members = self._identities.of_assertion(str(sent.get("assertion")))
        except Refusal as refusal:
            return _oauth_error(refusal)
        return self._granted(members)

    async def _generate(self, request: web.Request) -> web.Response:
        email, _, verb = request.match_info["account"].partition(":")
        if verb != "generateAccessToken":
            return web.Response(status=404)
        if failure := await self._failure(Call(verb, email)):
            return failure
        members = self._identities.bearer(request.headers.get("Authorization", ""))
        if members is None:
            return _error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        delegates = [name.removeprefix(_ACCOUNT) for name in (await request.json()).get("delegates") or ()]
        for account in (*delegates, email):
            allowed = self._policies.permit(members, "iam.serviceAccounts.getAccessToken", f"serviceAccounts/{account}")
            if account not in self._identities.accounts or not allowed:
                return _error(
                    403,
                    "PERMISSION_DENIED",
                    "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).",
                )
            members = frozenset({f"serviceAccount:{account}"})
        seconds = self._token_seconds()
        expires = datetime.fromtimestamp(self._now() + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return web.json_response({"accessToken": self._identities.issue(members, seconds), "expireTime": expires})

    async def _about(self, request: web.Request) -> web.Response:
        if failure := await self._failure(Call("metadata", request.match_info["path"])):
            return failure
        if request.headers.get("Metadata-Flavor") != "Google":
            return web.Response(status=403)
        value = self._metadata.get(request.match_info["path"])
        return web.Response(status=404) if value is None else web.Response(text=value)

    async def _failure(self, call: Call) -> web.Response | None:
        fault = await self._faults.meet(call)
        if fault.malformed:
            return web.Response(body=b"\xff{not json", content_type="application/json")
        if not fault.status:
            return None
        headers = {"Retry-After": str(int(fault.retry_after))} if fault.retry_after else {}
        return _error(fault.status, "UNAVAILABLE", "The service is failing because a test wants it so.", headers)

    def _granted(self, members: frozenset[str]) -> web.Response:
        seconds = self._token_seconds()
        return web.json_response(
            {
                "access_token": self._identities.issue(members, seconds),
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "token_type": "Bearer",
                "expires_in": int(seconds),
            }
        )


def _oauth_error(refusal: Refusal) -> web.Response:
    return web.json_response({"error": refusal.code, "error_description": refusal.description}, status=400)


def _api_error(refusal: Refusal) -> web.Response:
    return _error(400, "INVALID_ARGUMENT", refusal.description)


def _error(status: int, name: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    body = json.dumps({"error": {"code": status, "message": message, "status": name}})
    return web.Response(status=status, text=body, content_type="application/json", headers=headers)
