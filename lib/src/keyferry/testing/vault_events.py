"""Vault Enterprise's event stream, and the logins that lead to it; OpenBao, which tests run on, has no such stream.

Shapes from Vault's "Event notifications" and ``sys/events`` API page: a WebSocket at
``/v1/sys/events/subscribe/<types>?json=true`` that sends CloudEvents in JSON, once, to whoever listens.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Self

from aiohttp import web

from keyferry.testing.ports import free_port
from keyferry.testing.serving import serving


class VaultEventsEmulator:
    """Use as ``async with VaultEventsEmulator() as vault``.

    Attributes:
        address: URL; the same after `stop` and `start`.
        tokens: That may subscribe.
        logins: What a pod's token logs in to: its token to what it is given.
        lease_seconds: How long tokens that are given live.
        renewals: How often a token was renewed.
        subscribed: Types, namespace and query of each subscription that was made.
        sockets: The subscriptions that stand.
        redirect: Where subscribers are sent instead, if not empty.
    """

    def __init__(self) -> None:
        self._port = free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self.tokens = {"test-only-events"}
        self.logins: dict[str, str] = {}
        self.lease_seconds = 3600
        self.renewals = 0
        self.subscribed: list[tuple[str, str, Mapping[str, str]]] = []
        self.sockets: dict[web.WebSocketResponse, str] = {}
        self.redirect = ""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, again after `stop`."""
        app = web.Application()
        app.router.add_get("/v1/sys/events/subscribe/{types}", self._subscribe)
        app.router.add_post("/v1/auth/token/renew-self", self._renew)
        app.router.add_post("/v1/auth/{mount}/login", self._login)
        await self._stack.enter_async_context(serving(app, port=self._port))

    async def stop(self) -> None:
        """Cut all connections and listen no more."""
        await self.drop()
        await self._stack.aclose()

    async def drop(self) -> None:
        """Cut all subscriptions."""
        for socket in tuple(self.sockets):
            await socket.close()

    async def write(self, path: str, *, kind: str = "kv-v2/data-write", mount: str = "secret/") -> str:
        """Tell all subscribers of a write; returns the event's id."""
        identifier = str(uuid.uuid4())
        metadata = {"current_version": "2", "data_path": path, "modified": "true", "operation": "data-write"}
        data = {
            "event": {"id": identifier, "metadata": {**metadata, "path": path}},
            "event_type": kind,
            "plugin_info": {"mount_class": "secret", "mount_path": mount, "plugin": "kv"},
        }
        await self.send(json.dumps(_cloud_event(identifier, data)), kind=kind)
        return identifier

    async def send(self, text: str, *, kind: str = "kv-v2/data-write") -> None:
        """Send any text to all who subscribe to a type."""
        for socket, types in tuple(self.sockets.items()):
            if fnmatch.fnmatchcase(kind, types):
                await socket.send_str(text)

    async def _subscribe(self, request: web.Request) -> web.StreamResponse:
        if self.redirect:
            raise web.HTTPTemporaryRedirect(self.redirect)
        if request.headers.get("X-Vault-Token") not in self.tokens:
            return web.json_response({"errors": ["permission denied"]}, status=403)
        types = request.match_info["types"]
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.subscribed.append((types, request.headers.get("X-Vault-Namespace", ""), dict(request.query)))
        self.sockets[socket] = types
        try:
            async for _ in socket:
                await asyncio.sleep(0)
        finally:
            self.sockets.pop(socket, None)
        return socket

    async def _login(self, request: web.Request) -> web.Response:
        asked = await request.json()
        given = self.logins.get(asked.get("jwt", ""))
        if given is None:
            return web.json_response({"errors": ["permission denied"]}, status=403)
        self.tokens.add(given)
        return self._granted(given)

    async def _renew(self, request: web.Request) -> web.Response:
        shown = request.headers.get("X-Vault-Token", "")
        if shown not in self.tokens:
            return web.json_response({"errors": ["permission denied"]}, status=403)
        self.renewals += 1
        return self._granted(shown)

    def _granted(self, given: str) -> web.Response:
        auth = {"client_token": given, "lease_duration": self.lease_seconds, "renewable": True}
        return web.json_response({"auth": auth})


def _cloud_event(identifier: str, data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": identifier,
        "source": "https://vaultproject.io/",
        "specversion": "1.0",
        "type": "*",
        "data": data,
        "datacontentype": "application/cloudevents",
        "time": "2026-11-24T12:00:00.123456789Z",
    }
