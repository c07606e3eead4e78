"""The HTTP side of Microsoft Entra ID, and the metadata service of a node."""

import uuid
from collections.abc import Callable
from typing import Any

from aiohttp import web

from keyferry.testing.azure.answers import failing
from keyferry.testing.azure.directory import Application, Directory, Refusal
from keyferry.testing.azure.faults import Call, Faults

_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_STATUS = {"invalid_client": 401}


class Entra:
    """Routes of the authority's application, and those of the metadata service's.

    Args:
        directory: Who is who.
        faults: Switches.
        token_seconds: How long new access tokens hold; read at each exchange.
    """

    def __init__(self, directory: Directory, faults: Faults, token_seconds: Callable[[], float]) -> None:
        self._directory, self._faults, self._token_seconds = directory, faults, token_seconds

    def routes(self) -> list[web.RouteDef]:
        """Of the authority."""
        return [
            web.get("/{tenant}/v2.0/.well-known/openid-configuration", self._discovery),
            web.get("/{tenant}/discovery/v2.0/keys", self._keys),
            web.get("/common/discovery/instance", self._instance),
            web.post("/{tenant}/oauth2/v2.0/token", self._token),
        ]

    def node_routes(self) -> list[web.RouteDef]:
        """Of the metadata service."""
        return [web.get("/metadata/identity/oauth2/token", self._imds)]

    async def _discovery(self, request: web.Request) -> web.Response:
        tenant, base = request.match_info["tenant"], str(request.url.origin())
        return web.json_response(
            {
                "issuer": f"{base}/{tenant}/v2.0",
                "authorization_endpoint": f"{base}/{tenant}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/{tenant}/oauth2/v2.0/token",
                "device_authorization_endpoint": f"{base}/{tenant}/oauth2/v2.0/devicecode",
                "jwks_uri": f"{base}/{tenant}/discovery/v2.0/keys",
                "response_types_supported": ["code", "id_token"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
            }
        )

    async def _keys(self, _: web.Request) -> web.Response:
        return web.json_response(self._directory.key_set())

    async def _instance(self, request: web.Request) -> web.Response:
        tenant = f"{request.url.origin()}/common/v2.0/.well-known/openid-configuration"
        host = request.url.authority
        names = [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}]
        return web.json_response({"tenant_discovery_endpoint": tenant, "api-version": "1.1", "metadata": names})

    async def _token(self, request: web.Request) -> web.StreamResponse:
        sent = await request.post()
        tenant, client_id = request.match_info["tenant"], str(sent.get("client_id", ""))
        fault = await self._faults.meet(Call("token", client_id))
        if failure := await failing(request, fault, self._oauth_fault):
            return failure
        try:
            application = self._proved(tenant, client_id, {name: str(value) for name, value in sent.items()})
            resource = str(sent.get("scope", "")).removesuffix("/.default")
            return web.json_response(self._granted(application, resource))
        except Refusal as refusal:
            return self._refused(refusal)

    def _proved(self, tenant: str, client_id: str, sent: dict[str, str]) -> Application:
        if sent.get("grant_type") != "client_credentials" or not sent.get("scope", "").endswith("/.default"):
            raise Refusal("invalid_request", 900144, "The request body must contain grant_type and scope.")
        if "client_assertion" not in sent:
            return self._directory.of_secret(tenant, client_id, sent.get("client_secret", ""))
        if sent.get("client_assertion_type") != _ASSERTION:
            raise Refusal("invalid_request", 900144, "The request body must contain 'client_assertion_type'.")
        return self._directory.of_assertion(tenant, client_id, sent["client_assertion"])

    def _granted(self, application: Application, resource: str) -> dict[str, Any]:
        seconds = self._token_seconds()
        return {
            "token_type": "Bearer",
            "expires_in": int(seconds),
            "ext_expires_in": int(seconds),
            "access_token": self._directory.issue(application, resource, seconds),
        }

    def _refused(self, refusal: Refusal) -> web.Response:
        trace, correlation = uuid.uuid4(), uuid.uuid4()
        text = f"AADSTS{refusal.number}: {refusal.description} Trace ID: {trace} Correlation ID: {correlation}"
        body = {
            "error": refusal.error,
            "error_description": text,
            "error_codes": [refusal.number],
            "trace_id": str(trace),
            "correlation_id": str(correlation),
        }
        return web.json_response(body, status=_STATUS.get(refusal.error, 400))

    def _oauth_fault(self, code: str, _: str) -> dict[str, Any]:
        error, _, number = code.partition(":")
        text = f"AADSTS{number or 90033}: A transient error has occurred. Please try again."
        return {"error": error or "temporarily_unavailable", "error_description": text}

    async def _imds(self, request: web.Request) -> web.StreamResponse:
        client_id = request.query.get("client_id", "")
        fault = await self._faults.meet(Call("imds", client_id))
        if failure := await failing(request, fault, self._oauth_fault):
            return failure
        application = self._directory.of_node(client_id)
        if request.headers.get("Metadata") != "true" or not request.query.get("api-version"):
            return web.json_response({"error": "invalid_request", "error_description": "Bad request."}, status=400)
        if application is None:
            told = {"error": "invalid_request", "error_description": "Identity not found"}
            return web.json_response(told, status=400)
        resource, seconds = request.query.get("resource", ""), self._token_seconds()
        token = self._directory.issue(application, resource, seconds)
        return web.json_response(
            {
                "access_token": token,
                "client_id": application.client_id,
                "expires_in": str(int(seconds)),
                "resource": resource,
                "token_type": "Bearer",
            }
        )
