"""google.pubsub.v1: one project's topic and pull subscriptions, as far as a subscriber needs them.

Real are: waiting pulls, acknowledgement deadlines and their extension, redelivery, attributes. Left out: ordering,
filters, exactly-once, dead-letter topics, streaming pull.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
from google.iam.v1 import iam_policy_pb2  # type: ignore[import-untyped]  # no stubs published
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import (
    AcknowledgeRequest,
    ModifyAckDeadlineRequest,
    PubsubMessage,
    PullRequest,
    PullResponse,
    ReceivedMessage,
)

from keyferry.testing.kube import tls
from keyferry.testing.ports import free_port

_SUBSCRIBER = "google.pubsub.v1.Subscriber"
_IAM = "google.iam.v1.IAMPolicy"
_CONSUME = "pubsub.subscriptions.consume"
_WAIT_SECONDS = 0.02

Work = Callable[[Any, Any], Awaitable[bytes]]


@dataclass
class Held:
    """A message of a subscription that was not acknowledged yet."""

    message: PubsubMessage
    visible_at: float = 0.0
    ack_id: str = ""
    deliveries: int = 0


@dataclass
class Subscription:
    """What a subscription keeps, by message id, and who may pull from it."""

    held: dict[str, Held] = field(default_factory=dict)
    may_consume: bool = True


class PubSubEmulator:
    """Pub/Sub on loopback. Use as ``async with PubSubEmulator() as pubsub``.

    Args:
        ack_seconds: Acknowledgement deadline of all subscriptions.
        secure: TLS with certificates of an authority of its own; False goes without.

    Attributes:
        endpoint: URL of the gRPC endpoint; the same after `stop` and `start`.
        subscriptions: By full name.
        calls: Names of the methods called.
        failing: Status code to fail every call with; None for none.
        authorization: What was shown in each call.
        ca_pem: The authority's certificate; empty without TLS.
    """

    def __init__(self, *, ack_seconds: float = 10.0, secure: bool = False) -> None:
        self._port = free_port()
        self._ack_seconds = ack_seconds
        self._numbers = itertools.count(1)
        self._certificates = tls.issue() if secure else None
        self.ca_pem = self._certificates.ca_pem if self._certificates else ""
        self.endpoint = f"https://localhost:{self._port}" if secure else f"http://127.0.0.1:{self._port}"
        self.subscriptions: dict[str, Subscription] = {}
        self.calls: list[str] = []
        self.failing: grpc.StatusCode | None = None
        self.authorization: list[str] = []
        self._server: Any = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, again after `stop`; messages are still there."""
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((_Handlers(self._methods()),))
        if self._certificates:
            pair = (self._certificates.key.encode(), self._certificates.certificate.encode())
            self._server.add_secure_port(f"127.0.0.1:{self._port}", grpc.ssl_server_credentials([pair]))
        else:
            self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        await self._server.start()

    async def stop(self) -> None:
        """Listen no more; calls under way fail."""
        await self._server.stop(None)

    def subscribe(self, name: str) -> Subscription:
        """Create a subscription."""
        return self.subscriptions.setdefault(name, Subscription())

    def publish(self, attributes: Mapping[str, str], data: bytes = b"{}") -> str:
        """Put a message into all subscriptions, as Secret Manager does at each change; returns its id."""
        identifier = str(next(self._numbers))
        message = PubsubMessage(attributes=dict(attributes), data=data, message_id=identifier)
        for subscription in self.subscriptions.values():
            subscription.held[identifier] = Held(message)
        return identifier

    def _methods(self) -> dict[str, Work]:
        return {
            f"/{_SUBSCRIBER}/Pull": self._pull,
            f"/{_SUBSCRIBER}/Acknowledge": self._acknowledge,
            f"/{_SUBSCRIBER}/ModifyAckDeadline": self._modify,
            f"/{_IAM}/TestIamPermissions": self._test,
        }

    async def _found(self, name: str, context: Any, method: str) -> Subscription:
        self.calls.append(method)
        self.authorization.append(dict(context.invocation_metadata()).get("authorization", ""))
        if self.failing is not None:
            await context.abort(self.failing, "A test wants it so.")
        if name not in self.subscriptions:
            await context.abort(grpc.StatusCode.NOT_FOUND, "Resource not found (resource=keyferry).")
        return self.subscriptions[name]

    async def _pull(self, raw: bytes, context: Any) -> bytes:
        asked = PullRequest.deserialize(raw)
        subscription = await self._found(asked.subscription, context, "Pull")
        while True:
            now = time.monotonic()
            ready = [held for held in subscription.held.values() if held.visible_at <= now][: asked.max_messages]
            if ready:
                break
            await asyncio.sleep(_WAIT_SECONDS)
        for held in ready:
            held.visible_at, held.ack_id = now + self._ack_seconds, f"ack-{next(self._numbers)}"
            held.deliveries += 1
        received = [
            ReceivedMessage(ack_id=held.ack_id, message=held.message, delivery_attempt=held.deliveries)
            for held in ready
        ]
        return bytes(PullResponse.serialize(PullResponse(received_messages=received)))

    async def _acknowledge(self, raw: bytes, context: Any) -> bytes:
        asked = AcknowledgeRequest.deserialize(raw)
        subscription = await self._found(asked.subscription, context, "Acknowledge")
        for identifier, held in list(subscription.held.items()):
            if held.ack_id in asked.ack_ids:
                del subscription.held[identifier]
        return bytes(Empty().SerializeToString())

    async def _modify(self, raw: bytes, context: Any) -> bytes:
        asked = ModifyAckDeadlineRequest.deserialize(raw)
        subscription = await self._found(asked.subscription, context, "ModifyAckDeadline")
        for held in subscription.held.values():
            if held.ack_id in asked.ack_ids:
                held.visible_at = time.monotonic() + asked.ack_deadline_seconds
        return bytes(Empty().SerializeToString())

    async def _test(self, raw: bytes, context: Any) -> bytes:
        asked = iam_policy_pb2.TestIamPermissionsRequest.FromString(raw)
        subscription = await self._found(asked.resource, context, "TestIamPermissions")
        allowed = [name for name in asked.permissions if name == _CONSUME and subscription.may_consume]
        return bytes(iam_policy_pb2.TestIamPermissionsResponse(permissions=allowed).SerializeToString())


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # has no types
    def __init__(self, methods: Mapping[str, Work]) -> None:
        self._methods = methods

    def service(self, handler_call_details: Any) -> Any:
        """Called by gRPC: who serves this call."""
        work = self._methods.get(handler_call_details.method)
        return grpc.unary_unary_rpc_method_handler(work) if work else None
