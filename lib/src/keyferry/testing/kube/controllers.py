"""What a cluster's controllers do that our services rely on, right after each write.

Garbage collection by owner uid, ending namespaces, each namespace's default ServiceAccount and root CA ConfigMap, and
serving what CustomResourceDefinitions define. There are no workload controllers: a Deployment makes no pods.
Source: kubernetes `pkg/controller/{garbagecollector,namespace,serviceaccount}` and `rootcacertpublisher`.
"""

import asyncio
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, Self

from keyferry.testing.kube import crds
from keyferry.testing.kube.accounts import stamp
from keyferry.testing.kube.catalog import Catalog
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
            await asyncio.wait([self._task])

    def _heard(self, change: Change) -> None:
        meta = change.after["metadata"]
        if change.key.storage == crds.STORAGE:
            self._serve(change)
        if change.key.storage == "/namespaces" and change.type == "ADDED":
            self._furnish(change.key.name)
        if change.type == "DELETED" or meta.get("deletionTimestamp") or meta.get("ownerReferences"):
            self._dirty.set()

    async def _run(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(self._delay)
            self._dirty.clear()
            self.collect()

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
        for key, _ in list(self._store.everything()):
            if key.storage == f"{spec['group']}/{spec['names']['plural']}":
                self._store.delete(key)

    def _furnish(self, namespace: str) -> None:
        self._make(Key("/serviceaccounts", namespace, "default"), "ServiceAccount", {})
        self._make(Key("/configmaps", namespace, "kube-root-ca.crt"), "ConfigMap", {"data": {"ca.crt": self._ca_pem}})

    def _make(self, key: Key, kind: str, content: Json) -> None:
        meta = {"name": key.name, "namespace": key.namespace, "uid": str(uuid.uuid4())}
        meta["creationTimestamp"] = stamp(self._now())
        self._store.put(key, {"kind": kind, "apiVersion": "v1", "metadata": meta} | content)

    # ---- after the delay

    def collect(self) -> None:
        """One pass over everything: what has lost its owners goes, and what was marked and is free now."""
        uids = {item["metadata"]["uid"]: item for _, item in self._store.everything()}
        for key, item in list(self._store.everything()):
            if self._store.get(key) is item:
                self._settle(key, item, uids)

    def _settle(self, key: Key, item: Json, uids: dict[str, Json]) -> None:
        meta = item["metadata"]
        if meta.get("deletionTimestamp"):
            self._finish(key, item)
            return
        owners = meta.get("ownerReferences") or []
        known = [owner for owner in owners if self._may_exist(owner, uids)]
        waiting = [owner for owner in known if self._is_leaving(uids.get(owner["uid"]))]
        if owners and (not known or len(waiting) == len(known)):
            self._remove(key, item)
        elif len(known) < len(owners):
            self._store.put(key, item | {"metadata": meta | {"ownerReferences": known}})

    def _may_exist(self, owner: Json, uids: dict[str, Json]) -> bool:
        if self._catalog.of_kind(owner["apiVersion"], owner["kind"]) is None:
            return True  # a kind that is not served: the real collector cannot tell either, and waits
        found = uids.get(owner["uid"])
        return found is not None and found["metadata"]["name"] == owner["name"]

    @staticmethod
    def _is_leaving(owner: Json | None) -> bool:
        """Whether the owner is being deleted in the foreground, which its dependents must precede."""
        meta = (owner or {}).get("metadata", {})
        return bool(meta.get("deletionTimestamp")) and "foregroundDeletion" in (meta.get("finalizers") or [])

    def _remove(self, key: Key, item: Json) -> None:
        meta = item["metadata"]
        if meta.get("finalizers") or key.storage == "/namespaces":
            marked = meta | {"deletionTimestamp": stamp(self._now()), "deletionGracePeriodSeconds": 0}
            self._store.put(key, item | {"metadata": marked})
        else:
            self._store.delete(key)

    def _finish(self, key: Key, item: Json) -> None:
        """Takes the collector's own finalizers off a marked object, empties a namespace, and lets it go."""
        meta = item["metadata"]
        finalizers = list(meta.get("finalizers") or [])
        dependents = [(k, i) for k, i in self._store.everything() if _owned_by(i, meta["uid"])]
        if "orphan" in finalizers:
            for dependent, content in dependents:
                self._store.put(dependent, _disowned(content, meta["uid"]))
            finalizers.remove("orphan")
        if "foregroundDeletion" in finalizers:
            if any(_blocks(content, meta["uid"]) for _, content in dependents):
                return
            finalizers.remove("foregroundDeletion")
        if key.storage == "/namespaces" and not self._emptied(key.name):
            return
        grace = meta.get("deletionGracePeriodSeconds") and key.storage == "/pods"
        if not finalizers and not grace:
            self._store.delete(key)
        elif finalizers != (meta.get("finalizers") or []):
            self._store.put(key, item | {"metadata": meta | {"finalizers": finalizers}})

    def _emptied(self, namespace: str) -> bool:
        inside = [(key, item) for key, item in self._store.everything() if key.namespace == namespace]
        for key, item in inside:
            if not item["metadata"].get("deletionTimestamp") or key.storage == "/pods":
                self._remove(key, item)
        return not any(key.namespace == namespace for key, _ in self._store.everything())


def _owned_by(item: Json, uid: str) -> bool:
    return any(owner["uid"] == uid for owner in item["metadata"].get("ownerReferences") or [])


def _blocks(item: Json, uid: str) -> bool:
    owners = item["metadata"].get("ownerReferences") or []
    return any(owner["uid"] == uid and owner.get("blockOwnerDeletion") for owner in owners)


def _disowned(item: Json, uid: str) -> Json:
    meta = dict(item["metadata"])
    owners = [owner for owner in meta.pop("ownerReferences") if owner["uid"] != uid]
    return item | {"metadata": meta | ({"ownerReferences": owners} if owners else {})}
