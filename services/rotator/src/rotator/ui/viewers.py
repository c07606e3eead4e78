"""Who looks: the API server says whose a token is (TokenReview), and is asked again every few seconds."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from typing import Any

from keyferry.errors import KeyferryError, KubernetesUnavailable, RateLimited
from keyferry.kube import Flights, Json, Kube
from rotator.sources.limits import Bucket

log = logging.getLogger(__name__)

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
CACHE_SECONDS = 10.0
_MOST = 1000
_LARGEST_TOKEN = 16 * 1024
_REVIEWS_A_SECOND = 10.0


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who the API server says that somebody is; `about` is what it wants to be told when it is asked about them."""

    name: str
    about: Json = field(repr=False)

    @property
    def key(self) -> str:
        """The same for the same person with the same groups."""
        return sha256(json.dumps(self.about, sort_keys=True).encode()).hexdigest()


class Viewers:
    """Tells whose a token is.

    Args:
        kube: With the right to create tokenreviews.
        clock: Seconds of a clock that never goes back.
    """

    def __init__(self, kube: Kube, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube, self._clock = kube, clock
        self._salt = secrets.token_bytes(16)
        self._known: OrderedDict[bytes, tuple[float, Viewer | None]] = OrderedDict()
        self._flights: Flights[bytes, Viewer | None] = Flights()
        self._bucket = Bucket(_REVIEWS_A_SECOND, clock)

    async def whose(self, token: str) -> Viewer | None:
        """Whose a token is; None if nobody's, or if it is not for the API server.

        Raises:
            KubernetesUnavailable: it cannot be told.
            RateLimited: too many tokens that nobody has asked about lately.
        """
        if not token or len(token) > _LARGEST_TOKEN:
            return None
        # Salted and hashed: what is kept to remember an answer by is no credential.
        mark = blake2b(token.encode(), key=self._salt, digest_size=32).digest()
        until, viewer = self._known.get(mark, (0.0, None))
        if until > self._clock():
            return viewer
        return await self._flights.join(mark, lambda: self._ask(mark, token))

    async def _ask(self, mark: bytes, token: str) -> Viewer | None:
        if not self._bucket.take():
            raise RateLimited("too many tokens are being tried: wait a moment", retry_after=1.0)
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        viewer = _viewer(await asked(self._kube, REVIEWS, body))
        self._known.pop(mark, None)
        while len(self._known) >= _MOST:
            self._known.popitem(last=False)
        self._known[mark] = (self._clock() + CACHE_SECONDS, viewer)
        return viewer


async def asked(kube: Kube, path: str, body: Json) -> Json:
    """What the API server answers to a review, its status.

    Raises:
        KubernetesUnavailable: nothing that could be relied on; why is in the log, for it is the operator's to mend.
    """
    try:
        answer = await kube.post(path, body)
    except KubernetesUnavailable:
        raise
    except KeyferryError as error:
        log.warning("the live page cannot ask who may see it: %s", error.message)
        answer = None
    status = (answer or {}).get("status")
    if not isinstance(status, dict):
        raise KubernetesUnavailable("the rotator cannot ask the API server who you are: its log says why")
    return status


def _viewer(status: Json) -> Viewer | None:
    user = status.get("user")
    if (
        status.get("authenticated") is not True
        or not isinstance(user, dict)
        or not isinstance(user.get("username"), str)
    ):
        return None
    about: dict[str, Any] = {"user": user["username"]}
    about |= {name: user[name] for name in ("uid", "groups", "extra") if user.get(name)}
    return Viewer(user["username"], about) if user["username"] else None
