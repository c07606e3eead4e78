"""create, replace, patch, apply and delete: one way for every kind."""

import secrets
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

import copy

from keyferry.testing.kube import apply, metadata, patches, schema
from keyferry.testing.kube.accounts import stamp
from keyferry.testing.kube.catalog import Catalog, Resource
from keyferry.testing.kube.requests import Call
from keyferry.testing.kube.status import (
    FieldError,
    StatusError,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    invalid_value,
    not_found,
    required,
)
from keyferry.testing.kube.store import Key, Store

Json = dict[str, Any]

APPLY = "application/apply-patch+yaml"
_SERVER_OWNED = ("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "selfLink")
_SERVER_OWNED += ("deletionGracePeriodSeconds", "managedFields")
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_LONGEST_GENERATED = 58


class Writing:
    """The writing verbs on a store; every method is atomic, as none of them waits."""

    def __init__(self, store: Store, catalog: Catalog, now: Callable[[], datetime]) -> None:
        self._store, self._catalog, self._now = store, catalog, now

    # ---- create

    def create(self, call: Call) -> Json:
        """Answers a POST.

        Raises:
            StatusError: 400 not this kind or namespace, 403 the namespace is ending, 404 there is no such namespace,
                409 the name is taken, 422 the object breaks a rule.
        """
        item = _body(call)
        if item["metadata"].get("resourceVersion"):
            raise StatusError(500, "", "resourceVersion should not be set on objects to be created")
        _strip(item["metadata"])
        return self._insert(call, item, "Update")

    def _insert(self, call: Call, item: Json, operation: str) -> Json:
        at, meta = call.target, item["metadata"]
        if not meta.get("name") and meta.get("generateName"):
            suffix = "".join(secrets.choice(_SUFFIX_LETTERS) for _ in range(5))
            meta["name"] = meta["generateName"][:_LONGEST_GENERATED] + suffix
        applied_fields = meta.pop("managedFields", None)
        self._admit(call, item)
        if "status" in at.resource.subresources:
            item.pop("status", None)
        meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": stamp(self._now())}
        if at.resource.generation:
            meta["generation"] = 1
        item = self._prepared(at.resource, item, None)
        key = Key(at.resource.storage, at.namespace, meta["name"])
        if self._store.get(key):
            raise already_exists(at.resource, meta["name"])
        writer = self._writer(call, operation)
        fields = applied_fields or apply.updated(None, item, writer, custom=at.resource.custom)
        return self._saved(call, key, item, fields)

    def _admit(self, call: Call, item: Json) -> None:
        """The namespace must be there, and not be ending; a pod's service account must be there."""
        at = call.target
        name = item["metadata"].get("name", "")
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

    # ---- replace and patch

    def replace(self, call: Call) -> Json:
        """Answers a PUT.

        Raises:
            StatusError: 400 not this object, 404 it is not there, 409 it has changed meanwhile or is another by uid,
                422 it breaks a rule.
        """
        item, old = _body(call), self._must_find(call)
        if item["metadata"].get("name") != call.target.name:
            raise bad_request(
                f"the name of the object ({item['metadata'].get('name', '')}) does not match the name on the URL "
                f"({call.target.name})"
            )
        version = item["metadata"].get("resourceVersion")
        if not version and not call.target.resource.unconditional_update:
            problem = FieldError(
                "metadata.resourceVersion", "FieldValueInvalid", "Invalid value: 0x0: must be specified for an update"
            )
            raise invalid(call.target.resource, call.target.name, [problem])
        return self._update(call, old, item)

    def patch(self, call: Call) -> Json:
        """Answers a PATCH in any of the four formats; `apply` is the one that may create.

        Raises:
            StatusError: as `replace`; 409 also for fields that other appliers own, 415 for a format unknown here.
        """
        resource, kind = call.target.resource, call.content_type
        if kind == APPLY:
            return self._apply(call)
        old = self._must_find(call)
        shown = copy.deepcopy(resource.shown(old))
        if kind == "application/json-patch+json":
            item = patches.json_patch(shown, call.body)
        elif kind == "application/merge-patch+json":
            item = patches.merge_patch(shown, call.body)
        elif kind == "application/strategic-merge-patch+json" and not resource.custom:
            item = patches.strategic_merge(shown, call.body)
        else:
            raise StatusError(415, "UnsupportedMediaType", _MEDIA_TYPES)
        if not isinstance(item, dict) or not isinstance(item.get("metadata"), dict):
            raise bad_request("the patch leaves no object")
        return self._update(call, old, item)

    def _apply(self, call: Call) -> Json:
        at, config = call.target, call.body
        if not call.query.get("fieldManager"):
            options = Resource("meta.k8s.io", "v1", "patchoptions", "PatchOptions")
            raise invalid(options, "", [required("fieldManager", "is required for apply patch")])
        if not isinstance(config, dict) or config.get("apiVersion") != at.resource.api_version:
            given = config.get("apiVersion", "") if isinstance(config, dict) else ""
            text = f"Specified patch version: {given}, expected: {at.resource.api_version}"
            raise bad_request(f"Incorrect version specified in apply patch. {text}")
        if (config.get("metadata") or {}).get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        config = _typed(call, copy.deepcopy(config))
        stored = self._store.get(Key(at.resource.storage, at.namespace, at.name))
        bare = {"apiVersion": config["apiVersion"], "kind": config["kind"], "metadata": {"name": at.name}}
        if at.namespace:
            bare["metadata"]["namespace"] = at.namespace
        live = at.resource.shown(stored) if stored else bare
        wanted = self._applicable(at.resource, config)
        writer, force = self._writer(call, "Apply"), call.flag("force")
        item, fields = apply.applied(live, wanted, writer, force=force, custom=at.resource.custom)
        item = copy.deepcopy(item)
        item["metadata"]["managedFields"] = fields
        if stored is None:
            uid = item["metadata"].get("uid")
            if uid:
                raise conflict(at.resource, at.name, _uid_mismatch(uid, ""))
            return self._insert(call, item, "Apply")
        return self._update(call, stored, item)

    @staticmethod
    def _applicable(resource: Resource, config: Json) -> Json:
        """The configuration as it is stored: pruned, and a Secret's stringData inside data."""
        if resource.schema is not None:
            return schema.prune(config, resource.schema)
        if resource.storage == "/secrets" and "stringData" in config:
            given = "type" in config
            resource.prepare(config, None)
            if not given:
                del config["type"]
        return config

    def _update(self, call: Call, old: Json, item: Json) -> Json:
        at, meta, was = call.target, item["metadata"], old["metadata"]
        if meta.get("uid") not in {None, "", was["uid"]}:
            raise conflict(at.resource, at.name, _uid_mismatch(meta["uid"], was["uid"]))
        if meta.get("resourceVersion") not in {None, "", was["resourceVersion"]}:
            raise conflict(at.resource, at.name)
        if meta.get("name") != at.name or meta.get("namespace", "") != at.namespace:
            problem = invalid_value("metadata.name", meta.get("name", ""), "field is immutable")
            raise invalid(at.resource, at.name, [problem])
        applied_fields = meta.pop("managedFields", None) if call.content_type == APPLY else None
        before = at.resource.shown(old)
        item = _only_subresource(at.resource, at.subresource, before, item)
        _strip(item["metadata"])
        item["metadata"] |= {name: was[name] for name in _SERVER_OWNED if name in was and name != "managedFields"}
        item = self._prepared(at.resource, item, before)
        if _generation_changes(at.resource, before, item):
            item["metadata"]["generation"] = was.get("generation", 0) + 1
        if applied_fields is None:
            applied_fields = apply.updated(before, item, self._writer(call, "Update"), custom=at.resource.custom)
        return self._saved(call, Key(at.resource.storage, at.namespace, at.name), item, applied_fields)

    def _prepared(self, resource: Resource, item: Json, old: Json | None) -> Json:
        """Pruned, defaulted and validated."""
        if resource.schema is not None:
            item = schema.prune(schema.drop_nulls(item, resource.schema), resource.schema)
            schema.fill(item, resource.schema)
        resource.prepare(item, old)
        _drop_empty(item["metadata"])
        problems = metadata.problems(item, resource.kind)
        if resource.schema is not None:
            problems += schema.violations(item, resource.schema)
        problems += resource.validate(item, old)
        if problems:
            raise invalid(resource, item["metadata"].get("name", ""), problems)
        return item

    def _saved(self, call: Call, key: Key, item: Json, fields: list[Json]) -> Json:
        resource, old = call.target.resource, self._store.get(key)
        item["metadata"].pop("managedFields", None)
        if fields:
            item["metadata"]["managedFields"] = fields
        kept = resource.kept(item)
        if call.dry_run:
            return item
        if old is not None and _same(old, kept):
            return resource.shown(old)
        if old is not None and old["metadata"].get("deletionTimestamp") and not item["metadata"].get("finalizers"):
            if not self._still_held(resource, item):
                self._store.put(key, kept)
                return resource.shown(self._store.delete(key))
        return resource.shown(self._store.put(key, kept))

    @staticmethod
    def _still_held(resource: Resource, item: Json) -> bool:
        """Whether a deleted object without finalizers goes on for another reason."""
        if resource.storage == "/namespaces":
            return bool((item.get("spec") or {}).get("finalizers"))
        return bool(item["metadata"].get("deletionGracePeriodSeconds"))

    # ---- delete

    def delete(self, call: Call) -> Json:
        """Answers a DELETE of one object: removes it, or marks it when something still holds it.

        Raises:
            StatusError: 404 it is not there, 409 it is not the one that the preconditions name.
        """
        at, old = call.target, self._must_find(call)
        options = call.body if isinstance(call.body, dict) else {}
        _check_preconditions(at.resource, old, options.get("preconditions") or {})
        policy = call.query.get("propagationPolicy") or options.get("propagationPolicy")
        policy = "Orphan" if options.get("orphanDependents") or call.flag("orphanDependents") else policy
        grace = _grace(at.resource, old, call, options)
        finalizers = list(old["metadata"].get("finalizers") or [])
        extra = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(policy or "")
        if extra and extra not in finalizers:
            finalizers.append(extra)
        held = finalizers or grace or self._still_held(at.resource, old)
        key = Key(at.resource.storage, at.namespace, at.name)
        if call.dry_run:
            return _deleted(at.resource, old)
        if not held:
            return _deleted(at.resource, self._store.delete(key))
        return at.resource.shown(self._marked(key, old, finalizers, grace))

    def _marked(self, key: Key, old: Json, finalizers: list[str], grace: int) -> Json:
        if old["metadata"].get("deletionTimestamp") and finalizers == (old["metadata"].get("finalizers") or []):
            return old
        meta = dict(old["metadata"])
        meta.setdefault("deletionTimestamp", stamp(self._now()))
        meta["deletionGracePeriodSeconds"] = grace
        if finalizers:
            meta["finalizers"] = finalizers
        marked = old | {"metadata": meta}
        if key.storage == "/namespaces":
            marked["status"] = {"phase": "Terminating"}
        return self._store.put(key, marked)

    def delete_collection(self, call: Call, chosen: list[Json]) -> Json:
        """Deletes each of the chosen objects; answers with the list of them."""
        at = call.target
        for item in chosen:
            meta = item["metadata"]
            one = type(at)(at.resource, meta.get("namespace", ""), meta["name"])
            self.delete(Call(one, call.query, call.body))
        kind = at.resource.list_kind or f"{at.resource.kind}List"
        revision = {"resourceVersion": str(self._store.revision)}
        return {"kind": kind, "apiVersion": at.resource.api_version, "metadata": revision, "items": chosen}

    def bind(self, call: Call) -> Json:
        """Answers a POST to pods/NAME/binding: the pod runs on that node from now on."""
        old = self._must_find(call)
        node = ((call.body or {}).get("target") or {}).get("name", "")
        if old["spec"].get("nodeName"):
            raise conflict(call.target.resource, call.target.name, f"pod {call.target.name} is already assigned")
        key = Key(call.target.resource.storage, call.target.namespace, call.target.name)
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


_MEDIA_TYPES = (
    "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, "
    "application/merge-patch+json, application/apply-patch+yaml"
)


def _body(call: Call) -> Json:
    if not isinstance(call.body, dict):
        raise bad_request("Object 'Kind' is missing in the body")
    return _typed(call, copy.deepcopy(call.body))


def _typed(call: Call, item: Json) -> Json:
    """The body with kind, apiVersion and namespace in place, if they do not contradict the URL."""
    at = call.target
    resource = at.resource
    given = (item.get("apiVersion") or resource.api_version, item.get("kind") or resource.kind)
    if given != (resource.api_version, resource.kind):
        wrong = f'{given[1]} in version "{given[0]}" cannot be handled as a {resource.kind}'
        raise bad_request(wrong)
    meta = item.get("metadata")
    meta = dict(meta) if isinstance(meta, dict) else {}
    if resource.namespaced and meta.get("namespace") not in {None, "", at.namespace}:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    meta.pop("namespace", None)
    if at.namespace:
        meta["namespace"] = at.namespace
    _check_strings(resource, meta)
    rest = {name: value for name, value in item.items() if name not in {"apiVersion", "kind", "metadata"}}
    return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta} | rest


def _check_strings(resource: Resource, meta: Json) -> None:
    for name in ("labels", "annotations"):
        if not all(isinstance(value, str) for value in (meta.get(name) or {}).values()):
            what = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
            raise bad_request(f"{what}: v1.ObjectMeta.{name.title()}: ReadString: expects a string")


def _strip(meta: Json) -> None:
    for name in _SERVER_OWNED:
        meta.pop(name, None)


def _drop_empty(meta: Json) -> None:
    for name in ("labels", "annotations", "finalizers", "ownerReferences", "generateName"):
        if name in meta and not meta[name]:
            del meta[name]


def _only_subresource(resource: Resource, subresource: str, before: Json, item: Json) -> Json:
    """What a call may change: through /status the status alone, else everything but it."""
    if "status" not in resource.subresources:
        return item
    source, rest = (item, before) if subresource == "status" else (before, item)
    merged = copy.deepcopy({name: value for name, value in rest.items() if name != "status"})
    if "status" in source:
        merged["status"] = copy.deepcopy(source["status"])
    return merged


def _generation_changes(resource: Resource, before: Json, item: Json) -> bool:
    if resource.generation == "*":
        unversioned = {"metadata", "apiVersion", "kind"}
        return {k: v for k, v in before.items() if k not in unversioned} != {
            k: v for k, v in item.items() if k not in unversioned
        }
    return bool(resource.generation) and before.get(resource.generation) != item.get(resource.generation)


def _same(old: Json, new: Json) -> bool:
    """Whether nothing changes but apiVersion and the times in managedFields."""

    def plain(item: Json) -> Json:
        meta = {k: v for k, v in item["metadata"].items() if k != "resourceVersion"}
        entries = [{k: v for k, v in e.items() if k != "time"} for e in meta.pop("managedFields", [])]
        entries.sort(key=str)
        return {k: v for k, v in item.items() if k not in {"apiVersion", "kind"}} | {"metadata": (meta, entries)}

    return plain(old) == plain(new)


def _uid_mismatch(given: str, real: str) -> str:
    return f"Precondition failed: UID in precondition: {given}, UID in object meta: {real}"


def _check_preconditions(resource: Resource, old: Json, wanted: Json) -> None:
    for field, name, hint in (
        ("uid", "UID", "The object might have been deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", "The object might have been modified"),
    ):
        given, real = wanted.get(field), old["metadata"][field]
        if given not in {None, real}:
            why = f"the {name} in the precondition ({given}) does not match the {name} in record ({real}). {hint}"
            raise conflict(resource, old["metadata"]["name"], why)


def _grace(resource: Resource, old: Json, call: Call, options: Json) -> int:
    """How long a pod may go on; only a pod on a node that has not ended waits for its kubelet."""
    if resource.storage != "/pods":
        return 0
    asked = options.get("gracePeriodSeconds", call.query.get("gracePeriodSeconds"))
    ended = (old.get("status") or {}).get("phase") in {"Succeeded", "Failed"}
    if not old["spec"].get("nodeName") or ended:
        return 0
    return int(old["spec"].get("terminationGracePeriodSeconds", 30) if asked is None else asked)


def _deleted(resource: Resource, item: Json) -> Json:
    if resource.returns_deleted:
        return resource.shown(item)
    group = {"group": resource.group} if resource.group else {}
    details = {"name": item["metadata"]["name"], **group, "kind": resource.plural, "uid": item["metadata"]["uid"]}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
