"""What a cluster's controllers do that our services rely on, right after each write.

Each namespace's default ServiceAccount and root CA ConfigMap, serving what CustomResourceDefinitions define, and, after
a moment, the collector's work. There are no workload controllers: a Deployment makes no pods.
Source: kubernetes `pkg/controller/serviceaccount` and `pkg/controller/certificates/rootcacertpublisher`.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, Self

from keyferry.testing.kube import crds
from keyferry.testing.kube.accounts import stamp
from keyferry.testing.kube.catalog import Catalog
from keyferry.testing.kube.collector import Collector
from keyferry.testing.kube.store import Change, Key, Store

Json = dict[str, Any]


class Controllers:
    """Reacts to writes: CRDs and namespaces' contents at once, deletions after `delay` seconds, as in a real cluster.

    Use as `async with`: the delayed work runs in a task of its own.
    """

    def __init__(
        self, store: Store, catalog: Catalog, *, ca_pem: str, delay: float, now: Callable[[], datetime]
    ) -> None:
        self._store, self._catalog, self._ca_pem, self._delay, self._now = store, catalog, ca_pem, delay, now
        self._collector = Collector(store, catalog, now)
        self._dirty = asyncio.Event()
        self._stop_listening = store.listen(self._heard)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="kube-controllers")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop_listening()
        if self._task:
            self._task.cancel()
            # A collector that broke down must not look like one that had nothing to do.
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _heard(self, change: Change) -> None:
        self._collector.heard(change)
        if change.key.storage == crds.STORAGE:
            self._serve(change)
        if change.key.storage == "/namespaces" and change.type == "ADDED":
            self._furnish(change.key.name)
        if self._collector.has_work:
            self._dirty.set()

    async def _run(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(self._delay)
            self._dirty.clear()
            self._collector.settle()

    # ---- at once

    def _serve(self, change: Change) -> None:
        spec = change.after["spec"]
        self._catalog.withdraw(spec["group"], spec["names"]["plural"])
        if change.type != "DELETED":
            self._catalog.serve(crds.rows(change.after))
            if not crds.is_established(change.after):
                # At once: a real server takes part of a second, and clients have to wait for the condition.
                self._store.put(change.key, crds.established(change.after, stamp(self._now())))
            return
        for key in self._store.keys(f"{spec['group']}/{spec['names']['plural']}"):
            self._store.delete(key)

    def _furnish(self, namespace: str) -> None:
        self._make(Key("/serviceaccounts", namespace, "default"), "ServiceAccount", {})
        self._make(Key("/configmaps", namespace, "kube-root-ca.crt"), "ConfigMap", {"data": {"ca.crt": self._ca_pem}})

    def _make(self, key: Key, kind: str, content: Json) -> None:
        meta = {"name": key.name, "namespace": key.namespace, "uid": str(uuid.uuid4())}
        meta["creationTimestamp"] = stamp(self._now())
        self._store.put(key, {"kind": kind, "apiVersion": "v1", "metadata": meta} | content)
