"""Answers what somebody may see of what is known, once for all who may see the same and ask for the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from keyferry.kube import Kube
from rotator.sources.heard import CONNECTED
from rotator.ui.following import Following
from rotator.ui.query import Query
from rotator.ui.rights import Rights, Scope
from rotator.ui.viewers import Viewer
from rotator.ui.views import View, view

_FRESH_SECONDS = 2.0
_UNUSED_SECONDS = 10.0
_SHARE = 5
"""One part in so many of a processor may go into making views: rotation comes first."""


@dataclass(slots=True)
class _Made:
    """A view, and what is known of it: of which state it is, and when and how long it was made and last wanted."""

    view: View
    number: int
    at: float
    seconds: float
    wanted_at: float


class Desk:
    """Where views are made.

    Args:
        following: What is known.
        kube: With the right to create subjectaccessreviews.
        missing: What this rotator waits for, in words.
        clock: Seconds of a clock that never goes back.
    """

    def __init__(
        self,
        following: Following,
        kube: Kube,
        missing: Callable[[], list[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._following, self._missing, self._clock = following, missing, clock
        self._rights = Rights(kube, clock)
        self._made: dict[tuple[Scope, Query], _Made] = {}

    async def view(self, viewer: Viewer, query: Query) -> View:
        """What somebody sees.

        Raises:
            KubernetesUnavailable: it cannot be told what they may see.
        """
        await self._following.watched()
        namespaces = {each.namespace for each in self._following.volumes.values()}
        scope = await self._rights.scope(viewer, namespaces)
        made = self._view(scope, query)
        return replace(made, sections={**made.sections, "health": self._health(viewer)})

    def _view(self, scope: Scope, query: Query) -> View:
        following, now = self._following, self._clock()
        made = self._made.get((scope, query))
        if made is None or self._is_old(made, now):
            shown = view(following.volumes.values(), following.contents, scope, query, now_ms=int(time.time() * 1000))
            made = _Made(shown, following.number, now, self._clock() - now, now)
            self._made[scope, query] = made
        made.wanted_at = now
        self._made = {key: each for key, each in self._made.items() if now - each.wanted_at < _UNUSED_SECONDS}
        return made.view

    def _is_old(self, made: _Made, now: float) -> bool:
        """Whether to make it again: many large views, all different, come less often than once a second."""
        age = now - made.at
        if age < _SHARE * sum(each.seconds for each in self._made.values()):
            return False
        return made.number != self._following.number or age >= _FRESH_SECONDS

    def _health(self, viewer: Viewer) -> dict[str, Any]:
        following = self._following
        problems = self._missing()
        if following.trouble:
            problems = [*problems, following.trouble]
        elif not following.number:
            problems = [*problems, "what nodes told is being read"]
        return {
            "viewer": viewer.name,
            "problems": problems,
            "as_of": following.read_ms // 10_000 * 10_000 if following.trouble else 0,
            "unreadable": following.unreadable,
            "sources": {
                sample.labels["source"]: sample.value > 0 for metric in CONNECTED.collect() for sample in metric.samples
            },
        }
