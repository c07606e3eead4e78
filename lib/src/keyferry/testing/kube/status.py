"""The API's error answers: `Status` objects with the reasons, codes, details and wording of a real API server.

Source: k8s.io/apimachinery `api/errors` and `util/validation/field`; the wording was compared with a real server by
tests/contract/kube.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from keyferry.testing.kube.catalog import Resource

Json = dict[str, Any]

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


@dataclass
class StatusError(Exception):
    """An answer other than success: HTTP status `code` and the fields of a metav1.Status."""

    code: int
    reason: str
    message: str
    details: Json = field(default_factory=dict)
    metadata: Json = field(default_factory=dict)

    def body(self) -> Json:
        """The `Status` object to send."""
        body: Json = {"kind": "Status", "apiVersion": "v1", "metadata": self.metadata, "status": "Failure"}
        body |= {"message": self.message, "code": self.code} | ({"reason": self.reason} if self.reason else {})
        return body | ({"details": self.details} if self.details else {})


@dataclass(frozen=True)
class FieldError:
    """One broken field of an object; `message` starts with the kind of mistake, as in "Required value"."""

    field: str
    reason: str
    message: str


def quoted(value: Any) -> str:
    """A value as Go prints it in a validation message."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def invalid_value(path: str, value: Any, detail: str) -> FieldError:
    """The field at `path` has a value that `detail` explains to be wrong."""
    return FieldError(path, "FieldValueInvalid", f"Invalid value: {quoted(value)}: {detail}")


def required(path: str, detail: str = "") -> FieldError:
    """The field at `path` is missing."""
    return FieldError(path, "FieldValueRequired", "Required value" + (f": {detail}" if detail else ""))


def forbidden_value(path: str, detail: str) -> FieldError:
    """The field at `path` may not be given, or not be changed."""
    return FieldError(path, "FieldValueForbidden", f"Forbidden: {detail}")


def too_long(path: str, limit: int) -> FieldError:
    """The field at `path` holds more than `limit` bytes."""
    return FieldError(path, "FieldValueTooLong", f"Too long: must have at most {limit} bytes")


def _details(resource: Resource, name: str, kind: str) -> Json:
    named = {"name": name} if name else {}
    return named | ({"group": resource.group} if resource.group else {}) | {"kind": kind}


def not_found(resource: Resource, name: str) -> StatusError:
    """404: no such object."""
    message = f'{resource.qualified} "{name}" not found'
    return StatusError(404, "NotFound", message, _details(resource, name, resource.plural))


def already_exists(resource: Resource, name: str) -> StatusError:
    """409: the name is taken."""
    message = f'{resource.qualified} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, _details(resource, name, resource.plural))


def conflict(resource: Resource, name: str, why: str = MODIFIED) -> StatusError:
    """409: the object is not, or no longer, what the caller takes it for."""
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return StatusError(409, "Conflict", message, _details(resource, name, resource.plural))


def forbidden(resource: Resource, name: str, why: str) -> StatusError:
    """403: admission refuses it."""
    message = f'{resource.qualified} "{name}" is forbidden: {why}'
    return StatusError(403, "Forbidden", message, _details(resource, name, resource.plural))


def invalid(resource: Resource, name: str, errors: Sequence[FieldError]) -> StatusError:
    """422: the object breaks the rules of its kind; one cause for each field."""
    texts = [f"{e.field}: {e.message}" for e in errors]
    qualified = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    message = f'{qualified} "{name}" is invalid: ' + (texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
    causes = [{"reason": e.reason, "message": e.message, "field": e.field} for e in errors]
    return StatusError(422, "Invalid", message, _details(resource, name, resource.kind) | {"causes": causes})


def apply_conflict(message: str, causes: list[Json]) -> StatusError:
    """409: fields of an applied configuration belong to other managers."""
    return StatusError(409, "Conflict", message, {"causes": causes})


def bad_request(message: str) -> StatusError:
    """400: the request itself makes no sense."""
    return StatusError(400, "BadRequest", message)


def expired(message: str) -> StatusError:
    """410: the resourceVersion or continue token lies before the kept history."""
    return StatusError(410, "Expired", message)


def unauthorized() -> StatusError:
    """401: no, or no known, credentials."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def unsupported_media_type(accepted: Sequence[str]) -> StatusError:
    """415: a body in a format that this call does not read."""
    message = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
    return StatusError(415, "UnsupportedMediaType", message)


def method_not_allowed() -> StatusError:
    """405: this path has no such verb."""
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message)
