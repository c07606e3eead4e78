"""What the API server's refusals mean to us: the one place where its status codes become errors of ours."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from keyferry.errors import AccessDenied, InternalError, KeyferryError, KubernetesUnavailable
from keyferry.kube.paths import permission

_UNAUTHORIZED = 401
_FORBIDDEN = 403
_TOO_MANY = 429
_SERVER_ERROR = 500
_LONGEST_WAIT = 60.0


class Rejected(InternalError):
    """An answer that only the caller can make sense of: a conflict, an invalid object, a history that is gone.

    Attributes:
        status: HTTP status, such as 409 (conflict), 410 (the resourceVersion is too old) or 422 (invalid).
        cause: The ``reason`` of the API's Status object, such as ``AlreadyExists``; empty where it gave none.
        fields: The fields it complains of. Its own text is left out: it may quote what was sent.
    """

    def __init__(self, message: str, *, status: int, cause: str = "", fields: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.cause = cause
        self.fields = fields


def refusal(
    method: str, path: str, status: int, body: bytes | dict[str, Any], *, watch: bool = False, wait: str | None = None
) -> KeyferryError:
    """The error for an answer of 400 or more.

    Args:
        method: HTTP verb of the request.
        path: Path of the request.
        status: HTTP status, or ``code`` of an ERROR event.
        body: The Status object.
        watch: The request was a watch.
        wait: ``Retry-After`` header.
    """
    told = _status_object(body)
    cause = str(told.get("reason") or "")
    answer = f"{status} {cause}".rstrip()
    if status == _UNAUTHORIZED:
        return AccessDenied(
            "the Kubernetes API server does not accept this service's own credentials (401): "
            "check the service account token of its pod, or the kubeconfig"
        )
    if status == _FORBIDDEN:
        return _forbidden(permission(method, path, watch=watch), told)
    if status == _TOO_MANY or status >= _SERVER_ERROR:
        return KubernetesUnavailable(
            f"the Kubernetes API server answers {answer} to {method} {path}", retry_after=_seconds(wait)
        )
    fields = tuple(sorted({str(c.get("field")) for c in _causes(told) if c.get("field")}))
    about = f" about {', '.join(fields)}" if fields else ""
    return Rejected(
        f"the Kubernetes API server answers {answer}{about} to {method} {path}",
        status=status,
        cause=cause,
        fields=fields,
    )


def _forbidden(missing: str, told: dict[str, Any]) -> AccessDenied:
    # The authorizer's text names user, verb and resource only. Admission answers 403 too, but in others' words, which
    # may quote the object: those are not repeated.
    by_rbac = f"cannot {missing.partition(' ')[0]} " in str(told.get("message"))
    who = str(told["message"]).partition('User "')[2].partition('"')[0] if by_rbac else ""
    account = f' "{who}"' if who else ""
    return AccessDenied(
        f"the account of this service{account} may not {missing} (403): "
        f"add the verb to its role, or look for an admission policy that denies it"
    )


def _status_object(body: bytes | dict[str, Any]) -> dict[str, Any]:
    if isinstance(body, dict):
        return body
    with suppress(ValueError, RecursionError):
        told = json.loads(body)
        if isinstance(told, dict):
            return told
    return {}


def _causes(told: dict[str, Any]) -> list[dict[str, Any]]:
    details = told.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return [cause for cause in causes if isinstance(cause, dict)] if isinstance(causes, list) else []


def _seconds(wait: str | None) -> float | None:
    return min(float(wait), _LONGEST_WAIT) if wait and wait.isdecimal() else None
