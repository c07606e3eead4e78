"""A provider plugin for tests: what the mock provider of upstream's e2e suite does, and errors on demand.

``python -m keyferry.testing.plugin SOCKET [PORT]`` runs it as a process that the URLs of upstream's tests control:
``/rotation?rotated=true`` and ``/validate-token-requests?audience=aud1,aud2``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from keyferry.errors import ProviderError
from keyferry.proto.provider.v1alpha1 import service_pb2 as pb
from keyferry.rpc import serve
from keyferry.testing.serving import serving

KEY = """-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA3OPFDC9pFoZwwqbtA4RJ
SZfnXFimoZyVSghe4uh1b2SogNmWTU/bPmBfoJOjFRvkBDyGUrRRiPTgXmE5ucxh
CXexBQBGyhjLg56B4rQUYo3cCyug7JiXS1NB2Y5gqMssxbuGwJha500gH3kMWR2/
ow0Qo+iTn/DQ2quXCMoTClZd/F+GY29rNjT0Xb1y3Mnj9t791glKTlL2p1AHqxOU
FlTqfYHSGR9VS6X63mKP7ndgdtz+iG8+atuJe8H52YX6xOXP3ZStExpGHvnUuHiw
m+PIxBxkqzFrF4wu+aX4Hl3uitR9wC4I9y5fC9y9HehaJwPeuRhK6c2ikPy333Jd
9QIDAQAB
-----END PUBLIC KEY-----
"""
SECRETS = {"foo": b"secret", "fookey": KEY.encode()}
_SERVICE = pb.DESCRIPTOR.services_by_name["CSIDriverProvider"]
_TOKENS = "csi.storage.k8s.io/serviceAccount.tokens"


@dataclass
class Plugin:
    """The servicer. A test reads its lists and sets its switches at any time.

    Attributes:
        version: What `Version` answers.
        rotated: Whether the objects have their second values.
        audiences: Each mount must come with tokens for these.
        answer: Answers mounts instead of the objects; may raise a `ProviderError`, whose code becomes the status.
        questions: Every mount, in order.
        greetings: Every `Version` call.
    """

    version: pb.VersionResponse = field(
        default_factory=lambda: pb.VersionResponse(
            version="v1alpha1", runtime_name="keyferry-test-plugin", runtime_version="0.0.1"
        )
    )
    rotated: bool = False
    audiences: tuple[str, ...] = ()
    answer: Callable[[pb.MountRequest], Awaitable[pb.MountResponse]] | None = None
    questions: list[pb.MountRequest] = field(default_factory=list)
    greetings: list[pb.VersionRequest] = field(default_factory=list)

    async def Version(self, request: pb.VersionRequest, _: float) -> pb.VersionResponse:  # noqa: N802 - the protocol's
        """Who it is."""
        self.greetings.append(request)
        return self.version

    async def Mount(self, request: pb.MountRequest, _: float) -> pb.MountResponse:  # noqa: N802 - the protocol's name
        """The files of the class.

        Raises:
            ProviderError: the request lacks something, or a test wants it so.
        """
        self.questions.append(request)
        attributes = _checked(request)
        self._check_tokens(attributes)
        if self.answer is not None:
            return await self.answer(request)
        return self._objects(attributes)

    def _check_tokens(self, attributes: dict[str, str]) -> None:
        tokens = json.loads(attributes.get(_TOKENS) or "{}")
        for audience in self.audiences:
            if not tokens.get(audience, {}).get("token"):
                raise _unknown(f"service account token for audience {audience} was not in the request")

    def _objects(self, attributes: dict[str, str]) -> pb.MountResponse:
        answer = pb.MountResponse()
        for text in yaml.safe_load(attributes["objects"])["array"]:
            name = yaml.safe_load(text)["objectName"]
            if name not in SECRETS:
                raise _unknown(f"object {name} is not one of {', '.join(SECRETS)}")
            contents = b"rotated" if self.rotated else SECRETS[name]
            answer.files.add(path=name, contents=contents)  # and mode 0, as upstream's
            answer.object_version.add(id=f"secret/{name}", version="v2" if self.rotated else "v1")
        return answer


def _checked(request: pb.MountRequest) -> dict[str, str]:
    """The attributes of a request that has all that upstream's providers insist on."""
    for name in ("attributes", "secrets", "target_path", "permission"):
        if not getattr(request, name):
            raise _unknown(f"missing {name.replace('_', ' ')}")
    secrets, mode = json.loads(request.secrets), json.loads(request.permission)
    if not isinstance(secrets, dict) or not isinstance(mode, int):
        raise _unknown("secrets are no JSON object, or permission is no JSON number")
    attributes: dict[str, str] = json.loads(request.attributes)
    return attributes


def _unknown(message: str) -> ProviderError:
    """What an error of Go's that carries no status becomes."""
    return ProviderError(message, code="UNKNOWN", reason="Unknown")


@asynccontextmanager
async def plugin_server(folder: Path, name: str, plugin: Plugin | None = None) -> AsyncIterator[Plugin]:
    """Serve a plugin at ``<name>.sock`` in a folder for the length of the block."""
    serving_it = plugin or Plugin()
    async with serve(f"unix://{folder / name}.sock", {_SERVICE: serving_it}, grace=0.0):
        yield serving_it


def _control(plugin: Plugin) -> web.Application:
    async def rotation(request: web.Request) -> web.Response:
        plugin.rotated = request.query.get("rotated") == "true"
        return web.Response()

    async def audiences(request: web.Request) -> web.Response:
        plugin.audiences = tuple(request.query.get("audience", "").split(","))
        return web.Response()

    app: Any = web.Application()
    app.router.add_get("/rotation", rotation)
    app.router.add_get("/validate-token-requests", audiences)
    return app  # type: ignore[no-any-return]  # aiohttp's


async def _main(socket: Path, port: int | None) -> None:
    async with plugin_server(socket.parent, socket.stem) as plugin, serving(_control(plugin), port=port) as url:
        os.write(1, f"serving at {socket}, controlled at {url}\n".encode())
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else None))
