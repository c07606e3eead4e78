"""Fetches a class's objects from Vault: log in as the pod, make each call once, cut the files out of the answers."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Any

from fetcher.provider import ProviderRequest, Secret
from fetcher.providers.vault.answers import document, read_failure
from fetcher.providers.vault.client import Client
from fetcher.providers.vault.contents import contents, version
from fetcher.providers.vault.login import Clock, Identity, Token, log_in
from fetcher.providers.vault.objects import Call, Object
from fetcher.providers.vault.parameters import Parameters, parse
from fetcher.providers.vault.settings import VaultSettings
from fetcher.tokens import Tokens
from keyferry.errors import AccessDenied, KeyferryError, ProviderUnavailable

_CALLS_AT_A_TIME = 8  # of one fetch: a class of a thousand objects leaves room for others


class Vault:
    """The provider; one for all classes, whatever Vault they name.

    Args:
        settings: The operator's.
        clock: Seconds that only go forward, by which tokens end.
    """

    def __init__(self, settings: VaultSettings, *, clock: Clock = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._client = Client(settings)
        self._tokens: Tokens[Identity, Token] = Tokens(settings.tokens, clock)

    async def fetch(self, request: ProviderRequest) -> Sequence[Secret]:
        """See `fetcher.provider.Provider`."""
        parameters = parse(request.parameters, self._settings)
        seconds = request.seconds_left()
        reader = _Reader(self._client, self._tokens, self._clock, parameters, request)
        try:
            async with asyncio.timeout(None if math.isinf(seconds) else seconds):
                answers = await reader.read_all()
        except TimeoutError:
            answers = None
        if answers is None:
            raise ProviderUnavailable(
                f"Vault at {parameters.server.address} does not answer all calls of the class in time"
            )
        return _secrets(parameters.objects, answers)

    async def close(self) -> None:
        """See `fetcher.provider.Provider`."""
        await self._tokens.close()
        await self._client.close()


class _Reader:
    """The calls of one fetch, all with the same token."""

    def __init__(
        self,
        client: Client,
        tokens: Tokens[Identity, Token],
        clock: Clock,
        parameters: Parameters,
        request: ProviderRequest,
    ) -> None:
        self._client = client
        self._tokens = tokens
        self._clock = clock
        self._began = clock()
        self._objects = parameters.objects
        self._request = request
        self._jwt = request.token(parameters.audience)
        pod = request.pod
        self._identity = Identity(
            parameters.server, parameters.role, parameters.audience, pod.namespace, pod.service_account
        )
        self._slots = asyncio.Semaphore(_CALLS_AT_A_TIME)

    async def read_all(self) -> dict[Call, dict[str, Any] | KeyferryError]:
        """What each call gave. Equal calls are one: user and password come from one answer (upstream's e2e test 6)."""
        calls = list(dict.fromkeys(item.call for item in self._objects))
        token = await self._token()
        return dict(zip(calls, await asyncio.gather(*(self._read(call, token) for call in calls)), strict=True))

    async def _read(self, call: Call, token: Token) -> dict[str, Any] | KeyferryError:
        try:
            async with self._slots:
                try:
                    return await self._ask(call, token)
                except AccessDenied:
                    if token.since >= self._began:
                        raise
                # An older token may have been revoked, or its role given more since: upstream, too, tries once more.
                return await self._ask(call, await self._token(refused=token))
        except KeyferryError as error:
            return error

    async def _ask(self, call: Call, token: Token) -> dict[str, Any]:
        doing = f'{call.method} {call.path} from Vault as role "{self._identity.role}"'
        left = self._request.seconds_left()
        answer = await self._client.send(self._identity.server, call, token=token.value, seconds_left=left)
        if failure := read_failure(answer, call, doing):
            raise failure
        return document(answer, doing)

    async def _token(self, *, refused: Token | None = None) -> Token:
        return await self._tokens.get(
            self._identity,
            lambda: log_in(self._client.send, self._identity, self._jwt, self._clock),
            refused=refused,
        )


def _secrets(objects: Sequence[Object], answers: dict[Call, dict[str, Any] | KeyferryError]) -> list[Secret]:
    """The files in the class's order.

    Raises:
        KeyferryError: the first object's that failed, together with the like failures of others.
    """
    secrets, failures = [], []
    for wanted in objects:
        answer = answers[wanted.call]
        try:
            if isinstance(answer, KeyferryError):
                raise answer
            secrets.append(
                Secret(
                    path=wanted.path,
                    contents=contents(wanted, answer),
                    object_id=wanted.name,
                    version=version(answer),
                    mode=wanted.mode,
                )
            )
        except KeyferryError as error:
            failures.append(error)
    if failures:
        raise _together(failures)
    return secrets


def _together(failures: Sequence[KeyferryError]) -> KeyferryError:
    first = failures[0]
    like = [failure for failure in failures if type(failure) is type(first)]
    message = "; ".join(dict.fromkeys(failure.message for failure in like))
    return type(first)(message, retry_after=max((failure.retry_after or 0.0 for failure in like), default=0.0) or None)
