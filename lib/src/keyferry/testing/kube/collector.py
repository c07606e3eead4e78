"""The garbage collector and the namespace controller: what goes because something else went.

Source: kubernetes `pkg/controller/garbagecollector` and `pkg/controller/namespace`.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from keyferry.testing.kube.accounts import stamp
from keyferry.testing.kube.catalog import Catalog
from keyferry.testing.kube.store import Change, Key, Store

Json = dict[str, Any]

_NAMESPACES = "/namespaces"


class Collector:
    """Remembers which objects a change may have freed, and settles them when told to."""

    def __init__(self, store: Store, catalog: Catalog, now: Callable[[], datetime]) -> None:
        self._store, self._catalog, self._now = store, catalog, now
        self._keys: dict[str, Key] = {}
        self._dependents: dict[str, set[Key]] = {}
        self._pending: dict[Key, None] = {}

    @property
    def has_work(self) -> bool:
        """Whether `settle` would look at anything."""
        return bool(self._pending)

    def heard(self, change: Change) -> None:
        """Takes note of a write."""
        key, meta = change.key, change.after["metadata"]
        gone = change.type == "DELETED"
        before = _owners(change.before) if change.before else set()
        after = set() if gone else _owners(change.after)
        for uid in before - after:
            self._dependents.get(uid, set()).discard(key)
        for uid in after:
            self._dependents.setdefault(uid, set()).add(key)
        if not gone:
            self._keys[meta["uid"]] = key
        elif self._keys.get(meta["uid"]) == key:
            del self._keys[meta["uid"]]
        self._note(change, before)

    def _note(self, change: Change, owners_before: set[str]) -> None:
        key, meta = change.key, change.after["metadata"]
        if change.type == "DELETED":
            # Whom it owned, whom it kept from being deleted, and the namespace that waits to be empty.
            self._queue(self._dependents.get(meta["uid"], ()))
            self._queue(self._keys[uid] for uid in owners_before if uid in self._keys)
            namespace = Key(_NAMESPACES, "", key.namespace)
            self._queue([namespace] if key.namespace and _is_marked(self._store.get(namespace)) else [])
            return
        if meta.get("deletionTimestamp") or meta.get("ownerReferences"):
            self._queue([key])
        if meta.get("deletionTimestamp"):
            self._queue(self._dependents.get(meta["uid"], ()))

    def _queue(self, keys: Any) -> None:
        self._pending |= dict.fromkeys(keys)

    def settle(self) -> None:
        """One round: what has lost its owners goes, and so does what was marked and is free now."""
        pending, self._pending = self._pending, {}
        for key in pending:
            item = self._store.get(key)
            if item is not None:
                self._settle(key, item)

    def _settle(self, key: Key, item: Json) -> None:
        if _is_marked(item):
            self._finish(key, item)
            return
        meta = item["metadata"]
        owners = meta.get("ownerReferences") or []
        known = [owner for owner in owners if self._may_exist(owner)]
        if owners and all(self._is_leaving(owner) for owner in known):
            self._remove(key, item)
        elif len(known) < len(owners):
            self._store.put(key, item | {"metadata": meta | {"ownerReferences": known}})

    def _owner(self, owner: Json) -> Json | None:
        key = self._keys.get(owner["uid"])
        found = self._store.get(key) if key else None
        return found if found and found["metadata"]["name"] == owner["name"] else None

    def _may_exist(self, owner: Json) -> bool:
        # A kind that is not served: the real collector cannot tell either, and waits.
        return self._owner(owner) is not None or self._catalog.of_kind(owner["apiVersion"], owner["kind"]) is None

    def _is_leaving(self, owner: Json) -> bool:
        """Whether the owner is being deleted in the foreground, which its dependents must precede."""
        found = self._owner(owner)
        return _is_marked(found) and "foregroundDeletion" in _finalizers(found)

    def _remove(self, key: Key, item: Json) -> None:
        if item["metadata"].get("finalizers"):
            marked = item["metadata"] | {"deletionTimestamp": stamp(self._now()), "deletionGracePeriodSeconds": 0}
            self._store.put(key, item | {"metadata": marked})
        else:
            self._store.delete(key)

    def _finish(self, key: Key, item: Json) -> None:
        """Takes the collector's own finalizers off a marked object, empties a namespace, and lets it go."""
        uid, finalizers = item["metadata"]["uid"], _finalizers(item)
        dependents = [(at, found) for at in self._dependents.get(uid, ()) if (found := self._store.get(at))]
        if "orphan" in finalizers:
            for at, dependent in dependents:
                self._store.put(at, _disowned(dependent, uid))
            finalizers.remove("orphan")
        if "foregroundDeletion" in finalizers and not any(_blocks(dependent, uid) for _, dependent in dependents):
            finalizers.remove("foregroundDeletion")
        if key.storage == _NAMESPACES and not self._emptied(key.name):
            return
        waits = key.storage == "/pods" and item["metadata"].get("deletionGracePeriodSeconds")
        if not finalizers and not waits:
            self._store.delete(key)
        elif finalizers != _finalizers(item):
            self._store.put(key, item | {"metadata": item["metadata"] | {"finalizers": finalizers}})

    def _emptied(self, namespace: str) -> bool:
        for key, item in self._store.inside(namespace):
            # There is no kubelet that would end a pod.
            if not _is_marked(item) or key.storage == "/pods":
                self._remove(key, item)
        return next(self._store.inside(namespace), None) is None


def _owners(item: Json) -> set[str]:
    return {owner["uid"] for owner in item["metadata"].get("ownerReferences") or []}


def _finalizers(item: Json | None) -> list[str]:
    return list((item or {}).get("metadata", {}).get("finalizers") or [])


def _is_marked(item: Json | None) -> bool:
    return bool((item or {}).get("metadata", {}).get("deletionTimestamp"))


def _blocks(item: Json, uid: str) -> bool:
    owners = item["metadata"].get("ownerReferences") or []
    return any(owner["uid"] == uid and owner.get("blockOwnerDeletion") for owner in owners)


def _disowned(item: Json, uid: str) -> Json:
    meta = dict(item["metadata"])
    owners = [owner for owner in meta.pop("ownerReferences") if owner["uid"] != uid]
    return item | {"metadata": meta | ({"ownerReferences": owners} if owners else {})}
