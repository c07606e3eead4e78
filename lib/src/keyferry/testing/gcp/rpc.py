"""Serves gRPC methods by the SDK's own messages: authentication, faults, and errors with Google's texts around them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # no stubs published
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # no stubs published

from keyferry.testing.gcp.faults import Call, Fault, Faults
from keyferry.testing.gcp.identities import Identities
from keyferry.testing.gcp.policies import Policies

_MALFORMED = b"\xff\xff\xff\xff"


class Refused(Exception):
    """A method fails with this code and text."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Caller:
    """Who calls a method, and what that permits."""

    members: frozenset[str]
    policies: Policies

    def need(self, permission: str, resource: str, about: str = "") -> None:
        """Go on only with a permission.

        Args:
            permission: Such as ``secretmanager.versions.access``.
            resource: That has the policy.
            about: What the text names, where it is not the resource.

        Raises:
            Refused: it is not given; the text is the same for what does not exist.
        """
        if not self.policies.permit(self.members, permission, resource):
            raise Refused(
                grpc.StatusCode.PERMISSION_DENIED,
                f"Permission '{permission}' denied for resource '{about or resource}' (or it may not exist).",
            )


@dataclass(frozen=True)
class Cloud:
    """What all methods share."""

    identities: Identities
    policies: Policies
    faults: Faults


@dataclass(frozen=True)
class Method:
    """How one method reads its request, and what it does; answers are proto-plus or protobuf messages."""

    read: Callable[[bytes], Any]
    work: Callable[[Any, Caller], Any]


class Service(grpc.GenericRpcHandler):  # type: ignore[misc]  # has no types
    """The methods of one service at one endpoint.

    Args:
        name: Full name of the service.
        methods: By name.
        cloud: Who is who, who may what, and switches.
        regional: Whether the endpoint is a location's; it then serves nothing else.
    """

    def __init__(self, name: str, methods: Mapping[str, Method], cloud: Cloud, *, regional: bool) -> None:
        self._name, self._methods, self._cloud, self._regional = name, methods, cloud, regional

    def service(self, handler_call_details: Any) -> Any:
        """Called by gRPC: who serves this call."""
        service, _, name = handler_call_details.method.lstrip("/").partition("/")
        method = self._methods.get(name) if service == self._name else None
        if method is None:
            return None
        headers = dict(handler_call_details.invocation_metadata)
        return grpc.unary_unary_rpc_method_handler(self._behaviour(name, method, headers))

    def _behaviour(
        self, name: str, method: Method, headers: Mapping[str, str]
    ) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def behave(request: bytes, context: Any) -> bytes:
            asked = method.read(request)
            resource = _resource(asked)
            fault = await self._cloud.faults.meet(Call(name, resource, context.time_remaining()))
            if fault.code:
                await context.abort(fault.code, "A test wants it so.", _retry_info(fault))
            try:
                return self._answer(method, asked, resource, headers, fault)
            except Refused as refused:
                code, message = refused.code, refused.message
            return await context.abort(code, message)  # type: ignore[no-any-return]  # raises

        return behave

    def _answer(self, method: Method, asked: Any, resource: str, headers: Mapping[str, str], fault: Fault) -> bytes:
        members = self._cloud.identities.bearer(headers.get("authorization", ""))
        if members is None:
            raise Refused(
                grpc.StatusCode.UNAUTHENTICATED,
                "Request had invalid authentication credentials. Expected OAuth 2 access token.",
            )
        location = resource.split("/")[3] if resource.split("/")[2:3] == ["locations"] else "global"
        if self._regional != (location != "global"):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"Location {location} is not served by this endpoint.")
        answer = method.work(asked, Caller(members, self._cloud.policies))
        if fault.wrong_checksum:
            answer.payload.data_crc32c ^= 1
        if fault.malformed:
            return _MALFORMED
        serialized = (
            type(answer).serialize(answer) if hasattr(type(answer), "serialize") else answer.SerializeToString()
        )
        return bytes(serialized)


def _resource(asked: Any) -> str:
    """What a request is about, whatever its field is called."""
    for field in ("name", "parent", "resource"):
        if found := getattr(asked, field, ""):
            return str(found)
    for field in ("secret", "parameter", "parameter_version"):
        if found := getattr(getattr(asked, field, None), "name", ""):
            return str(found)
    return ""


def _retry_info(fault: Fault) -> tuple[tuple[str, bytes], ...]:
    if not fault.retry_after:
        return ()
    detail = AnyMessage()
    seconds = int(fault.retry_after)
    detail.Pack(RetryInfo(retry_delay=Duration(seconds=seconds, nanos=int((fault.retry_after - seconds) * 1e9))))
    assert fault.code is not None
    status = Status(code=fault.code.value[0], message="A test wants it so.", details=[detail])
    return (("grpc-status-details-bin", status.SerializeToString()),)
