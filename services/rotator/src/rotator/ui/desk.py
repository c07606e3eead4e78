"""Answers what somebody may see of what is known, once for all who may see the same and ask for the same."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from keyferry.kube import Kube
from rotator.sources.heard import CONNECTED
from rotator.ui.following import Following
from rotator.ui.query import Query
from rotator.ui.rights import Rights, Scope
from rotator.ui.viewers import Viewer
from rotator.ui.views import View, view

_FRESH_SECONDS = 2.0
_MOST_VIEWS = 64


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
        self._made: OrderedDict[tuple[Scope, Query], tuple[int, float, View]] = OrderedDict()

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
        number, at, made = self._made.get((scope, query), (-1, 0.0, None))
        if made is not None and number == following.number and now - at < _FRESH_SECONDS:
            return made
        made = view(following.volumes.values(), following.contents, scope, query, now_ms=int(time.time() * 1000))
        self._made[scope, query] = (following.number, now, made)
        self._made.move_to_end((scope, query))
        while len(self._made) > _MOST_VIEWS:
            self._made.popitem(last=False)
        return made

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
