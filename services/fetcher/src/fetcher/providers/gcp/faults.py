"""What a failed call means, without Google's own words: they may quote what was sent."""

from __future__ import annotations

import re

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # no stubs published
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # no stubs published

from fetcher.providers.gcp.resources import PARAMETER, SECRET, Resource
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
}


class TokenRefused(AccessDenied):
    """Google does not take the access token, whatever it was for."""


_MEANINGS: dict[grpc.StatusCode, tuple[type[KeyferryError], str]] = {
    Code.NOT_FOUND: (SecretNotFound, "there is no such {kind} or version"),
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
        error: Of a read.
        resource: What was read.
        doing: The same in words, with whose identity it was.
    """
    kind, words = _MEANINGS.get(error.code(), _ELSE)
    told = words.format(
        kind=resource.kind,
        state=_state(error, resource),
        role=_ROLES[resource.kind],
        location=f" in location {resource.location}" if resource.location else "",
        code=error.code().name,
    )
    return kind(f"{doing}: {told}", retry_after=_retry_delay(error) if kind.retry_after else None)


def _state(error: grpc.aio.AioRpcError, resource: Resource) -> str:
    found = _STATE.search(error.details() or "")
    state = found[1].lower() if found else "disabled or destroyed"
    if resource.kind == SECRET:
        return f"{state}: enable it, or add another"
    return f"{state}, or the parameter may not read a secret that it refers to"


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
