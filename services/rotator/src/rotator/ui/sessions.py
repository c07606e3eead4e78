"""Sessions of browsers: a random number in a cookie, and here in memory the token that it stands for."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

SECONDS = 1800.0
_MOST = 1000

COOKIE = "__Host-keyferry"
"""Browsers take a cookie of this prefix only over TLS or from this machine, and send it to this very host alone."""


@dataclass(frozen=True, slots=True)
class _Session:
    token: str = field(repr=False)
    until: float


class Sessions:
    """Those that are open; they end with this process.

    Args:
        clock: Seconds of a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: OrderedDict[str, _Session] = OrderedDict()

    def open(self, token: str) -> str:
        """A session for a token that somebody has proved to be theirs; the oldest makes room."""
        number = secrets.token_urlsafe(32)
        while len(self._open) >= _MOST:
            self._open.popitem(last=False)
        self._open[_mark(number)] = _Session(token, self._clock() + SECONDS)
        return number

    def token(self, number: str) -> str:
        """The token of a session; empty if there is no such session (any more)."""
        session = self._open.get(_mark(number))
        if session is None:
            return ""
        if session.until <= self._clock():
            self.close(number)
            return ""
        return session.token

    def close(self, number: str) -> None:
        """End a session, if there is one."""
        self._open.pop(_mark(number), None)


def _mark(number: str) -> str:
    # By its digest: how long a look-up takes then says nothing of the number itself.
    return sha256(number.encode()).hexdigest()


def cookie(number: str) -> str:
    """The header that has a browser keep a session, or forget it if the number is empty."""
    return f"{COOKIE}={number}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={int(SECONDS) if number else 0}"
