"""What a test may do to the API that a real one does only on its bad days."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keyferry.testing.kube.status import StatusError
from keyferry.testing.kube.store import Store

if TYPE_CHECKING:
    from keyferry.testing.kube.watching import Watch

_REASONS = {429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout", 403: "Forbidden"}


@dataclass
class _Rule:
    prefix: str
    method: str
    status: int
    times: int | None
    delay: float


class Faults:
    """The fault switches of one API; also counts its requests.

    Attributes:
        requests: How many calls of each "METHOD /path" were answered, faults included.
        gone_as_status: Answer a watch from an expired resourceVersion with HTTP 410, as some proxies and old servers
            do, instead of an ERROR event inside a 200.
    """

    def __init__(self, store: Store) -> None:
        self.requests: dict[str, int] = {}
        self.gone_as_status = False
        self._store = store
        self._rules: list[_Rule] = []
        self.watches: set[Watch] = set()

    def end_watches(self) -> None:
        """Ends every open watch, without an error."""
        for watch in list(self.watches):
            watch.end()

    def expire_history(self) -> None:
        """Every resourceVersion handed out so far is too old from now on; open watches end."""
        self._store.forget_history()
        self.end_watches()

    def answer(
        self, prefix: str, status: int = 0, *, method: str = "", times: int | None = None, delay: float = 0.0
    ) -> Callable[[], None]:
        """Treats calls whose path begins with `prefix` badly. Returns what takes the rule back.

        Args:
            prefix: Beginning of the path, as "/api/v1/secrets" or "/".
            status: HTTP status to answer, or 0 to answer properly (after the delay).
            method: Only this HTTP method.
            times: Only so many calls; None is all of them.
            delay: Seconds to wait first.
        """
        rule = _Rule(prefix, method, status, times, delay)
        self._rules.append(rule)
        return lambda: self._rules.remove(rule) if rule in self._rules else None

    def clear(self) -> None:
        """Takes back every rule."""
        self._rules.clear()
        self.gone_as_status = False

    async def strike(self, method: str, path: str) -> None:
        """Lets the rules act on a call.

        Raises:
            StatusError: A rule answers in place of the API.
        """
        self.requests[f"{method} {path}"] = self.requests.get(f"{method} {path}", 0) + 1
        for rule in list(self._rules):
            if rule.times == 0 or not path.startswith(rule.prefix) or rule.method not in {"", method}:
                continue
            if rule.times is not None:
                rule.times -= 1
            if rule.delay:
                await asyncio.sleep(rule.delay)
            if rule.status:
                details = {"retryAfterSeconds": 1} if rule.status in {429, 503} else {}
                reason = _REASONS.get(rule.status, "InternalError")
                raise StatusError(rule.status, reason, "a fault that a test switched on", details)
            return
