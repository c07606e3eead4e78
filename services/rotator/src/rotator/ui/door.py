"""Lets people in: a bearer token with each request, or a session that a token was exchanged for."""

from __future__ import annotations

import asyncio
import logging
from urllib.parse import parse_qs, urlsplit

from aiohttp import web

from keyferry.kube import Kube
from rotator.ui.connection import answer
from rotator.ui.sessions import COOKIE, Sessions, cookie
from rotator.ui.viewers import Viewer, Viewers

log = logging.getLogger(__name__)

_LARGEST_BODY = 20 * 1024
_BODY_SECONDS = 5.0
_FORM = "application/x-www-form-urlencoded"
_UNKNOWN = "the API server does not know this token, or it has expired: make a new one with `kubectl create token`"


class Door:
    """Knows who is in.

    Args:
        kube: With the right to create tokenreviews.
    """

    def __init__(self, kube: Kube) -> None:
        self._viewers = Viewers(kube)
        self._sessions = Sessions()

    async def viewer(self, request: web.BaseRequest) -> Viewer | None:
        """Who sends a request; None for nobody that the cluster knows.

        Raises:
            KeyferryError: it cannot be told now.
        """
        header = request.headers.get("Authorization")
        if header is not None:
            scheme, _, token = header.partition(" ")
            return await self._viewers.whose(token.strip()) if scheme.lower() == "bearer" else None
        return await self._viewers.whose(self._sessions.token(request.cookies.get(COOKIE, "")))

    async def login(self, request: web.BaseRequest) -> web.Response:
        """Exchange a token, in the form field of that name, for a session.

        Raises:
            KeyferryError: it cannot be told whose it is.
        """
        if refusal := _foreign(request):
            return refusal
        if request.content_type != _FORM:
            return answer(415, f"send the token as {_FORM}")
        token = await _token(request)
        if token is None:
            return answer(413, "this is too much for a token, or came too slowly")
        viewer = await self._viewers.whose(token)
        if viewer is None:
            return answer(401, _UNKNOWN)
        log.info("somebody looks at the live page", extra={"user": viewer.name})
        self._sessions.close(request.cookies.get(COOKIE, ""))
        return answer(204, Set_Cookie=cookie(self._sessions.open(token)))

    def logout(self, request: web.BaseRequest) -> web.Response:
        """End the session of a browser."""
        if refusal := _foreign(request):
            return refusal
        self._sessions.close(request.cookies.get(COOKIE, ""))
        return answer(204, Set_Cookie=cookie(""))


def _foreign(request: web.BaseRequest) -> web.Response | None:
    """A refusal if another site, or no site at all, has a browser send this."""
    origin = urlsplit(request.headers.get("Origin", ""))
    is_ours = origin.scheme in ("http", "https") and origin.netloc == request.headers.get("Host")
    if is_ours and request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin":
        return None
    return answer(403, "this must be sent by the page itself")


async def _token(request: web.BaseRequest) -> str | None:
    body = b""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > _LARGEST_BODY:
                    return None
    except TimeoutError:
        return None
    return parse_qs(body.decode(errors="replace")).get("token", [""])[0].strip()
