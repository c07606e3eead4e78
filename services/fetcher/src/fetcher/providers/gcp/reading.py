"""Calls Google as one identity: checked for transmission errors, and with a token that holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import google_crc32c
import grpc

from fetcher.accesstoken import Token
from fetcher.providers.gcp.channels import Channels
from fetcher.providers.gcp.exchange import Exchange
from fetcher.providers.gcp.faults import TokenRefused, explain
from fetcher.providers.gcp.identity import Identity
from fetcher.providers.gcp.methods import ACCESS, RENDER, Method
from fetcher.providers.gcp.resources import SECRET, Resource
from fetcher.providers.gcp.settings import GcpSettings
from fetcher.retrying import retried
from fetcher.tokens import Tokens
from keyferry.errors import ProviderUnavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Payload:
    """One version: its contents, and the name that Google gives it, in which aliases such as latest are resolved."""

    data: bytes = field(repr=False)
    version: str


@dataclass(frozen=True, slots=True)
class Access:
    """One identity's way to a token."""

    tokens: Tokens[Identity, Token]
    exchange: Exchange
    identity: Identity
    proof: str = field(repr=False, default="")

    async def token(self, *, refused: Token | None = None) -> Token:
        """A token of this identity; another one than the one refused."""
        return await self.tokens.get(
            self.identity, lambda: self.exchange.token(self.identity, self.proof), refused=refused
        )


@dataclass(frozen=True, slots=True)
class Reader:
    """The calls of one fetch.

    Attributes:
        channels: To Google.
        access: As whom.
        token: Of this identity, to begin with.
        settings: The operator's.
        began: When the fetch did, by the clock of tokens.
        seconds_left: Until nobody waits for it any more.
    """

    channels: Channels
    access: Access
    token: Token
    settings: GcpSettings
    began: float
    seconds_left: Callable[[], float]

    async def payload(self, resource: Resource) -> Payload:
        """What Google keeps there.

        Raises:
            KeyferryError: it cannot be read.
        """
        method = ACCESS if resource.kind == SECRET else RENDER

        async def once() -> Payload:
            answer = await self.once(method, resource)
            return _payload(answer, resource, f"reading {self._named(resource)}")

        return await self._retried(once)

    async def call(self, method: Method, resource: Resource, **more: Any) -> Any:
        """What a call answers, some tries later if need be.

        Raises:
            KeyferryError: it failed.
        """
        return await self._retried(lambda: self.once(method, resource, **more))

    async def once(self, method: Method, resource: Resource, **more: Any) -> Any:
        """What a call answers at the first try; another one only for a token that was kept and has been revoked.

        Raises:
            KeyferryError: it failed.
        """
        try:
            return await self._ask(method, resource, self.token, more)
        except TokenRefused:
            if self.token.since >= self.began:
                raise
        return await self._ask(method, resource, await self.access.token(refused=self.token), more)

    async def _retried(self, once: Callable[[], Awaitable[T]]) -> T:
        return await retried(once, attempts=self.settings.attempts, seconds_left=self.seconds_left)

    async def _ask(self, method: Method, resource: Resource, token: Token, more: dict[str, Any]) -> Any:
        doing = f"reading {self._named(resource)}"
        try:
            seconds = min(self.settings.timeout, self.seconds_left())
            answer = await self.channels.call(method, resource, token.value, seconds, **more)
        except grpc.aio.AioRpcError as error:
            failure = explain(error, resource, doing)
        except TimeoutError:
            failure = ProviderUnavailable(f"{doing}: no answer in time")
        else:
            if answer is not None:
                return answer
            # What gRPC makes of bytes that cannot be read.
            failure = ProviderUnavailable(f"{doing}: the answer makes no sense")
        # Outside the block: the SDK's error must not come along.
        raise failure

    def _named(self, resource: Resource) -> str:
        return f"{resource} as {self.access.identity}"


def _payload(answer: Any, resource: Resource, doing: str) -> Payload:
    if resource.kind != SECRET:
        data, version = answer.rendered_payload, answer.parameter_version
    else:
        data, version = answer.payload.data, answer.name
        if answer.payload.HasField("data_crc32c") and answer.payload.data_crc32c != google_crc32c.value(data):
            raise ProviderUnavailable(f"{doing}: the contents do not match their checksum: they broke on the way")
    if not version:
        raise ProviderUnavailable(f"{doing}: the answer makes no sense: it names no version")
    return Payload(data, version)
