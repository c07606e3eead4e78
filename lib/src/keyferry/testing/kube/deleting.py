"""delete and deletecollection: at once, or by a mark when a finalizer, a kubelet or a namespace's content holds it.

Source: k8s.io/apiserver `registry/rest/delete.go` and `registry/generic/registry/store.go`.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from keyferry.testing.kube.accounts import stamp
from keyferry.testing.kube.catalog import Resource
from keyferry.testing.kube.requests import Call, Target
from keyferry.testing.kube.status import conflict, not_found
from keyferry.testing.kube.store import Key, Store

Json = dict[str, Any]

_POLICY_FINALIZERS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}


def still_held(resource: Resource, item: Json) -> bool:
    """Whether an object that is marked and has no finalizers goes on for another reason."""
    if resource.storage == "/namespaces":
        return bool((item.get("spec") or {}).get("finalizers"))
    return resource.storage == "/pods" and bool(item["metadata"].get("deletionGracePeriodSeconds"))


class Deleting:
    """The deleting verbs on a store."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store, self._now = store, now

    def delete(self, call: Call) -> Json:
        """Answers a DELETE of one object: removes it, or marks it when something still holds it.

        Raises:
            StatusError: 404 it is not there, 409 it is not the one that the preconditions name.
        """
        at = call.target
        key = Key(at.resource.storage, at.namespace, at.name)
        old = self._store.get(key)
        if old is None:
            raise not_found(at.resource, at.name)
        options = call.body if isinstance(call.body, dict) else {}
        _check_preconditions(at.resource, old, options.get("preconditions") or {})
        finalizers, grace = _finalizers(old, call, options), _grace(at.resource, old, call, options)
        if call.dry_run:
            return _answer(at.resource, old)
        if finalizers or grace or at.resource.storage == "/namespaces":
            return at.resource.shown(self._mark(key, at.resource, old, finalizers, grace))
        return _answer(at.resource, self._store.delete(key))

    def delete_collection(self, call: Call, chosen: Iterable[Json]) -> Json:
        """Deletes each of the chosen objects; answers with the list of them."""
        resource, items = call.target.resource, list(chosen)
        for item in items:
            meta = item["metadata"]
            self.delete(replace(call, target=Target(resource, meta.get("namespace", ""), meta["name"])))
        kind = resource.list_kind or f"{resource.kind}List"
        revision = {"resourceVersion": str(self._store.revision)}
        return {"kind": kind, "apiVersion": resource.api_version, "metadata": revision, "items": items}

    def _mark(self, key: Key, resource: Resource, old: Json, finalizers: list[str], grace: int) -> Json:
        was = old["metadata"]
        unchanged = finalizers == (was.get("finalizers") or []) and grace >= was.get("deletionGracePeriodSeconds", 0)
        if was.get("deletionTimestamp") and unchanged:
            return old
        meta = dict(was)
        meta.setdefault("deletionTimestamp", stamp(self._now()))
        # A later deletion may hurry an earlier one, but not give it more time.
        meta["deletionGracePeriodSeconds"] = min(grace, was.get("deletionGracePeriodSeconds", grace))
        if "generation" in meta and not was.get("deletionTimestamp"):
            meta["generation"] += 1
        if finalizers:
            meta["finalizers"] = finalizers
        marked = old | {"metadata": meta}
        if resource.storage == "/namespaces":
            marked["status"] = {"phase": "Terminating"}
            del meta["deletionGracePeriodSeconds"]
        return self._store.put(key, marked)


def _finalizers(old: Json, call: Call, options: Json) -> list[str]:
    finalizers = list(old["metadata"].get("finalizers") or [])
    policy = call.query.get("propagationPolicy") or options.get("propagationPolicy") or ""
    if options.get("orphanDependents") or call.flag("orphanDependents"):
        policy = "Orphan"
    extra = _POLICY_FINALIZERS.get(policy)
    return finalizers + ([extra] if extra and extra not in finalizers else [])


def _check_preconditions(resource: Resource, old: Json, wanted: Json) -> None:
    for field, name, hint in (
        ("uid", "UID", "The object might have been deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", "The object might have been modified"),
    ):
        given, real = wanted.get(field), old["metadata"][field]
        if given not in {None, real}:
            why = f"the {name} in the precondition ({given}) does not match the {name} in record ({real}). {hint}"
            # The real server names the kind here where every other message has the plural.
            raise conflict(replace(resource, plural=resource.kind), old["metadata"]["name"], why)


def _grace(resource: Resource, old: Json, call: Call, options: Json) -> int:
    """How many seconds a pod may go on; only one on a node, and not ended, waits for its kubelet."""
    ended = (old.get("status") or {}).get("phase") in {"Succeeded", "Failed"}
    if resource.storage != "/pods" or not old["spec"].get("nodeName") or ended:
        return 0
    asked = options.get("gracePeriodSeconds", call.query.get("gracePeriodSeconds"))
    return int(old["spec"].get("terminationGracePeriodSeconds", 30) if asked is None else asked)


def _answer(resource: Resource, item: Json) -> Json:
    if resource.returns_deleted:
        return resource.shown(item)
    group = {"group": resource.group} if resource.group else {}
    details = {"name": item["metadata"]["name"], **group, "kind": resource.plural, "uid": item["metadata"]["uid"]}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
