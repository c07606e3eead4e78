"""Reads resources as one identity: at the same time, checked for transmission errors, and with a token that holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
import grpc

from fetcher.accesstoken import Token
from fetcher.providers.gcp.channels import Channels
from fetcher.providers.gcp.exchange import Exchange
from fetcher.providers.gcp.faults import TokenRefused, explain
from fetcher.providers.gcp.identity import Identity
from fetcher.providers.gcp.resources import SECRET, Resource
from fetcher.providers.gcp.settings import GcpSettings
from fetcher.retrying import retried
from fetcher.tokens import Tokens
from keyferry.errors import KeyferryError, ProviderUnavailable

_CALLS_AT_A_TIME = 16  # of one fetch: a class of a thousand secrets leaves room for others


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


class Reader:
    """The calls of one fetch."""

    def __init__(self, channels: Channels, access: Access, settings: GcpSettings, clock: Callable[[], float]) -> None:
        self._channels = channels
        self._access = access
        self._settings = settings
        self._began = clock()
        self._slots = asyncio.Semaphore(_CALLS_AT_A_TIME)

    async def read(
        self, resources: Sequence[Resource], seconds_left: Callable[[], float]
    ) -> dict[Resource, Payload | KeyferryError]:
        """What each of them gave, once all have ended: the reader shall learn of every missing secret at once.

        Raises:
            KeyferryError: there is no token.
        """
        token = await self._access.token()
        found = await asyncio.gather(*(self._read(each, token, seconds_left) for each in resources))
        return dict(zip(resources, found, strict=True))

    async def _read(
        self, resource: Resource, token: Token, seconds_left: Callable[[], float]
    ) -> Payload | KeyferryError:
        async def once() -> Payload:
            return await self._once(resource, token, min(self._settings.timeout, seconds_left()))

        try:
            async with self._slots:
                return await retried(once, attempts=self._settings.attempts, seconds_left=seconds_left)
        except KeyferryError as error:
            return error

    async def _once(self, resource: Resource, token: Token, seconds: float) -> Payload:
        try:
            return await self._ask(resource, token, seconds)
        except TokenRefused:
            if token.since >= self._began:
                raise
        # It was a kept one, which may have been revoked since.
        return await self._ask(resource, await self._access.token(refused=token), seconds)

    async def _ask(self, resource: Resource, token: Token, seconds: float) -> Payload:
        doing = f"reading {resource} as {self._access.identity}"
        try:
            answer = await self._channels.read(resource, token.value, seconds)
        except grpc.aio.AioRpcError as error:
            failure = explain(error, resource, doing)
        except TimeoutError:
            failure = ProviderUnavailable(f"{doing}: no answer in time")
        else:
            return _payload(answer, resource, doing)
        # Outside the block: the SDK's error must not come along.
        raise failure


def _payload(answer: Any, resource: Resource, doing: str) -> Payload:
    if answer is None:  # what gRPC makes of bytes that cannot be read
        raise ProviderUnavailable(f"{doing}: the answer makes no sense")
    if resource.kind != SECRET:
        data, version = answer.rendered_payload, answer.parameter_version
    else:
        data, version = answer.payload.data, answer.name
        if answer.payload.HasField("data_crc32c") and answer.payload.data_crc32c != google_crc32c.value(data):
            raise ProviderUnavailable(f"{doing}: the contents do not match their checksum: they broke on the way")
    if not version:
        raise ProviderUnavailable(f"{doing}: the answer makes no sense: it names no version")
    return Payload(data, version)
