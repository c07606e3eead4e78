"""What an Event must say, in the old API group and in the new one.

Source: kubernetes `pkg/apis/core/validation/events.go`.
"""

from typing import Any

from keyferry.testing.kube.status import FieldError, invalid_value, required

Json = dict[str, Any]

_LONGEST, _LONGEST_NOTE = 128, 1024
_WITHOUT_NAMESPACE = ("default", "kube-system")
_UNSET: Json = {"eventTime": None, "firstTimestamp": None, "lastTimestamp": None}
_EMPTY: Json = {"reportingComponent": "", "reportingInstance": "", "source": {}}


def admit_core(new: Json, _old: Json | None) -> None:
    """The old group shows what is unset."""
    for name, value in (_UNSET | _EMPTY).items():
        new.setdefault(name, value)


def admit_events(new: Json, _old: Json | None) -> None:
    """The new group shows what is unset of the old group's fields."""
    unset: Json = {"deprecatedFirstTimestamp": None, "deprecatedLastTimestamp": None, "deprecatedSource": {}}
    for name, value in unset.items():
        new.setdefault(name, value)


def validate_core(new: Json, old: Json | None) -> list[FieldError]:
    """A core/v1 event, or a change of one."""
    return _common(new, "reportingComponent", "message", "involvedObject", old)


def validate_events(new: Json, old: Json | None) -> list[FieldError]:
    """An events.k8s.io/v1 event, or a change of one, of which only the series may differ."""
    found = _common(new, "reportingController", "note", "regarding", old)
    if not new.get("eventTime"):
        found.append(required("eventTime"))
    if new.get("type") not in {"Normal", "Warning"}:
        found.append(invalid_value("type", "", f"has invalid value: {new.get('type') or ''}"))
    if old is None:
        return found
    fixed = ("reason", "note", "type", "action", "regarding", "related", "reportingController", "reportingInstance")
    return found + [invalid_value(f, new.get(f), "field is immutable") for f in fixed if new.get(f) != old.get(f)]


def _common(new: Json, controller: str, note: str, about: str, old: Json | None) -> list[FieldError]:
    namespace = new["metadata"].get("namespace", "")
    theirs = (new.get(about) or {}).get("namespace", "")
    matches = theirs == namespace or (not theirs and namespace in _WITHOUT_NAMESPACE)
    found = []
    if not matches:
        found.append(invalid_value("involvedObject.namespace", theirs, "does not match event.namespace"))
    if not new.get("eventTime") or old is not None:
        return found  # an event of the old style is not looked at any closer
    for name in (controller, "reportingInstance", "action", "reason"):
        if not new.get(name):
            found.append(required(name))
        if len(new.get(name) or "") > _LONGEST:
            found.append(invalid_value(name, "", f"can have at most {_LONGEST} characters"))
    if len(new.get(note) or "") > _LONGEST_NOTE:
        found.append(invalid_value("message", "", f"can have at most {_LONGEST_NOTE} characters"))
    return found
