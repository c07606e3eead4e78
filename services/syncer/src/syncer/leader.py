"""Which of the syncers works: the one that holds the Lease (Kubernetes, coordination.k8s.io/v1).

One for all, not one for each Secret: what there is to do is little, and of what a Secret needs (volumes, pods, class)
each replica would have to know everything anyhow.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, NoReturn

from prometheus_client import Gauge

from keyferry.errors import KeyferryError
from keyferry.kube import Json, Kube, Rejected

log = logging.getLogger(__name__)

LEADING = Gauge("keyferry_syncer_leading", "1 while this replica is the one that works.")
NAME = "keyferry-syncer"
_CONFLICT = 409
# Parts of the Lease's length. What is left after its holder stops is for stopping, and for clocks that drift.
_HELD = 2 / 3
_RENEWED = 1 / 5
_ANSWERED = 1 / 3


class Leader:
    """Holds the Lease, or waits for it.

    Args:
        kube: The API server.
        namespace: Of the Lease.
        identity: Of this replica; no other has the same.
        seconds: How long the Lease is another's after it was last renewed: a killed leader costs this.
        clock: Seconds, monotonic. Other replicas' clocks are not trusted: what counts is when we saw the Lease change.
    """

    def __init__(
        self,
        kube: Kube,
        *,
        namespace: str,
        identity: str,
        seconds: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._list = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._identity = identity
        self._seconds = seconds
        self._clock = clock
        self._seen: tuple[str, float] = ("", clock())
        self._until = -math.inf
        self._trouble = "the lease has not been asked for yet"

    @property
    def holds(self) -> bool:
        """Whether this replica may work now."""
        return self._clock() < self._until

    def missing(self) -> list[str]:
        """Why it is not known whose the Lease is, in words; a replica that waits for its turn misses nothing."""
        return [self._trouble] if self._trouble else []

    async def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> NoReturn:
        """Whenever the Lease is ours, work; stop working before it can be another's.

        Raises:
            Whatever the work raises; the Lease is given back first.
        """
        while True:
            await self._try_to_hold()
            if not self.holds:
                await asyncio.sleep(self._seconds * _RENEWED)
                continue
            log.info("this replica works now", extra={"identity": self._identity})
            LEADING.set(1)
            try:
                await self._while_held(work)
            finally:
                LEADING.set(0)
            log.warning("this replica works no longer", extra={"identity": self._identity})

    async def _while_held(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        working, renewing = asyncio.create_task(work()), asyncio.create_task(self._renew())
        both = {working, renewing}
        try:
            while self.holds and not any(task.done() for task in both):
                left = max(0.0, self._until - self._clock())
                await asyncio.wait(both, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _ended(both)
            if self.holds:
                await self._give_up()
            self._until = -math.inf
        if not working.cancelled():
            working.result()

    async def _renew(self) -> None:
        while self.holds:
            await asyncio.sleep(self._seconds * _RENEWED)
            await self._try_to_hold()

    async def _try_to_hold(self) -> None:
        began = self._clock()
        try:
            async with asyncio.timeout(self._seconds * _ANSWERED):
                held = await self._hold()
        except (KeyferryError, TimeoutError) as error:
            if not (isinstance(error, Rejected) and error.status == _CONFLICT):
                self._told(f"the lease cannot be had: {getattr(error, 'message', 'no answer in time')}")
            return
        self._until = began + self._seconds * _HELD if held else -math.inf

    async def _hold(self) -> bool:
        """Whether the Lease is ours now."""
        lease = await self._kube.get(f"{self._list}/{NAME}")
        if lease is None:
            body: Json = {"metadata": {"name": NAME}, "spec": self._spec({})}
            made = await self._kube.post(self._list, body) is not None
            self._told("" if made else f"the lease cannot be had: there is no namespace {self._namespace}")
            return made
        self._told("")
        spec, version = lease.get("spec") or {}, str(lease["metadata"]["resourceVersion"])
        holder = spec.get("holderIdentity")
        if version != self._seen[0]:
            self._seen = (version, self._clock())
        lasts = float(spec.get("leaseDurationSeconds") or self._seconds)
        if holder and holder != self._identity and self._clock() - self._seen[1] < lasts:
            return False
        # With the version that was read: of two who find it free, the API server refuses one.
        body = {"metadata": {"name": NAME, "resourceVersion": version}, "spec": self._spec(spec)}
        return await self._kube.call("PUT", f"{self._list}/{NAME}", body=body) is not None

    async def _give_up(self) -> None:
        """Let another begin at once; a best effort, on the way out."""
        try:
            async with asyncio.timeout(2):
                lease = await self._kube.get(f"{self._list}/{NAME}")
                if lease and (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                    lease["spec"]["holderIdentity"] = ""
                    await self._kube.call("PUT", f"{self._list}/{NAME}", body=lease)
        except (KeyferryError, TimeoutError):
            log.info("the lease could not be given back; it ends by itself")

    def _spec(self, before: Json) -> Json:
        mine, now = before.get("holderIdentity") == self._identity, _micro_time()
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": math.ceil(self._seconds),
            "acquireTime": (before.get("acquireTime") if mine else None) or now,
            "renewTime": now,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (bool(before) and not mine),
        }

    def _told(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning(trouble)
        self._trouble = trouble


async def _ended(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
