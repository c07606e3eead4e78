"""What a sent object must look like before any rule of its kind is asked: its type, its place, its metadata."""

import copy
from typing import Any

from keyferry.testing.kube.catalog import Resource
from keyferry.testing.kube.requests import Call, Target
from keyferry.testing.kube.status import bad_request

Json = dict[str, Any]

SERVER_OWNED = (
    *("uid", "resourceVersion", "generation", "creationTimestamp", "selfLink"),
    *("deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"),
)
"""Metadata that a client sends back, at most, and never sets."""

_CLIENT_OWNED = ("name", "generateName", "namespace", "labels", "annotations", "ownerReferences", "finalizers")


def sent(call: Call) -> Json:
    """The object in a create's or replace's body.

    Raises:
        StatusError: 400, it is none, or of another kind or namespace than the URL says.
    """
    if not isinstance(call.body, dict):
        raise bad_request("Object 'Kind' is missing in the body")
    return placed(call.target, copy.deepcopy(call.body))


def placed(at: Target, item: Json) -> Json:
    """An object with kind, apiVersion and namespace as the URL says, in the usual order, without unknown metadata.

    Raises:
        StatusError: 400, it contradicts the URL.
    """
    resource = at.resource
    _check_type(resource, item)
    given = item.get("metadata")
    given = given if isinstance(given, dict) else {}
    if resource.namespaced and given.get("namespace") not in {None, "", at.namespace}:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    meta = {name: value for name, value in given.items() if name in _CLIENT_OWNED or name in SERVER_OWNED}
    meta.pop("namespace", None)
    if at.namespace:
        meta["namespace"] = at.namespace
    _check_strings(resource, meta)
    rest = {name: value for name, value in item.items() if name not in {"apiVersion", "kind", "metadata"}}
    return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta} | rest


def check_name(at: Target, item: Json) -> None:
    """An object is written to the URL of its own name.

    Raises:
        StatusError: 400, it is not.
    """
    name = item["metadata"].get("name", "")
    if not name:
        raise bad_request(f"the name of the object ({at.name} based on URL) was undeterminable: name must be provided")
    if name != at.name:
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({at.name})")


def without_server_fields(item: Json) -> Json:
    """The object without the metadata that belongs to the server."""
    meta = {name: value for name, value in item["metadata"].items() if name not in SERVER_OWNED}
    return item | {"metadata": meta}


def _check_type(resource: Resource, item: Json) -> None:
    kind, version = item.get("kind"), item.get("apiVersion")
    what = f'in version "{resource.version}" cannot be handled as a {resource.kind}'
    if resource.custom and not kind:
        raise bad_request(f"{resource.kind} {what}: unmarshalerDecoder: Object 'Kind' is missing")
    if version and version != resource.api_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({resource.api_version})"
        )
    if kind and kind != resource.kind:
        raise bad_request(f"{kind} {what}: converting (v1.{kind}) to (core.{resource.kind}): unknown conversion")


def _check_strings(resource: Resource, meta: Json) -> None:
    for name in ("labels", "annotations"):
        if not all(isinstance(value, str) for value in (meta.get(name) or {}).values()):
            what = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
            raise bad_request(f"{what}: v1.ObjectMeta.{name.title()}: ReadString: expects a string")
