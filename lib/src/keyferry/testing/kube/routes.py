"""From HTTP to the verbs and back: authentication, faults, errors as Status objects, streams for watches."""

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import web

from keyferry.testing.kube import access, discovery, reading, requests, tables, watching
from keyferry.testing.kube.accounts import Accounts
from keyferry.testing.kube.catalog import Catalog
from keyferry.testing.kube.deleting import Deleting
from keyferry.testing.kube.faults import Faults
from keyferry.testing.kube.patching import APPLY
from keyferry.testing.kube.requests import Call
from keyferry.testing.kube.status import StatusError, method_not_allowed, unauthorized
from keyferry.testing.kube.store import Store
from keyferry.testing.kube.tokens import Issuer
from keyferry.testing.kube.writing import Writing

Json = dict[str, Any]

_DISCOVERY, _KEYS = "/.well-known/openid-configuration", "/openid/v1/jwks"
_ONLY_CREATED = ("token", "binding")
_KEYS_TYPE = "application/jwk-set+json"
_CACHED = "public, max-age=3600"
_HEALTH = ("/healthz", "/livez", "/readyz")
_OPEN = (*_HEALTH, "/version", _DISCOVERY, _KEYS)
"""Paths that need no token. Real clusters let anonymous callers read the keys only where a role binding says so."""


@dataclass(frozen=True)
class Routes:
    """Everything that answers calls; `minor` is the Kubernetes version it says it is."""

    store: Store
    catalog: Catalog
    writing: Writing
    deleting: Deleting
    accounts: Accounts
    issuer: Issuer
    faults: Faults
    minor: int
    bookmark_seconds: float

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers any request."""
        try:
            await self.faults.strike(request.method, request.path)
            self._authenticate(request)
            return await self._answer(request)
        except StatusError as error:
            return _failure(error)
        except web.HTTPRequestEntityTooLarge:
            text = f"Request entity too large: limit is {requests.LARGEST_BODY}"
            return _failure(StatusError(413, "RequestEntityTooLarge", text))

    def _authenticate(self, request: web.Request) -> None:
        if request.path in _OPEN:
            return
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or self.accounts.caller(token.strip()) is None:
            raise unauthorized()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        target = requests.target(self.catalog, request.path)
        if target is None:
            return self._document(request)
        content_type = request.content_type if request.body_exists else "application/json"
        call = Call(
            target,
            request.query,
            requests.decoded(await request.read(), content_type),
            content_type,
            request.headers.get("User-Agent", ""),
            request.headers.get("Accept", ""),
        )
        # aiohttp turns HEAD into GET for nobody, so the table below is all there is.
        if request.method == "GET" and not target.name and call.flag("watch"):
            return await self._watch(request, call)
        answer, status = self._called(request.method, call)
        if request.method == "GET" and tables.wanted(call.accept):
            answer = tables.table(target.resource, answer, self.accounts.clock)
        return _success(answer, status, target.resource.warning)

    def _called(self, method: str, call: Call) -> tuple[Json, int]:
        answer = self._special(method, call)
        if answer is not None:
            return answer, HTTPStatus.CREATED
        if call.target.subresource in _ONLY_CREATED:
            raise method_not_allowed()
        verbs = call.target.resource.verbs
        status = HTTPStatus.OK
        match method, bool(call.target.name):
            case "GET", True:
                answer = reading.get(self.store, call)
            case "GET", False:
                answer = reading.list_objects(self.store, call)
            case "POST", False if "create" in verbs:
                answer, status = self.writing.create(call), HTTPStatus.CREATED
            case "PUT", True:
                answer = self.writing.replace(call)
            case "PATCH", True:
                creates = call.content_type == APPLY and not self._exists(call)
                answer, status = self.writing.patch(call), HTTPStatus.CREATED if creates else HTTPStatus.OK
            case "DELETE", True:
                answer = self.deleting.delete(call)
            case "DELETE", False if "deletecollection" in verbs:
                chosen = reading.list_objects(self.store, call)["items"]
                answer = self.deleting.delete_collection(call, chosen)
            case _:
                raise method_not_allowed()
        return answer, status

    def _exists(self, call: Call) -> bool:
        try:
            reading.get(self.store, call)
        except StatusError:
            return False
        return True

    def _special(self, method: str, call: Call) -> Json | None:
        """The calls that are no plain write of an object."""
        at, body = call.target, call.body if isinstance(call.body, dict) else {}
        if method != "POST":
            return None
        if at.resource.plural == "tokenreviews":
            return self.accounts.review(body)
        if at.resource.plural == "subjectaccessreviews":
            return access.review(self.store, body)
        if at.subresource == "token":
            return self.accounts.request_token(at.namespace, at.name, body)
        if at.subresource == "binding":
            return self.writing.bind(call)
        return None

    async def _watch(self, request: web.Request, call: Call) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
        )
        response.enable_chunked_encoding()
        try:
            watch = watching.started(self.store, call)
        except StatusError as error:
            if error.code != HTTPStatus.GONE or self.faults.gone_as_status:
                raise
            await response.prepare(request)
            await response.write(_line(watching.error_event(error)))
            return response
        await response.prepare(request)
        self.faults.watches.add(watch)
        try:
            async for event in watch.events(self.bookmark_seconds):
                await response.write(_line(event))
        finally:
            self.faults.watches.discard(watch)
            watch.close()
        return response

    def _document(self, request: web.Request) -> web.StreamResponse:
        """The paths that belong to no resource."""
        if request.path in _HEALTH:
            return web.Response(text="ok")
        if request.path == _KEYS:
            return self._keys(request)
        if request.path == _DISCOVERY:
            found: Json | None = self.issuer.discovery(f"{request.scheme}://{request.host}{_KEYS}")
        elif request.path == "/version":
            found = discovery.version(self.minor)
        else:
            found = discovery.answer(self.catalog, request.path, request.host)
        if found is not None:
            return _success(found)
        if requests.in_built_in_group(self.catalog, request.path):
            raise StatusError(HTTPStatus.NOT_FOUND, "NotFound", "the server could not find the requested resource")
        if request.path.startswith("/apis/"):
            return web.Response(status=HTTPStatus.NOT_FOUND, text="404 page not found\n")
        known = [*_OPEN, *discovery.paths(self.catalog)]
        return _success({"paths": sorted(known)}, HTTPStatus.OK if request.path == "/" else HTTPStatus.NOT_FOUND)

    def _keys(self, request: web.Request) -> web.Response:
        """The token keys, which a client that asks for plain JSON does not get: so it is on a real server."""
        accepted = request.headers.get("Accept", "*/*")
        if not any(kind in accepted for kind in (_KEYS_TYPE, "application/*", "*/*")):
            raise StatusError(HTTPStatus.NOT_ACCEPTABLE, "NotAcceptable", "406: Not Acceptable")
        headers = {"Content-Type": _KEYS_TYPE, "Cache-Control": _CACHED}
        return web.Response(body=json.dumps(self.issuer.key_set()).encode(), headers=headers)


def _line(event: Json) -> bytes:
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _success(answer: Json, status: int = 200, warning: str = "") -> web.Response:
    headers = {"Warning": f'299 - "{warning}"'} if warning else {}
    return web.Response(body=_line(answer), status=status, content_type="application/json", headers=headers)


def _failure(error: StatusError) -> web.Response:
    headers = {}
    if "retryAfterSeconds" in error.details:
        headers["Retry-After"] = str(error.details["retryAfterSeconds"])
    body = _line(error.body())
    return web.Response(body=body, status=error.code, content_type="application/json", headers=headers)
