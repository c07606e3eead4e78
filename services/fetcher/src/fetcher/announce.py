"""Hands contents to the syncers, beside the mounts and never in their way."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NoReturn

from prometheus_client import Counter

from keyferry.bus import Bus
from keyferry.errors import KeyferryError, place
from keyferry.handover import SecretsFetched
from keyferry.keys import FetcherKeys, KeyFile, PublicKeys
from keyferry.resources import Content
from keyferry.subjects import sync_subject

log = logging.getLogger(__name__)

HANDED = Counter("keyferry_handovers_total", "Contents handed to the syncers, or why not.", ["outcome"])

_WAITING = 256  # contents; beyond, the next fetch of each brings it again
_REMEMBERED = 50_000
_SHORTEST_TTL = 3600.0  # seconds
_INTERVALS = 3
_USUAL_ROTATION_MS = 120_000
_DESTINATION = "keyferry.sync"


class Announcer:
    """Tells the syncers of each fetch of a content once. `run` belongs into a task group.

    Args:
        bus: Where.
        keys: Sign.
        public: Has the syncers' keys.
        now: The clock, Unix seconds.
    """

    def __init__(
        self, bus: Bus, keys: KeyFile[FetcherKeys], public: KeyFile[PublicKeys], now: Callable[[], float] = time.time
    ) -> None:
        self._bus = bus
        self._keys = keys
        self._public = public
        self._now = now
        self._told: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._waiting: asyncio.Queue[tuple[str, Content]] = asyncio.Queue(_WAITING)

    def tell(self, namespace: str, content: Content) -> None:
        """Have it told soon, unless this process has told of this very fetch; never waits, never raises."""
        about = (namespace, content.content_key)
        if content.stale_since_ms or self._told.get(about, 0) >= content.fetched_at_ms:
            return
        try:
            self._waiting.put_nowait((namespace, content))
        except asyncio.QueueFull:
            HANDED.labels("dropped").inc()
            log.warning("a content is not handed to the syncers: too many wait", extra={"namespace": namespace})
            return
        self._told[about] = content.fetched_at_ms
        self._told.move_to_end(about)
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)

    async def run(self) -> NoReturn:
        """Tell them, one after the other."""
        while True:
            namespace, content = await self._waiting.get()
            try:
                await self._publish(namespace, content)
                HANDED.labels("stored").inc()
            except KeyferryError as error:
                self._failed(namespace, content, error.reason, error.message)
            except Exception as error:  # noqa: BLE001 - syncing must not end mounting
                self._failed(namespace, content, "defect", place(error))

    async def _publish(self, namespace: str, content: Content) -> None:
        now = self._now()
        told = SecretsFetched.seal(content, namespace=namespace, to=self._public.keys.syncer.current(now))
        rotation = _USUAL_ROTATION_MS if content.rotation_ms is None else content.rotation_ms
        await self._bus.publish(
            sync_subject(namespace, content.content_key),
            told.to_bytes(self._keys.keys.signing.current(now)),
            destination=_DESTINATION,
            # Other fetchers that hand out the same fetch tell of it, too: the server drops all but the first.
            message_id=f"{content.content_key}.{content.fetched_at_ms}",
            ttl=max(_SHORTEST_TTL, _INTERVALS * rotation / 1000),
        )

    def _failed(self, namespace: str, content: Content, reason: str, text: str) -> None:
        HANDED.labels(reason).inc()
        self._told.pop((namespace, content.content_key), None)  # the next pod that asks has it told again
        log.warning("a content is not handed to the syncers: %s", text, extra={"namespace": namespace})
