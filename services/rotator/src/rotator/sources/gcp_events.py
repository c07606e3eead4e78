"""Understands what Secret Manager writes to a Pub/Sub topic, and the audit log entries that a log sink writes there.

Shapes: Secret Manager's "Set up notifications on a secret"; ``LogEntry`` with an ``AuditLog`` as payload for Parameter
Manager, which has no notifications of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from rotator.sources.document import Malformed, event_id, is_usable, member, moment, parse, text
from rotator.sources.source import Change

_CHANGES = {
    "SECRET_CREATE",
    "SECRET_UPDATE",
    "SECRET_DELETE",
    "SECRET_VERSION_ADD",
    "SECRET_VERSION_ENABLE",
    "SECRET_VERSION_DISABLE",
    "SECRET_VERSION_DESTROY",
}
_OBJECT = re.compile(r"projects/[^/]+/(?:locations/[^/]+/)?(secrets|parameters)/([^/]+)(?:/.*)?", re.DOTALL)
_SERVICES = {"secretmanager.googleapis.com", "parametermanager.googleapis.com"}
_CHANGING = re.compile(r"(?:Add|Create|Update|Delete|Enable|Disable|Destroy)[A-Za-z]*")


def change(attributes: Mapping[str, str], data: bytes, message_id: str) -> Change | None:
    """What a message tells; None for one that changes no content.

    Raises:
        Malformed: it comes from neither Secret Manager nor an audit log.
    """
    kind = text(attributes, "eventType")
    if not kind:
        return _logged(data, message_id)
    if kind not in _CHANGES:
        return None  # SECRET_ROTATE reminds people to rotate; TOPIC_CONFIGURED is a test
    at = moment(text(attributes, "timestamp"))
    return Change((_name(text(attributes, "secretId")),), event_id(message_id), at)


def _logged(data: bytes, message_id: str) -> Change | None:
    entry = parse(data)
    payload = member(entry, "protoPayload")
    service, method = text(payload, "serviceName"), text(payload, "methodName").rpartition(".")[2]
    if not service or not method:
        raise Malformed("it has no eventType attribute, and is no entry of an audit log")
    if service not in _SERVICES or not _CHANGING.fullmatch(method) or member(payload, "status").get("code"):
        return None
    return Change((_name(text(payload, "resourceName")),), event_id(message_id), moment(text(entry, "timestamp")))


def _name(resource: str) -> str:
    """``secrets/<id>`` or ``parameters/<id>`` of a full name: events carry a project's number, classes its id."""
    match = _OBJECT.fullmatch(resource)
    if match is None or not is_usable(match[2]):
        raise Malformed("it names no secret or parameter")
    return f"{match[1]}/{match[2]}"
