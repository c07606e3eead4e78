"""create, replace and patch: one way for every kind.

Source: k8s.io/apiserver `registry/rest/{create,update}.go` and `registry/generic/registry/store.go`.
"""

import copy
import secrets
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from keyferry.testing.kube import apply, metadata, schema
from keyferry.testing.kube.accounts import stamp
from keyferry.testing.kube.bodies import SERVER_OWNED, check_name, sent, without_server_fields
from keyferry.testing.kube.catalog import Catalog, Resource
from keyferry.testing.kube.deleting import still_held
from keyferry.testing.kube.patching import APPLY, applied, patched
from keyferry.testing.kube.requests import Call
from keyferry.testing.kube.status import StatusError, already_exists, conflict, forbidden, invalid, not_found
from keyferry.testing.kube.store import Key, Store

Json = dict[str, Any]

_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_LONGEST_GENERATED = 58
_EMPTY_MEANS_ABSENT = ("labels", "annotations", "finalizers", "ownerReferences", "generateName")


class Writing:
    """The writing verbs on a store; every method is atomic, as none of them waits."""

    def __init__(self, store: Store, catalog: Catalog, now: Callable[[], datetime]) -> None:
        self._store, self._catalog, self._now = store, catalog, now

    def create(self, call: Call) -> Json:
        """Answers a POST.

        Raises:
            StatusError: 400 not this kind or namespace, 403 the namespace is ending, 404 there is no such namespace,
                409 the name is taken, 422 the object breaks a rule.
        """
        return self._insert(call, sent(call), None)

    def replace(self, call: Call) -> Json:
        """Answers a PUT.

        Raises:
            StatusError: 400 not this object, 404 it is not there, 409 it has changed meanwhile or is another by uid,
                422 it breaks a rule.
        """
        item, old = sent(call), self._must_find(call)
        check_name(call.target, item)
        meta, was = item["metadata"], old["metadata"]
        if not meta.get("resourceVersion") and not call.target.resource.unconditional_update:
            raise metadata.unversioned(call.target.resource, call.target.name)
        if meta.get("uid") not in {None, "", was["uid"]}:
            why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {was['uid']}"
            raise conflict(call.target.resource, call.target.name, why)
        return self._update(call, old, item, None)

    def patch(self, call: Call) -> Json:
        """Answers a PATCH in any of the four formats; server-side apply is the one that may create.

        Raises:
            StatusError: as `replace`; 409 also for fields that other appliers own, 415 for a format unknown here.
        """
        if call.content_type != APPLY:
            old = self._must_find(call)
            return self._update(call, old, patched(call, old), None)
        at = call.target
        stored = self._store.get(Key(at.resource.storage, at.namespace, at.name))
        item, fields = applied(call, stored, self._writer(call, "Apply"))
        return self._insert(call, item, fields) if stored is None else self._update(call, stored, item, fields)

    def bind(self, call: Call) -> Json:
        """Answers a POST to pods/NAME/binding: the pod runs on that node from now on.

        Raises:
            StatusError: 404 there is no such pod, 409 it is on a node already.
        """
        old, at = self._must_find(call), call.target
        node = ((call.body or {}).get("target") or {}).get("name", "")
        if old["spec"].get("nodeName"):
            raise conflict(
                at.resource, at.name, f'pod {at.name} is already assigned to node "{old["spec"]["nodeName"]}"'
            )
        key = Key(at.resource.storage, at.namespace, at.name)
        self._store.put(key, old | {"spec": old["spec"] | {"nodeName": node}})
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}

    def _must_find(self, call: Call) -> Json:
        at = call.target
        found = self._store.get(Key(at.resource.storage, at.namespace, at.name))
        if found is None:
            raise not_found(at.resource, at.name)
        return found

    def _writer(self, call: Call, operation: str) -> apply.Writer:
        at = call.target
        return apply.Writer(call.manager, operation, at.resource.api_version, stamp(self._now()), at.subresource)

    # ---- a new object

    def _insert(self, call: Call, item: Json, fields: list[Json] | None) -> Json:
        at, version = call.target, item["metadata"].get("resourceVersion")
        item = without_server_fields(item)
        resource, meta = at.resource, item["metadata"]
        if not meta.get("name") and meta.get("generateName"):
            suffix = "".join(secrets.choice(_SUFFIX_LETTERS) for _ in range(5))
            meta["name"] = meta["generateName"][:_LONGEST_GENERATED] + suffix
        self._admit(call, item)
        if "status" in resource.subresources:
            item.pop("status", None)
        meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": stamp(self._now())}
        if resource.generation:
            meta["generation"] = 1
        item = _prepared(resource, item, None, nulls=call.content_type == APPLY)
        if fields is None:
            fields = apply.updated(None, item, self._writer(call, "Update"), custom=resource.custom)
        _check(resource, item, None)
        if version:
            raise StatusError(500, "", "resourceVersion should not be set on objects to be created")
        key = Key(resource.storage, at.namespace, meta["name"])
        if self._store.get(key):
            raise already_exists(resource, meta["name"])
        return self._saved(call, key, item, fields)

    def _admit(self, call: Call, item: Json) -> None:
        """The namespace must be there, and not be ending; a pod's service account must be there."""
        at, name = call.target, item["metadata"].get("name", "")
        if not at.namespace:
            return
        namespace = self._store.get(Key("/namespaces", "", at.namespace))
        if namespace is None:
            raise not_found(self._catalog.of_storage("/namespaces"), at.namespace)
        if namespace["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {at.namespace} because it is being terminated"
            raise forbidden(at.resource, name, why)
        if at.resource.storage == "/pods":
            account = (item.get("spec") or {}).get("serviceAccountName") or "default"
            if self._store.get(Key("/serviceaccounts", at.namespace, account)) is None:
                why = f'error looking up service account {at.namespace}/{account}: serviceaccount "{account}" not found'
                raise forbidden(at.resource, name, why)

    # ---- a changed object

    def _update(self, call: Call, old: Json, item: Json, fields: list[Json] | None) -> Json:
        at, was = call.target, old["metadata"]
        check_name(at, item)
        if item["metadata"].get("resourceVersion") not in {None, "", was["resourceVersion"]}:
            raise conflict(at.resource, at.name)
        problems = metadata.changes(item["metadata"], was)
        if problems:
            raise invalid(at.resource, at.name, problems)
        before = at.resource.shown(old)
        item = without_server_fields(_only_subresource(at.resource, at.subresource, before, item))
        item["metadata"] |= {name: was[name] for name in SERVER_OWNED if name in was and name != "managedFields"}
        item = _prepared(at.resource, item, before, nulls=call.content_type == APPLY)
        if fields is None:
            fields = apply.updated(before, item, self._writer(call, "Update"), custom=at.resource.custom)
        _check(at.resource, item, before)
        if _generation_changes(at.resource, before, item):
            item["metadata"]["generation"] = was.get("generation", 0) + 1
        return self._saved(call, Key(at.resource.storage, at.namespace, at.name), item, fields)

    def _saved(self, call: Call, key: Key, item: Json, fields: list[Json]) -> Json:
        resource, old = call.target.resource, self._store.get(key)
        item["metadata"].pop("managedFields", None)
        if fields:
            item["metadata"]["managedFields"] = fields
        if call.dry_run:
            return item
        kept = resource.kept(item)
        if old is not None and _same(old, kept):
            return resource.shown(old)
        marked = old is not None and bool(old["metadata"].get("deletionTimestamp"))
        saved = self._store.put(key, kept)
        if marked and not item["metadata"].get("finalizers") and not still_held(resource, item):
            saved = self._store.delete(key)
        return resource.shown(saved)


def _prepared(resource: Resource, item: Json, old: Json | None, *, nulls: bool) -> Json:
    """Pruned and defaulted: what the writer is taken to have written."""
    if resource.schema is not None:
        # What an apply empties becomes null and is refused; everywhere else null is as good as absent.
        item = item if nulls else schema.drop_nulls(item, resource.schema)
        item = schema.prune(item, resource.schema)
        schema.fill(item, resource.schema)
    resource.prepare(item, old)
    meta = item["metadata"]
    for name in _EMPTY_MEANS_ABSENT:
        if name in meta and not meta[name]:
            del meta[name]
    return item


def _check(resource: Resource, item: Json, old: Json | None) -> None:
    """Admission, whose additions nobody is recorded for, then validation."""
    resource.admit(item, old)
    problems = metadata.problems(item, resource.kind, custom=resource.custom)
    if resource.schema is not None:
        problems += schema.violations(item, resource.schema)
    problems += resource.validate(item, old)
    if problems:
        raise invalid(resource, item["metadata"].get("name", ""), problems)


def _only_subresource(resource: Resource, subresource: str, before: Json, item: Json) -> Json:
    """What a call may change: through /status the status alone, else everything but it."""
    if "status" not in resource.subresources:
        return item
    source, rest = (item, before) if subresource == "status" else (before, item)
    merged = {name: value for name, value in rest.items() if name != "status"}
    if "status" in source:
        merged["status"] = source["status"]
    return copy.deepcopy(merged)


def _generation_changes(resource: Resource, before: Json, item: Json) -> bool:
    if resource.generation == "*":
        return _content(before) != _content(item)
    return bool(resource.generation) and before.get(resource.generation) != item.get(resource.generation)


def _content(item: Json) -> Json:
    return {name: value for name, value in item.items() if name not in {"kind", "apiVersion", "metadata"}}


def _same(old: Json, new: Json) -> bool:
    """Whether nothing changes but the version it is shown in and the times in managedFields."""
    return _content(old) == _content(new) and _timeless(old["metadata"]) == _timeless(new["metadata"])


def _timeless(meta: Json) -> Json:
    entries = [{k: v for k, v in entry.items() if k != "time"} for entry in meta.get("managedFields", [])]
    rest = {k: v for k, v in meta.items() if k not in {"resourceVersion", "managedFields"}}
    return rest | {"managedFields": sorted(entries, key=str)}
