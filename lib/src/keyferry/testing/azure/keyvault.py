"""The HTTP side of Key Vault: ``/vaults/NAME/secrets/…``, and likewise keys and certificates."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from keyferry.testing.azure.answers import failing
from keyferry.testing.azure.bundles import bundle, error, item
from keyferry.testing.azure.certificates import taken_apart
from keyferry.testing.azure.directory import VAULT, Directory, NotAccepted
from keyferry.testing.azure.faults import Call, Faults
from keyferry.testing.azure.pages import BadPage, page
from keyferry.testing.azure.vaults import KINDS, Vault, Version

_NOT_FOUND = {"secrets": "SecretNotFound", "keys": "KeyNotFound", "certificates": "CertificateNotFound"}
_DISABLED = {"secrets": "SecretDisabled", "keys": "KeyDisabled", "certificates": "CertificateDisabled"}
_OPERATIONS = {
    ("GET", 1): "list",
    ("GET", 2): "get",
    ("GET", 3): "get",
    ("PUT", 2): "set",
    ("PATCH", 2): "update",
    ("PATCH", 3): "update",
    ("DELETE", 2): "delete",
}
_LAST_WORDS = {"versions": "list", "create": "create", "import": "import", "recover": "recover"}


class _Problem(Exception):
    """An error that Key Vault tells by status, code, inner code and text."""

    def __init__(self, status: int, code: str, inner: str, text: str) -> None:
        super().__init__(text)
        self.status, self.code, self.inner = status, code, inner


@dataclass(frozen=True)
class _Request:
    """One request, taken apart: which kind of objects, which one, what of it, and what is to be done."""

    http: web.Request
    vault: Vault
    kind: str
    name: str
    version: str
    operation: str
    deleted: bool


class KeyVault:
    """The route of the data plane.

    Args:
        vaults: By name.
        directory: Verifies access tokens.
        faults: Switches.
    """

    def __init__(self, vaults: dict[str, Vault], directory: Directory, faults: Faults) -> None:
        self._vaults, self._directory, self._faults = vaults, directory, faults
        self._do: dict[str, Callable[[_Request], Awaitable[web.Response]]] = {
            "get": self._get,
            "list": self._list,
            "set": self._set,
            "create": self._create,
            "import": self._import,
            "update": self._update,
            "delete": self._delete,
            "recover": self._recover,
        }

    def routes(self) -> list[web.RouteDef]:
        """All of them: one."""
        return [web.route("*", "/vaults/{vault}/{path:.+}", self._handle)]

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        vault = self._vaults.get(http.match_info["vault"].lower())
        if vault is None:  # of a real one not even the name would resolve
            raise web.HTTPNotFound
        request = _taken_apart(http, vault)
        authorization = http.headers.get("Authorization", "")
        port = http.transport.get_extra_info("peername")[1] if http.transport else 0
        operation, resource = f"{request.operation} {request.kind}", f"{vault.name}/{request.name}"
        fault = await self._faults.meet(Call(operation, resource, bool(authorization), port))
        if failure := await failing(http, fault, error):
            return failure
        try:
            self._admit(request, authorization)
            return await self._do[request.operation](request)
        except NotAccepted as refusal:
            return _challenge(http, vault, str(refusal))
        except _Problem as problem:
            return web.json_response(error(problem.code, problem.inner, str(problem)), status=problem.status)

    def _admit(self, request: _Request, authorization: str) -> None:
        """Let the request pass if its token and the vault's access policy do.

        Raises:
            NotAccepted: there is no good token.
            _Problem: the version of the API is missing, or the policy does not grant it.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme != "Bearer":
            raise NotAccepted("AKV10000: Request is missing a Bearer or PoP token.")
        caller = self._directory.bearer(token, tenant=request.vault.tenant, resource=VAULT)
        if not request.http.query.get("api-version"):
            raise _Problem(400, "BadParameter", "", "api-version must be specified")
        if request.kind not in KINDS or request.operation not in self._do:
            raise _Problem(400, "BadParameter", "", "The request URI is invalid")
        if not request.vault.may(caller.client_id, f"{request.kind}/{request.operation}"):
            text = (
                f"The user, group or application 'appid={caller.client_id};oid={caller.object_id}' does not have "
                f"{request.kind} {request.operation} permission on key vault '{request.vault.name};location=local'."
            )
            raise _Problem(403, "Forbidden", "ForbiddenByPolicy", text)

    async def _get(self, request: _Request) -> web.Response:
        if request.deleted:
            versions = request.vault.deleted[request.kind].get(request.name)
            if not versions:
                raise _missing(request)
            return web.json_response(_bundle(request, versions[-1], secret=False))
        found = _found(request)
        if not found.enabled and request.kind == "secrets":
            inner = _DISABLED[request.kind]
            raise _Problem(403, "Forbidden", inner, "Operation get is not allowed on a disabled secret.")
        return web.json_response(_bundle(request, found))

    async def _list(self, request: _Request) -> web.Response:
        if request.name:
            listed = [(request.name, each) for each in request.vault.objects[request.kind].get(request.name, [])]
            if not listed:
                raise _missing(request)
        else:
            newest = ((name, request.vault.find(request.kind, name)) for name in request.vault.objects[request.kind])
            listed = [(name, version) for name, version in newest if version]
        try:
            shown, link = page(listed, request.http.url)
        except BadPage as bad:
            raise _Problem(400, "BadParameter", "", str(bad)) from None
        origin = str(request.http.url.origin())
        items = [item(origin, request.kind, name, version, with_id=bool(request.name)) for name, version in shown]
        return web.json_response({"value": items, "nextLink": link})

    async def _set(self, request: _Request) -> web.Response:
        sent = await request.http.json()
        about = _about(sent)
        self._check_name(request)
        version = request.vault.set_secret(request.name, sent["value"], sent.get("contentType"), **about)
        return web.json_response(_bundle(request, _found(request, version)))

    async def _create(self, request: _Request) -> web.Response:
        sent = await request.http.json()
        self._check_name(request)
        version = request.vault.create_key(request.name, sent["kty"], sent.get("crv") or "P-256", **_about(sent))
        return web.json_response(_bundle(request, _found(request, version)))

    async def _import(self, request: _Request) -> web.Response:
        sent = await request.http.json()
        self._check_name(request)
        try:
            key, chain, secret = taken_apart(sent["value"])
        except ValueError:
            raise _Problem(400, "BadParameter", "", "The specified certificate content can not be read.") from None
        about = _about(sent)
        version = request.vault.import_certificate(request.name, key, chain, secret, **about)
        return web.json_response(_bundle(request, _found(request, version)))

    async def _update(self, request: _Request) -> web.Response:
        found = _found(request)
        for name, value in _about(await request.http.json()).items():
            setattr(found, name, value)
        return web.json_response(_bundle(request, found, secret=False))

    async def _delete(self, request: _Request) -> web.Response:
        if request.deleted:
            request.vault.deleted[request.kind].pop(request.name, None)
            return web.Response(status=204)
        found = _found(request)
        request.vault.delete(request.kind, request.name)
        base = f"{request.http.url.origin()}/deleted{request.kind}/{request.name}"
        return web.json_response({**_bundle(request, found, secret=False), "recoveryId": base, "deletedDate": 1})

    async def _recover(self, request: _Request) -> web.Response:
        if request.name not in request.vault.deleted[request.kind]:
            raise _missing(request)
        request.vault.recover(request.kind, request.name)
        return web.json_response(_bundle(request, _found(request), secret=False))

    def _check_name(self, request: _Request) -> None:
        if request.name in request.vault.deleted[request.kind]:
            text = f"{request.name} is currently in a deleted but recoverable state, and its name cannot be reused."
            raise _Problem(409, "Conflict", "ObjectIsDeletedButRecoverable", text)


def _taken_apart(http: web.Request, vault: Vault) -> _Request:
    parts = http.match_info["path"].rstrip("/").split("/")
    deleted = parts[0].startswith("deleted")
    kind = parts[0].removeprefix("deleted")
    last = parts[-1] if len(parts) > 2 else ""  # noqa: PLR2004 - kind, name and what of it
    operation = _LAST_WORDS.get(last) or _OPERATIONS.get((http.method, len(parts)), "")
    name = parts[1] if len(parts) > 1 else ""
    return _Request(http, vault, kind, name, "" if last in _LAST_WORDS else last, operation, deleted)


def _found(request: _Request, version: str = "") -> Version:
    found = request.vault.find(request.kind, request.name, version or request.version)
    if found is None:
        raise _missing(request)
    return found


def _missing(request: _Request) -> _Problem:
    text = (
        f"A {request.kind.removesuffix('s')} with (name/id) {request.name} was not found in this key vault. If you "
        "recently deleted it you may be able to recover it using the correct recovery command."
    )
    return _Problem(404, _NOT_FOUND[request.kind], "", text)


def _about(sent: dict[str, Any]) -> dict[str, Any]:
    """What a request says of a version, as fields of `Version`."""
    attributes = sent.get("attributes") or {}
    names = {"enabled": "enabled", "exp": "expires", "nbf": "not_before"}
    told = {names[name]: value for name, value in attributes.items() if name in names and value is not None}
    return {**told, "tags": sent["tags"]} if isinstance(sent.get("tags"), dict) else told


def _bundle(request: _Request, found: Version, *, secret: bool = True) -> dict[str, Any]:
    return bundle(str(request.http.url.origin()), request.kind, request.name, found, secret=secret)


def _challenge(http: web.Request, vault: Vault, text: str) -> web.Response:
    origin = http.url.origin()
    header = f'Bearer authorization="{origin}/{vault.tenant}", resource="{VAULT}"'
    return web.json_response(error("Unauthorized", "", text), status=401, headers={"WWW-Authenticate": header})
