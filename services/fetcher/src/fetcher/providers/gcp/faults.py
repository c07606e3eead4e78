"""What a failed call means, without Google's own words: they may quote what was sent."""

from __future__ import annotations

import re

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # no stubs published
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # no stubs published

from fetcher.providers.gcp.resources import LISTING, PARAMETER, SECRET, Resource
from keyferry.errors import (
    AccessDenied,
    InvalidSecretProviderClass,
    KeyferryError,
    ProviderUnavailable,
    RateLimited,
    SecretNotFound,
)

Code = grpc.StatusCode

_STATE = re.compile(r"\b(DISABLED|DESTROYED)\b")
_LONGEST_WAIT = 300.0  # seconds, whatever Google says
_ROLES = {
    SECRET: "roles/secretmanager.secretAccessor",
    PARAMETER: "roles/parametermanager.parameterAccessor, and the parameter itself secretAccessor on its references",
    LISTING: "secretmanager.secrets.list on the project, such as by roles/secretmanager.viewer",
}
_NAMES = {SECRET: "secret", PARAMETER: "parameter", LISTING: "project or location"}


class TokenRefused(AccessDenied):
    """Google does not take the access token, whatever it was for."""


class Withheld(SecretNotFound):
    """It may be there: a class's ``optional`` does not pass over it."""


_MEANINGS: dict[grpc.StatusCode, tuple[type[KeyferryError], str]] = {
    Code.NOT_FOUND: (SecretNotFound, "there is no such {kind}{version}"),
    Code.FAILED_PRECONDITION: (SecretNotFound, "this version is {state}"),
    # Google says the same of what does not exist to those who may not know.
    Code.PERMISSION_DENIED: (AccessDenied, "permission denied, or there is no such {kind}: grant {role}"),
    Code.UNAUTHENTICATED: (TokenRefused, "Google does not take the access token"),
    Code.INVALID_ARGUMENT: (InvalidSecretProviderClass, "Google refuses the name: see resourceName"),
    Code.RESOURCE_EXHAUSTED: (RateLimited, "Google asks for fewer calls"),
    Code.DEADLINE_EXCEEDED: (ProviderUnavailable, "no answer in time"),
    Code.UNIMPLEMENTED: (ProviderUnavailable, "what answers is not Google's API: see the endpoints in the settings"),
}
_ELSE = (ProviderUnavailable, "Google's API{location} cannot be reached or failed ({code})")


def explain(error: grpc.aio.AioRpcError, resource: Resource, doing: str) -> KeyferryError:
    """The error that the pod's owner reads.

    Args:
        error: Of a call.
        resource: What it was about.
        doing: The same in words, with whose identity it was.
    """
    kind, words = _MEANINGS.get(error.code(), _ELSE)
    state = _STATE.search(error.details() or "")
    if error.code() == Code.FAILED_PRECONDITION and resource.kind == PARAMETER and not state:
        kind = Withheld
    told = words.format(
        kind=_NAMES[resource.kind],
        version="" if resource.kind == LISTING else " or version",
        state=_told(state[1].lower() if state else "disabled or destroyed", resource),
        role=_ROLES[resource.kind],
        location=f" in location {resource.location}" if resource.location else "",
        code=error.code().name,
    )
    return kind(f"{doing}: {told}", retry_after=_retry_delay(error) if kind.retry_after else None)


def _told(state: str, resource: Resource) -> str:
    if resource.kind == PARAMETER:
        return f"{state}, or the parameter may not read a secret that it refers to"
    return f"{state}: enable it, or add another"


def _retry_delay(error: grpc.aio.AioRpcError) -> float | None:
    """Seconds that Google asks to wait (google.rpc.RetryInfo); None if it does not."""
    status, info = Status(), RetryInfo()
    try:
        for name, value in error.trailing_metadata() or ():
            if name == "grpc-status-details-bin":
                status.ParseFromString(value)
        for detail in status.details:
            if detail.Is(RetryInfo.DESCRIPTOR) and detail.Unpack(info):
                delay: float = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
                return min(max(delay, 1.0), _LONGEST_WAIT)
    except (DecodeError, ValueError, TypeError):
        pass
    return None
