"""What somebody may see: the namespaces whose mounts they may list (SubjectAccessReview)."""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from keyferry.kube import Flights, Kube
from rotator.ui.viewers import Viewer, asked

REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
CACHE_SECONDS = 30.0
MOST_NAMESPACES = 500
"""That are asked about for one viewer; who may see more than that may as well see all."""

_EVERYWHERE = ""
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_MOST = 50_000
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Scope:
    """What somebody may see.

    Attributes:
        everywhere: Every namespace.
        namespaces: These, if not every one.
        unasked: How many namespaces were too many to ask about.
    """

    everywhere: bool = False
    namespaces: frozenset[str] = frozenset()
    unasked: int = 0

    def sees(self, namespace: str) -> bool:
        """Whether things of this namespace may be shown."""
        return self.everywhere or namespace in self.namespaces


class Rights:
    """Asks what viewers may see, and remembers the answers for half a minute.

    Args:
        kube: With the right to create subjectaccessreviews.
        clock: Seconds of a clock that never goes back.
    """

    def __init__(self, kube: Kube, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube, self._clock = kube, clock
        self._known: OrderedDict[tuple[str, str], tuple[float, bool]] = OrderedDict()
        self._flights: Flights[tuple[str, str], bool] = Flights()
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def scope(self, viewer: Viewer, namespaces: Iterable[str]) -> Scope:
        """What of these namespaces somebody may see.

        Args:
            viewer: Who.
            namespaces: As nodes told them; such as no namespace can be called are nobody's but of who sees all.

        Raises:
            KubernetesUnavailable: it cannot be told; then nothing may be shown.
        """
        key = viewer.key
        if await self._may(viewer, (key, _EVERYWHERE)):
            return Scope(everywhere=True)
        # An empty one would ask about all of them.
        real = sorted(name for name in set(namespaces) if _NAMESPACE.fullmatch(name))
        chosen = real[:MOST_NAMESPACES]
        answers = {name: self._remembered((key, name)) for name in chosen}
        unknown = [name for name, may in answers.items() if may is None]
        asked_now = await asyncio.gather(*(self._may(viewer, (key, name)) for name in unknown))
        answers |= dict(zip(unknown, asked_now, strict=True))
        return Scope(
            namespaces=frozenset(name for name, may in answers.items() if may), unasked=len(real) - len(chosen)
        )

    def _remembered(self, key: tuple[str, str]) -> bool | None:
        until, may = self._known.get(key, (0.0, False))
        return may if until > self._clock() else None

    async def _may(self, viewer: Viewer, key: tuple[str, str]) -> bool:
        remembered = self._remembered(key)
        if remembered is not None:
            return remembered
        return await self._flights.join(key, lambda: self._ask(key, viewer))

    async def _ask(self, key: tuple[str, str], viewer: Viewer) -> bool:
        resource = {
            "verb": "list",
            "group": "secrets-store.csi.x-k8s.io",
            "resource": "secretproviderclasspodstatuses",
            **({"namespace": key[1]} if key[1] else {}),
        }
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {**viewer.about, "resourceAttributes": resource},
        }
        async with self._places:
            status = await asked(self._kube, REVIEWS, body)
        may = status.get("allowed") is True and status.get("denied") is not True
        self._known.pop(key, None)
        while len(self._known) >= _MOST:
            self._known.popitem(last=False)
        self._known[key] = (self._clock() + CACHE_SECONDS, may)
        return may
