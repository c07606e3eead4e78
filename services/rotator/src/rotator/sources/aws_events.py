"""Understands EventBridge's events of Secrets Manager and Parameter Store.

Shapes: "Secret Label Updated" and CloudTrail's entries in the Secrets Manager user guide ("Secret event notifications",
"CloudTrail entries"), "Parameter Store Change" in the Systems Manager user guide ("Monitoring parameters").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rotator.sources.document import Malformed, event_id, is_usable, member, moment, parse, text
from rotator.sources.source import Change

_SECRET_CALLS = {
    "CreateSecret",
    "PutSecretValue",
    "UpdateSecret",
    "UpdateSecretVersionStage",
    "RestoreSecret",
    "DeleteSecret",
    "RotateSecret",
    "ReplicateSecretToRegions",
}
_SECRET_SERVICE_EVENTS = {"RotationSucceeded"}
_PARAMETER_CALLS = {"PutParameter", "DeleteParameter", "LabelParameterVersion", "UnlabelParameterVersion"}
_PARAMETER_OPERATIONS = {"Create", "Update", "Delete", "LabelParameterVersion"}

_SECRET_ARN = re.compile(r"arn:[^:]+:secretsmanager:[^:]*:[^:]*:secret:(.+)", re.DOTALL)
_PARAMETER_ARN = re.compile(r"arn:[^:]+:ssm:[^:]*:[^:]*:parameter/?(.+)", re.DOTALL)
_SUFFIX = re.compile(r"-[A-Za-z0-9]{6}\Z")


def change(body: str) -> Change | None:
    """What a message tells; None for an event that changes no content.

    Raises:
        Malformed: it is no event, or lacks what every such event has.
    """
    event = parse(body)
    if not isinstance(event, dict):
        raise Malformed("it is no JSON object")
    kind, origin, detail = text(event, "detail-type"), text(event, "source"), member(event, "detail")
    if not kind or not origin:
        raise Malformed("it has no source and detail-type, as every event of EventBridge has")
    if origin == "aws.secretsmanager":
        sources = _secrets(kind, detail, event)
    elif origin == "aws.ssm":
        sources = _parameters(kind, detail)
    else:
        return None
    if sources is None:
        return None
    return Change(sources, event_id(text(event, "id")), moment(text(event, "time")))


def _secrets(kind: str, detail: Mapping[str, Any], event: Mapping[str, Any]) -> tuple[str, ...] | None:
    call = text(detail, "eventName")
    if kind == "Secret Label Updated":
        arns = event.get("resources")
        found = text(detail, "name") or next((a for a in _texts(arns) if is_usable(a)), "")
    elif kind == "AWS API Call via CloudTrail" and call in _SECRET_CALLS:
        if detail.get("errorCode"):
            return None  # the call was refused
        found = text(member(detail, "responseElements"), "arn", "aRN", "ARN") or text(
            member(detail, "requestParameters"), "secretId", "name"
        )
    elif kind == "AWS Service Event via CloudTrail" and call in _SECRET_SERVICE_EVENTS:
        found = text(member(detail, "additionalEventData"), "SecretId", "secretId")
    else:
        return None
    if not found:
        raise Malformed("it names no secret")
    return secret_names(found)


def _parameters(kind: str, detail: Mapping[str, Any]) -> tuple[str, ...] | None:
    if kind == "Parameter Store Change" and text(detail, "operation") in _PARAMETER_OPERATIONS:
        found = text(detail, "name")
    elif kind == "AWS API Call via CloudTrail" and text(detail, "eventName") in _PARAMETER_CALLS:
        if detail.get("errorCode"):
            return None
        found = text(member(detail, "requestParameters"), "name")
    else:
        return None
    arn = _PARAMETER_ARN.fullmatch(found)
    name = (arn[1] if arn else found).lstrip("/")
    if not name:
        raise Malformed("it names no parameter")
    return (f"ssm/{name}",)


def secret_names(secret: str) -> tuple[str, ...]:
    """The canonical names of a secret given by name or ARN.

    An ARN in a request may lack the six random characters; one that seems to have them gives both names then, since a
    name that nobody uses costs nothing.
    """
    arn = _SECRET_ARN.fullmatch(secret)
    if arn is None:
        return (f"secretsmanager/{secret}",)
    whole = arn[1]
    short = _SUFFIX.sub("", whole)
    return tuple(dict.fromkeys(f"secretsmanager/{name}" for name in (short, whole) if name))


def _texts(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []
