"""PATCH: from a stored object and a patch in one of the four formats to the object that is meant."""

import copy
from typing import Any

from keyferry.testing.kube import apply, patches, schema
from keyferry.testing.kube.bodies import check_name, placed
from keyferry.testing.kube.catalog import Resource
from keyferry.testing.kube.requests import Call
from keyferry.testing.kube.status import StatusError, bad_request, conflict, invalid, required

Json = dict[str, Any]

APPLY = "application/apply-patch+yaml"
_OPTIONS = Resource("meta.k8s.io", "v1", "patchoptions", "PatchOptions")
_FORMATS = (
    "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, "
    "application/merge-patch+json, application/apply-patch+yaml"
)


def patched(call: Call, stored: Json) -> Json:
    """The object that a JSON, merge or strategic merge patch makes of the stored one.

    Raises:
        StatusError: 400 or 422 the patch cannot be applied, 415 it is in a format that this kind does not take.
    """
    resource, kind = call.target.resource, call.content_type
    shown = copy.deepcopy(resource.shown(stored))
    if kind == "application/json-patch+json":
        item = patches.json_patch(shown, call.body)
    elif kind == "application/merge-patch+json":
        item = patches.merge_patch(shown, call.body)
    elif kind == "application/strategic-merge-patch+json" and not resource.custom:
        item = patches.strategic_merge(shown, call.body)
    else:
        raise StatusError(415, "UnsupportedMediaType", _FORMATS)
    if not isinstance(item, dict) or not isinstance(item.get("metadata"), dict):
        raise bad_request("the patch leaves no object")
    return copy.deepcopy(item)


def applied(call: Call, stored: Json | None, writer: apply.Writer) -> tuple[Json, list[Json]]:
    """The object that a server-side apply makes of the stored one, if any, and its managedFields.

    Raises:
        StatusError: 400 the configuration is not of this object, 409 other managers own what it changes, 422 it names
            no field manager, 500 (as the real server answers) it does not fit a CRD's schema.
    """
    at = call.target
    resource = at.resource
    config = _configuration(call, exists=stored is not None)
    live: Json = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": at.name}}
    if at.namespace:
        live["metadata"]["namespace"] = at.namespace
    if stored:
        live = resource.shown(stored)
    elif config["metadata"].get("uid"):
        uid = config["metadata"]["uid"]
        raise conflict(
            resource,
            at.name,
            f"uid mismatch: the provided object specified uid {uid}, and no existing object was found",
        )
    item, fields = apply.applied(live, config, writer, force=call.flag("force"), custom=resource.custom)
    return copy.deepcopy(item), fields


def _configuration(call: Call, *, exists: bool) -> Json:
    at, config = call.target, call.body
    if not call.query.get("fieldManager"):
        raise invalid(_OPTIONS, "", [required("fieldManager", "is required for apply patch")])
    given = config.get("apiVersion", "") if isinstance(config, dict) else ""
    if given != at.resource.api_version:
        text = f"Specified patch version: {given}, expected: {at.resource.api_version}"
        raise bad_request(f"Incorrect version specified in apply patch. {text}")
    if (config.get("metadata") or {}).get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    config = placed(at, copy.deepcopy(config))
    if exists:
        config["metadata"].setdefault("name", at.name)
    check_name(at, config)
    if at.resource.schema is not None:
        reason = schema.untyped(config, at.resource.schema)
        if reason:
            raise StatusError(500, "", f"failed to create typed patch object: {reason}")
    return config
