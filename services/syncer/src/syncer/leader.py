"""Which of the syncers works: the one that holds the Lease (Kubernetes, coordination.k8s.io/v1).

One for all, not one for each Secret: what there is to do is little, and of what a Secret needs (volumes, pods, class)
each replica would have to know everything anyhow.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import NoReturn

from prometheus_client import Gauge

from keyferry.errors import KeyferryError
from keyferry.kube import Json, Kube, Rejected

log = logging.getLogger(__name__)

LEADING = Gauge("keyferry_syncer_leading", "1 while this replica is the one that works.")
NAME = "keyferry-syncer"
_CONFLICT = 409


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
        self._list = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._identity = identity
        self._seconds = seconds
        self._clock = clock
        self._seen: tuple[str, float] = ("", clock())
        self._renewed = 0.0

    async def run(self, work: Callable[[], Awaitable[None]]) -> NoReturn:
        """Whenever the Lease is ours, work; stop working before it can be another's."""
        while True:
            if not await self._try_to_hold():
                await asyncio.sleep(self._seconds / 5)
                continue
            log.info("this replica works now", extra={"identity": self._identity})
            LEADING.set(1)
            try:
                await self._while_held(work)
            finally:
                LEADING.set(0)
            log.warning("the lease is lost, another replica works", extra={"identity": self._identity})

    async def _while_held(self, work: Callable[[], Awaitable[None]]) -> None:
        working = asyncio.ensure_future(work())
        try:
            while self._clock() - self._renewed < self._seconds * 2 / 3:
                await asyncio.wait({working}, timeout=self._seconds / 5)
                if working.done():
                    working.result()
                    return
                await self._try_to_hold()
        except asyncio.CancelledError:
            await self._end(working)
            await self._give_up()
            raise
        finally:
            await self._end(working)

    async def _end(self, working: asyncio.Future[None]) -> None:
        if not working.done():
            working.cancel()
            await asyncio.wait({working})

    async def _try_to_hold(self) -> bool:
        began = self._clock()
        try:
            async with asyncio.timeout(self._seconds / 3):
                held = await self._hold()
        except (KeyferryError, TimeoutError) as error:
            if not (isinstance(error, Rejected) and error.status == _CONFLICT):
                log.warning("the lease cannot be had: %s", getattr(error, "message", "no answer in time"))
            return False
        if held:
            self._renewed = began
        return held

    async def _hold(self) -> bool:
        lease = await self._kube.get(f"{self._list}/{NAME}")
        if lease is None:
            return await self._kube.post(self._list, {"metadata": {"name": NAME}, "spec": self._spec(0)}) is not None
        spec, version = lease.get("spec") or {}, str(lease["metadata"]["resourceVersion"])
        holder, mine = spec.get("holderIdentity"), spec.get("holderIdentity") == self._identity
        if version != self._seen[0]:
            self._seen = (version, self._clock())
        lasts = float(spec.get("leaseDurationSeconds") or self._seconds)
        if holder and not mine and self._clock() - self._seen[1] < lasts:
            return False
        transitions = int(spec.get("leaseTransitions") or 0) + (not mine)
        # With the version that was read: of two who find it free, the API server refuses one.
        body = {"metadata": {"name": NAME, "resourceVersion": version}, "spec": self._spec(transitions)}
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

    def _spec(self, transitions: int) -> Json:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": round(self._seconds),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }
