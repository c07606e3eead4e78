"""Hears of changes in Google Cloud from a Pub/Sub subscription."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import google.auth
import google.auth.transport.grpc
import google.auth.transport.requests
import grpc
from google.api_core.exceptions import DeadlineExceeded, GoogleAPICallError
from google.auth import identity_pool
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1 import PubsubMessage, PullRequest, ReceivedMessage, SubscriberAsyncClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from keyferry.errors import AccessDenied, ProviderUnavailable
from rotator.sources import gcp_events
from rotator.sources.document import Malformed
from rotator.sources.heard import Heard
from rotator.sources.pending import everything
from rotator.sources.reconnecting import Pauses, Stands, for_ever
from rotator.sources.settings import GcpEvents
from rotator.sources.source import Clock, Emit

_BATCH = 20
_PULL_SECONDS = 90.0  # the server answers an empty pull after about as long
_CALL_SECONDS = 10.0
_GAP_SECONDS = 3600.0  # a subscription keeps messages from ten minutes to 31 days
_CONSUME = "pubsub.subscriptions.consume"
# A pull that waits in silence would not notice for long that nobody is there any more.
_OPTIONS = [("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000)]
_SCOPES = ("https://www.googleapis.com/auth/pubsub",)


class GcpSource:
    """Pulls, twenty messages at a time.

    A message is acknowledged when its change is on the bus, or can never be understood; otherwise it comes again.

    Args:
        settings: Of this source.
        pauses: Between tries to reach Pub/Sub.
        now: Unix seconds.
        retry_seconds: After how long a message comes again whose change could not be told; 0 at once.
    """

    name = "gcp"

    def __init__(
        self,
        settings: GcpEvents,
        *,
        pauses: Pauses = Pauses(),  # noqa: B008 - frozen
        now: Clock = time.time,
        retry_seconds: int = 10,
    ) -> None:
        self._settings, self._pauses, self._retry = settings, pauses, retry_seconds
        self._heard = Heard(self.name, now)

    async def run(self, emit: Emit) -> NoReturn:
        """See `Source`."""

        async def hear(stands: Stands) -> None:
            try:
                async with _connected(self._settings) as client:
                    await self._hear(client, emit, stands)
            except GoogleAPICallError as error:
                code = error.grpc_status_code.name if error.grpc_status_code else type(error).__name__
                raise ProviderUnavailable(
                    f"Pub/Sub refuses: {code}; check the subscription's name and the rotator's permissions"
                ) from None
            except GoogleAuthError as error:
                raise ProviderUnavailable(f"no credentials for Pub/Sub: {type(error).__name__}") from None

        await for_ever(self._heard, hear, self._pauses)

    async def _hear(self, client: SubscriberAsyncClient, emit: Emit, stands: Stands) -> None:
        await self._check(client)
        if _GAP_SECONDS < stands() < float("inf"):
            await self._heard.tell(emit, self.name, everything())
        request = PullRequest(subscription=self._settings.subscription, max_messages=_BATCH)
        while True:
            try:
                answer = await client.pull(request=request, retry=None, timeout=_PULL_SECONDS)
            except DeadlineExceeded:
                continue
            if answer.received_messages:
                await self._take(client, list(answer.received_messages), emit)

    async def _check(self, client: SubscriberAsyncClient) -> None:
        """Ask what we may do: a pull says nothing until there is a message."""
        asked = {"resource": self._settings.subscription, "permissions": [_CONSUME]}
        answer = await client.test_iam_permissions(request=asked, retry=None, timeout=_CALL_SECONDS)
        if _CONSUME not in answer.permissions:
            raise AccessDenied(f"the rotator's identity has no {_CONSUME} on the subscription (or there is none)")

    async def _take(self, client: SubscriberAsyncClient, messages: Sequence[ReceivedMessage], emit: Emit) -> None:
        done = await asyncio.gather(*(self._settled(received.message, emit) for received in messages))
        finished = [m.ack_id for m, is_done in zip(messages, done, strict=True) if is_done]
        again = [m.ack_id for m, is_done in zip(messages, done, strict=True) if not is_done]
        about: dict[str, Any] = {"subscription": self._settings.subscription, "retry": None, "timeout": _CALL_SECONDS}
        if finished:
            await client.acknowledge(ack_ids=finished, **about)
        if again:
            await client.modify_ack_deadline(ack_ids=again, ack_deadline_seconds=self._retry, **about)

    async def _settled(self, message: PubsubMessage, emit: Emit) -> bool:
        """Whether a message need not come again."""
        try:
            change = gcp_events.change(dict(message.attributes), message.data, message.message_id)
        except Malformed as error:
            self._heard.refuse("malformed", f"a message of the subscription is no event of Secret Manager: {error}")
            return True
        if change is None:
            self._heard.count("irrelevant")
            return True
        return await self._heard.tell(emit, self.name, change)


@asynccontextmanager
async def _connected(settings: GcpEvents) -> AsyncIterator[SubscriberAsyncClient]:
    scheme, _, host = settings.endpoint.rpartition("://")
    target = host.rstrip("/")
    if scheme == "http":
        channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
    else:
        target = target if ":" in target else f"{target}:443"
        channel = grpc.aio.secure_channel(target, await asyncio.to_thread(_proof, settings), options=_OPTIONS)
    async with channel:
        yield SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel))


def _proof(settings: GcpEvents) -> grpc.ChannelCredentials:
    """TLS, and an access token in every call."""
    root = Path(settings.ca_file).read_bytes() if settings.ca_file else None
    request = google.auth.transport.requests.Request()
    plugin: Any = google.auth.transport.grpc.AuthMetadataPlugin  # has no types
    tokens = grpc.metadata_call_credentials(plugin(_credentials(settings.credentials_file), request))
    return grpc.composite_channel_credentials(grpc.ssl_channel_credentials(root), tokens)


def _credentials(file: str) -> Any:
    """The rotator's own: of a federated identity's file without asking Google for a project we do not need."""
    if file:
        info = json.loads(Path(file).read_text())
        if info.get("type") == "external_account" and "aws" not in info.get("subject_token_type", ""):
            pool: Any = identity_pool.Credentials  # has no types
            return pool.from_info(info, scopes=_SCOPES)
    credentials, _ = google.auth.default(scopes=_SCOPES)
    return credentials
