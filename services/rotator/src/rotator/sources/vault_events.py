"""Understands Vault's event notifications and the entries of its and OpenBao's audit log.

Shapes: Vault's "Event notifications" (CloudEvents with ``data.event`` and ``data.plugin_info``); the audit log's
response entries, whose values are hashed and whose paths are not.
"""

from __future__ import annotations

from typing import Any

from rotator.sources.document import Malformed, event_id, member, moment, parse, text
from rotator.sources.source import Change

_READ_AS_DATA = {"data", "delete", "undelete", "destroy", "metadata"}
_KEY_VALUE = {"kv", "generic"}
_WRITING = {"create", "update", "patch", "delete"}
_REQUEST, _BEFORE_VALUES = b'"type":"request"', 128
_ROTATIONS = {"database/rotate", "database/static-role-create", "database/static-role-update"}


def notified(body: str) -> Change | None:
    """What an event notification tells; None for one that changes no content.

    Raises:
        Malformed: it is none.
    """
    event = parse(body)
    data = member(event, "data")
    kind = text(data, "event_type")
    if not kind:
        raise Malformed("it has no data.event_type, as every event of Vault has")
    about, mount = member(data, "event", "metadata"), text(member(data, "plugin_info"), "mount_path")
    namespace = text(data, "namespace")
    if kind.startswith("kv-v"):
        if kind.endswith(("config-write", "-read")) or text(about, "modified") == "false":
            return None
        path = text(about, "data_path", "path")
        if not path:
            raise Malformed("it names no path")
        sources = _kv_paths(path, mount, namespace)
    elif kind in _ROTATIONS and text(about, "name"):
        sources = _static(mount or "database/", text(about, "name"), namespace)
    else:
        return None
    found = text(member(event), "id") or text(member(data, "event"), "id")
    return Change(sources, event_id(found), moment(text(member(event), "time")))


def audited(line: bytes) -> Change | None:
    """What an entry of the audit log tells; None for one that changes no content.

    Raises:
        Malformed: it is none.
    """
    if _REQUEST in line[:_BEFORE_VALUES]:
        return None  # half of all entries, and not worth being parsed
    entry: Any = parse(line)
    request = member(entry, "request")
    kind, operation, path = text(member(entry), "type"), text(request, "operation"), text(request, "path")
    if not kind or not operation:
        raise Malformed("it has no type and request.operation, as every entry of an audit log has")
    if kind != "response" or operation not in _WRITING or member(entry).get("error") or not path:
        return None
    mount, namespace = text(request, "mount_point"), text(member(request, "namespace"), "path")
    _, rotates, role = path.partition("/rotate-role/")
    if text(request, "mount_type") in _KEY_VALUE:
        sources = _kv_paths(path, mount, namespace)
    elif text(request, "mount_type") == "database" and rotates:
        sources = _static(mount, role, namespace)
    else:
        return None
    return Change(sources, event_id(text(request, "id")), moment(text(member(entry), "time")))


def _kv_paths(path: str, mount: str, namespace: str) -> tuple[str, ...]:
    """The API paths that a changed secret may be read at.

    Version 2 of the engine writes at ``delete/``, ``metadata/`` and others what is read at ``data/``. For version 1
    these are parts of a name like any other, so both are told: a path that nobody reads costs nothing.
    """
    path = _within(namespace, path)
    prefix = _within(namespace, mount) or path.partition("/")[0]
    inner = path.removeprefix(f"{prefix}/")
    first, _, rest = inner.partition("/")
    paths = [f"{prefix}/{inner}"]
    if first in _READ_AS_DATA and rest:
        paths.insert(0, f"{prefix}/data/{rest}")
    return _both(namespace, paths)


def _static(mount: str, role: str, namespace: str) -> tuple[str, ...]:
    return _both(namespace, [f"{_within(namespace, mount)}/static-creds/{role}"])


def _within(namespace: str, path: str) -> str:
    """A path as seen from its namespace: an audit log writes mounts with it, and paths without."""
    path = path.strip("/")
    return path.removeprefix(f"{namespace.strip('/')}/") if namespace else path


def _both(namespace: str, paths: list[str]) -> tuple[str, ...]:
    """As read by classes that name the namespace, and by those that have it in the path."""
    outer = [f"{namespace.strip('/')}/{path}" for path in paths] if namespace.strip("/") else []
    return tuple(dict.fromkeys(paths + outer))
