"""Asks which version a secret's name stands for, so that a value which is held already need not be read again.

Such a question is free of charge and moves no value, but needs secretmanager.versions.get, which secretAccessor does
not include, and counts against a project's quota of 600 reads of metadata a minute, which gcloud and Terraform use too;
reading values has 90,000. So whoever is refused is not asked about again for a while, and no project is asked too much.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from fetcher.providers.gcp.faults import TokenRefused
from fetcher.providers.gcp.methods import ENABLED, VERSION
from fetcher.providers.gcp.reading import Reader
from fetcher.providers.gcp.resources import SECRET, Resource
from keyferry.errors import AccessDenied, KeyferryError, RateLimited

_DENIED_FOR = 600.0  # seconds; roles are granted seldom
_WINDOW = 60.0  # seconds, as Google counts
_MAX_KEPT = 10_000


class Versions:
    """What is remembered from one fetch to the next.

    Args:
        a_minute: Questions to one project; 0 asks none.
        clock: Seconds.
    """

    def __init__(self, a_minute: int, clock: Callable[[], float]) -> None:
        self._a_minute = a_minute
        self._clock = clock
        self._quiet_until: OrderedDict[Hashable, float] = OrderedDict()
        self._asked: dict[str, int] = {}
        self._window_ends = 0.0

    async def is_current(self, reader: Reader, resource: Resource, version: str) -> bool:
        """Whether reading a secret would yield this version; no is also said when that cannot be known.

        Args:
            reader: As whom.
            resource: A version of a secret, by number or alias. The rendering of a parameter changes with the secrets
                that it refers to, whatever its own version, so no question answers for it.
            version: Full name.
        """
        identity, place = reader.access.identity, resource.place
        if resource.kind != SECRET or self._is_quiet(identity) or self._is_quiet(place) or not self._may_ask(place):
            return False
        try:
            found = await reader.once(VERSION, resource)
        except KeyferryError as error:
            if isinstance(error, AccessDenied) and not isinstance(error, TokenRefused):
                self._keep_quiet(identity, _DENIED_FOR)
            elif isinstance(error, RateLimited):
                self._keep_quiet(place, _WINDOW)
            return False  # reading the value will tell what is wrong, if anything is
        return bool(found.name == version and found.state == ENABLED)

    def _may_ask(self, place: str) -> bool:
        now = self._clock()
        if now >= self._window_ends:
            self._asked.clear()
            self._window_ends = now + _WINDOW
        asked = self._asked[place] = self._asked.get(place, 0) + 1
        return asked <= self._a_minute

    def _is_quiet(self, about: Hashable) -> bool:
        return self._quiet_until.get(about, 0.0) > self._clock()

    def _keep_quiet(self, about: Hashable, seconds: float) -> None:
        self._quiet_until[about] = self._clock() + seconds
        self._quiet_until.move_to_end(about)
        if len(self._quiet_until) > _MAX_KEPT:
            self._quiet_until.popitem(last=False)
