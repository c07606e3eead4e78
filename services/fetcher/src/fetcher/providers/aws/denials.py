"""Remembers which identities may not call an operation that only saves something, so that it is not tried each time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from fetcher.providers.aws.credentials import Identity

_DENIED_FOR = 600.0  # seconds
_MAX_DENIED = 10_000


class Denials:
    """Of one operation, for ten minutes each: policies older than our wish to call it are common."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: OrderedDict[Identity, float] = OrderedDict()

    def holds(self, identity: Identity) -> bool:
        """Whether it was denied lately."""
        return self._until.get(identity, 0.0) > self._clock()

    def add(self, identity: Identity) -> None:
        """It was denied just now."""
        self._until[identity] = self._clock() + _DENIED_FOR
        self._until.move_to_end(identity)
        if len(self._until) > _MAX_DENIED:
            self._until.popitem(last=False)
