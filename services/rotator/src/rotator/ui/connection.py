"""Connections of browsers: few, short unless they are told what changes, and never told what they sent."""

from __future__ import annotations

from aiohttp import web

from rotator.listening import Handler, Listening

MOST_CONNECTIONS = 256
_SECONDS = 20.0

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
SAFE = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
    "Server": "keyferry",  # aiohttp's own would tell versions
}
"""Headers of every answer."""


def answer(
    status: int, body: bytes | str = b"", kind: str = "text/plain; charset=utf-8", **headers: str
) -> web.Response:
    """An answer after which the connection ends."""
    data = body.encode() if isinstance(body, str) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = web.Response(status=status, body=data, headers={**SAFE, "Content-Type": kind, **named})
    response.force_close()
    return response


def listening(handler: Handler, *, seconds: float = _SECONDS) -> Listening:
    """A server for browsers.

    Args:
        handler: Answers requests.
        seconds: How long a connection may last that is not told what changes.
    """
    return Listening(handler, seconds=seconds, most=MOST_CONNECTIONS, malformed=answer)
