"""get and list."""

import base64
import binascii
import json
from typing import Any

from keyferry.testing.kube import selectors
from keyferry.testing.kube.catalog import Resource
from keyferry.testing.kube.requests import Call
from keyferry.testing.kube.status import StatusError, bad_request, expired, not_found
from keyferry.testing.kube.store import HistoryGone, Key, Store

Json = dict[str, Any]

_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "fieldPath")
_EVERY = ("metadata.name", "metadata.namespace")
_SELECTABLE = {
    "/pods": (
        *_EVERY,
        *(f"spec.{name}" for name in ("nodeName", "serviceAccountName", "restartPolicy", "schedulerName")),
        *(f"status.{name}" for name in ("phase", "podIP", "nominatedNodeName")),
    ),
    "/secrets": (*_EVERY, "type"),
    "/nodes": (*_EVERY, "spec.unschedulable"),
    "/namespaces": (*_EVERY, "status.phase"),
    "/events": (
        *(*_EVERY, "reason", "type", "source", "reportingComponent"),
        *(f"{about}.{name}" for about in ("involvedObject", "regarding") for name in _REFERENCE),
    ),
}

_CONTINUE_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


def get(store: Store, call: Call) -> Json:
    """One object.

    Raises:
        StatusError: 404, there is none.
    """
    at = call.target
    found = store.get(Key(at.resource.storage, at.namespace, at.name))
    if found is None:
        raise not_found(at.resource, at.name)
    return at.resource.shown(found)


def matcher(call: Call) -> selectors.Test:
    """The call's label and field selectors, as one test on stored objects."""
    resource, query = call.target.resource, call.query
    labels = selectors.labels(query.get("labelSelector", ""))
    fields = selectors.fields(query.get("fieldSelector", ""), _SELECTABLE.get(resource.storage, _EVERY))
    return lambda item: labels(item) and fields(resource.shown(item))


def list_objects(store: Store, call: Call) -> Json:
    """A list, or one page of it.

    Raises:
        StatusError: 400 a bad selector or token, 410 a token from before the kept history, 504 a resourceVersion that
            is yet to come.
    """
    resource, query = call.target.resource, call.query
    matches = matcher(call)
    revision, after = _position(store, query)
    try:
        items = store.select(resource.storage, call.target.namespace, revision)
    except HistoryGone as error:
        if not query.get("continue"):
            message = f"The resourceVersion for the provided list is too old: {revision} ({error.oldest})"
            raise expired(message) from error
        again = expired(_CONTINUE_TOO_OLD)
        again.metadata = {"continue": _token(store.revision, after)}
        raise again from error
    chosen = [item for item in items if _place(item) > after and matches(item)]
    limit = int(query.get("limit") or 0)
    page = chosen[:limit] if limit else chosen
    metadata: Json = {"continue": ""} if resource.custom else {}
    metadata["resourceVersion"] = str(revision or store.revision)
    if len(page) < len(chosen):
        metadata["continue"] = _token(revision or store.revision, _place(page[-1]))
        if not query.get("labelSelector") and not query.get("fieldSelector"):
            metadata["remainingItemCount"] = len(chosen) - len(page)
    kind = resource.list_kind or f"{resource.kind}List"
    shown = [_listed(resource, item) for item in page]
    return {"kind": kind, "apiVersion": resource.api_version, "metadata": metadata, "items": shown}


def _listed(resource: Resource, item: Json) -> Json:
    shown = resource.shown(item)
    # The items of a built-in list leave out what the list's kind implies.
    return shown if resource.custom else {k: v for k, v in shown.items() if k not in {"kind", "apiVersion"}}


def _place(item: Json) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _token(revision: int, after: tuple[str, str]) -> str:
    content = json.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": "/".join(after)})
    return base64.urlsafe_b64encode(content.encode()).rstrip(b"=").decode()


def _position(store: Store, query: Any) -> tuple[int | None, tuple[str, str]]:
    """Which revision to list, and after which object to start."""
    if query.get("continue"):
        return _continued(query["continue"])
    revision = parse_revision(query.get("resourceVersion", ""))
    if revision > store.revision:
        raise too_large(revision, store.revision)
    exact = query.get("resourceVersionMatch") == "Exact" or (query.get("limit") and revision)
    return (revision if revision and exact else None), ("", "")


def _continued(token: str) -> tuple[int, tuple[str, str]]:
    try:
        content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, _, name = content["start"].partition("/")
        return int(content["rv"]), (namespace, name)
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from error


def parse_revision(text: str) -> int:
    """A resourceVersion parameter; 0 when empty.

    Raises:
        StatusError: 500 (as the real server answers), it is no number.
    """
    if text and not text.isdecimal():
        reason = f'strconv.ParseUint: parsing "{text}": invalid syntax'
        raise StatusError(500, "", f'resourceVersion: Invalid value: "{text}": {reason}')
    return int(text or 0)


def too_large(revision: int, current: int) -> StatusError:
    """504: a resourceVersion from the future."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    message = f"Timeout: Too large resource version: {revision}, current: {current}"
    return StatusError(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})
