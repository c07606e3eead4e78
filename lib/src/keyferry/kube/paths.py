"""What a Kubernetes API path says: which verb on which resource, and where one object lies."""

from __future__ import annotations

import re
from typing import Any

Json = dict[str, Any]

# A DNS subdomain (RFC 1123), which is what object names are: nothing in it can leave its place in a path.
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def object_path(list_path: str, namespace: str | None, name: str) -> str | None:
    """Where one object lies.

    Args:
        list_path: Of all namespaces, such as ``/api/v1/pods``.
        namespace: As somebody else wrote it; None for a resource without namespaces.
        name: As somebody else wrote it.

    Returns:
        Such as ``/api/v1/namespaces/shop/pods/web-0``; None where no object can have such a name, so that foreign text
        (``../../secrets/x``) never becomes part of a path.
    """
    if any(not _NAME.fullmatch(text) or ".." in text for text in (name, *([] if namespace is None else [namespace]))):
        return None
    if namespace is None:
        return f"{list_path}/{name}"
    prefix, _, plural = list_path.rpartition("/")
    return f"{prefix}/namespaces/{namespace}/{plural}/{name}"


def permission(method: str, path: str, *, watch: bool = False) -> str:
    """The RBAC permission that a request needs, in the words of ``kubectl auth can-i``.

    Returns:
        Such as ``list secretproviderclasses.secrets-store.csi.x-k8s.io in all namespaces``, or ``get /openid/v1/jwks``.
    """
    parts = path.strip("/").split("/")
    rest = {"api": parts[2:], "apis": parts[3:]}.get(parts[0], [])
    if not rest:
        return f"{method.lower()} {path}"
    where = "in all namespaces"
    if rest[0] == "namespaces" and len(rest) > 2:  # noqa: PLR2004 - namespaces/<namespace>/<resource>
        where, rest = f"in namespace {rest[1]}", rest[2:]
    reads = "watch" if watch else "list" if len(rest) == 1 else "get"
    resource = rest[0] + (f".{parts[1]}" if parts[0] == "apis" else "") + "".join(f"/{part}" for part in rest[2:])
    return f"{_VERBS.get(method, reads)} {resource} {where}"
