"""Serves the live page."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files

from aiohttp import web

from keyferry.bus import Bus
from keyferry.errors import InvalidArgument, KeyferryError, RateLimited, place
from keyferry.kube import Kube, connect
from keyferry.settings import SettingsError
from keyferry.store import Store
from rotator.certificate import Certificate, CertificateError
from rotator.listening import Handler, Listening
from rotator.settings import Settings
from rotator.ui.changes import Sent
from rotator.ui.connection import answer, listening
from rotator.ui.desk import Desk
from rotator.ui.door import Door
from rotator.ui.following import Following
from rotator.ui.query import Query
from rotator.ui.streams import Streams, written

log = logging.getLogger(__name__)

_LOOK_SECONDS = 30.0
_RETRY_SECONDS = 5.0
_STATIC = {
    "/ui": ("page.html", "text/html; charset=utf-8"),
    "/ui/page.css": ("page.css", "text/css; charset=utf-8"),
    "/ui/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/ui/table.js": ("table.js", "text/javascript; charset=utf-8"),
    "/ui/icon.svg": ("icon.svg", "image/svg+xml"),
}


class Page:
    """Answers requests.

    Args:
        kube: With the rights to create tokenreviews and subjectaccessreviews.
        following: What is known.
        missing: What this rotator waits for, in words.
        viewers: How many streams may be open at once.
    """

    def __init__(self, kube: Kube, following: Following, missing: Callable[[], list[str]], *, viewers: int) -> None:
        self._door = Door(kube)
        self._desk = Desk(following, kube, missing)
        self._streams = Streams(self._door, self._desk, most=viewers)
        folder = files("rotator.ui") / "static"
        self._static = {path: ((folder / name).read_bytes(), kind) for path, (name, kind) in _STATIC.items()}
        self._routes: dict[str, dict[str, Handler]] = {
            "/ui/view": {"GET": self._view},
            "/ui/events": {"GET": self._streams.serve},
            "/ui/login": {"POST": self._door.login},
            "/ui/logout": {"POST": self._logout},
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        try:
            return await self._answer(request)
        except InvalidArgument as error:
            return answer(400, error.message)
        except RateLimited as error:
            return answer(429, error.message, Retry_After="1")
        except KeyferryError as error:
            return answer(503, error.message, Retry_After="2")
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - one request's defect; aiohttp would log its text
            log.error("a request for the live page met a defect: %s", place(error))  # noqa: TRY400 - no traceback: it may quote a token
            return answer(500, "a defect of Keyferry's: see the rotator's log")

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path.rstrip("/") or "/"
        if path == "/":
            return answer(303, Location="/ui")
        if path in self._static:
            return answer(200, *self._static[path]) if request.method == "GET" else answer(405, Allow="GET")
        route = self._routes.get(path)
        if route is None:
            return answer(404, "there is nothing here: see /ui")
        if request.method not in route:
            return answer(405, Allow=", ".join(route))
        return await route[request.method](request)

    async def _view(self, request: web.BaseRequest) -> web.StreamResponse:
        """What a stream would begin with, for programs."""
        viewer = await self._door.viewer(request)
        if viewer is None:
            return answer(401, "send a token that the cluster knows", WWW_Authenticate="Bearer")
        view = await self._desk.view(viewer, Query.parsed(request.query))
        return answer(200, written({"now": int(time.time() * 1000)} | Sent().news(view)), "application/json")

    async def _logout(self, request: web.BaseRequest) -> web.StreamResponse:
        return self._door.logout(request)


async def serve_page(settings: Settings, bus: Bus, store: Store, missing: Callable[[], list[str]]) -> None:
    """Serve it until cancelled; an address that is taken is waited for, for rotation must not end with the page.

    Raises:
        SettingsError: the certificate cannot be used, or Kubernetes' credentials cannot be read.
    """
    try:
        certificate = Certificate(settings.ui_certificate, settings.ui_key, "the live page")
    except CertificateError as error:
        raise SettingsError(f"KEYFERRY_UI_TLS_CERT and _KEY: {error}") from None
    async with (
        connect(settings.kubeconfig or None, user_agent="keyferry-rotator") as kube,
        asyncio.TaskGroup() as tasks,
    ):
        following = Following(bus, store)
        tasks.create_task(following.run())
        server = listening(Page(kube, following, missing, viewers=settings.ui_viewers).handle)
        while True:
            try:
                await _listen(server, settings.ui_address, certificate)
            except OSError as error:
                log.warning("the live page cannot be served at KEYFERRY_UI_ADDRESS: %s", error.strerror)
                await asyncio.sleep(_RETRY_SECONDS)


async def _listen(server: Listening, address: str, certificate: Certificate) -> None:
    host, _, port = address.rpartition(":")
    listening = await asyncio.get_running_loop().create_server(
        server, host.strip("[]") or None, int(port), ssl=certificate.context, backlog=128
    )
    log.info("serving the live page", extra={"port": listening.sockets[0].getsockname()[1]})
    try:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            certificate.renew()
    finally:
        listening.close()
        with suppress(Exception):
            await server.shutdown(1.0)
