"""Reads objects of one vault as one identity: at the same time, and with a token that holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from azure.core.exceptions import AzureError

from fetcher.accesstoken import Token
from fetcher.options import Selection
from fetcher.providers.azure.clients import Clients
from fetcher.providers.azure.contents import Value
from fetcher.providers.azure.exchange import Exchange
from fetcher.providers.azure.faults import TokenRefused, Withheld, explain
from fetcher.providers.azure.identity import Identity
from fetcher.providers.azure.keys import KeyMaterialError
from fetcher.providers.azure.listing import Listed, TooLong, every, matching, newest_first
from fetcher.providers.azure.settings import AzureSettings
from fetcher.providers.azure.transport import Transport
from fetcher.providers.azure.wanted import Object, Parameters, Reference
from fetcher.retrying import retried
from fetcher.tokens import Tokens
from keyferry.errors import KeyferryError, ProviderError, ProviderUnavailable, SecretNotFound

T = TypeVar("T")

_CALLS_AT_A_TIME = 16  # of one fetch: a class of a thousand secrets leaves room for others
_MOST_VERSIONS = 2000  # that are looked through for the newest
_MOST_OBJECTS = 25_000  # that are looked through for a selection: a thousand pages, one after the other


@dataclass(frozen=True, slots=True)
class Access:
    """One identity's way to a token."""

    tokens: Tokens[Identity, Token]
    exchange: Exchange
    identity: Identity
    proof: str = field(repr=False)

    async def token(self, *, refused: Token | None = None) -> Token:
        """A token of this identity; another one than the one refused."""
        return await self.tokens.get(
            self.identity, lambda: self.exchange.token(self.identity, self.proof), refused=refused
        )


class Reader:
    """The calls of one fetch.

    Args:
        transport: To the vault.
        access: To a token.
        parameters: Which vault.
        settings: The operator's.
        clock: Unix seconds.
        seconds_left: Until nobody waits any more.
    """

    def __init__(
        self,
        transport: Transport,
        access: Access,
        parameters: Parameters,
        *,
        settings: AzureSettings,
        clock: Callable[[], float],
        seconds_left: Callable[[], float],
    ) -> None:
        self._transport = transport
        self._access = access
        self._parameters = parameters
        self._settings = settings
        self._began = clock()
        self._seconds_left = seconds_left
        self._slots = asyncio.Semaphore(_CALLS_AT_A_TIME)
        self._values: dict[Reference, asyncio.Task[Value]] = {}
        self._listed: dict[str, asyncio.Task[Sequence[Listed]]] = {}
        self._made: tuple[Token, Clients] | None = None

    async def versions(self, each: Object) -> list[Reference]:
        """What an entry stands for: the object, or its newest versions from the one that is named on.

        Raises:
            SecretNotFound: there are none.
            KeyferryError: they cannot be listed.
        """
        wanted = each.reference
        if each.history == 1:
            return [wanted]

        listed = await self._list(wanted, _MOST_VERSIONS)
        found = newest_first(listed)
        if wanted.version:
            found = found[found.index(wanted.version) :] if wanted.version in found else []
        if not found:
            doing = self._doing(wanted, "list")
            withheld = any(not each.enabled and wanted.version in ("", each.version) for each in listed)
            error = Withheld if withheld else SecretNotFound
            raise error(f"{doing}: no version of it is enabled, or not the one to begin at")
        return [Reference(wanted.kind, wanted.name, version) for version in found[: each.history]]

    async def selected(self, kind: str, selection: Selection) -> list[str]:
        """Names of the enabled objects that a selection means; the vault is listed once however many there are.

        Raises:
            KeyferryError: they cannot be listed.
        """
        if kind not in self._listed:
            self._listed[kind] = asyncio.create_task(self._list(Reference(kind, ""), _MOST_OBJECTS))
        return matching(selection, await self._listed[kind])

    async def value(self, reference: Reference) -> Value:
        """One version, read once however often it is asked for.

        Raises:
            KeyferryError: it cannot be read.
        """
        if reference not in self._values:
            self._values[reference] = asyncio.create_task(self._call(reference, lambda clients: clients.get(reference)))
        return await self._values[reference]

    async def _list(self, of: Reference, most: int) -> Sequence[Listed]:
        """All versions of an object, or all objects; each page is a call, with tries and a time of its own."""
        try:
            return await every(lambda link: self._call(of, lambda clients: clients.page(of, link), "list"), most)
        except TooLong:
            problem = f"{self._doing(of, 'list')}: there are more than {most} of them"
        raise ProviderError(problem, code="FAILED_PRECONDITION", reason="ProviderError")

    async def _call(self, reference: Reference, do: Callable[[Clients], Awaitable[T]], verb: str = "get") -> T:
        async def once() -> T:
            return await self._once(reference, do, verb)

        async with self._slots:
            return await retried(once, attempts=self._settings.attempts, seconds_left=self._seconds_left)

    async def _once(self, reference: Reference, do: Callable[[Clients], Awaitable[T]], verb: str) -> T:
        token = await self._access.token()
        try:
            return await self._ask(reference, do, verb, token)
        except TokenRefused:
            if token.since >= self._began:
                raise
        # It was a kept one, which may have been revoked since.
        return await self._ask(reference, do, verb, await self._access.token(refused=token))

    async def _ask(self, reference: Reference, do: Callable[[Clients], Awaitable[T]], verb: str, token: Token) -> T:
        doing = self._doing(reference, verb)
        failure: KeyferryError
        clients = self._clients_of(token)
        try:
            async with asyncio.timeout(min(self._settings.timeout, self._seconds_left())):
                return await do(clients)
        except KeyMaterialError as error:
            failure = ProviderError(f"{doing}: {error}", code="FAILED_PRECONDITION", reason="ProviderError")
        except (AzureError, ValueError) as error:
            failure = explain(error, reference, doing, verb)
        except TimeoutError:
            failure = ProviderUnavailable(f"{doing}: no answer in time")
        except (
            LookupError,
            TypeError,
            AttributeError,
            ArithmeticError,
        ):  # of the SDK, where an answer is JSON of another shape
            failure = ProviderUnavailable(f"{doing}: the answer makes no sense")
        # Outside the block: the SDK's error holds request and answer, and must not come along.
        raise failure

    def _clients_of(self, token: Token) -> Clients:
        """The clients of this fetch; others once its token has been replaced."""
        if self._made is None or self._made[0] is not token:
            self._made = token, Clients(self._transport.sdk(), self._parameters, token)
        return self._made[1]

    def _doing(self, reference: Reference, verb: str) -> str:
        return f"failed to {verb} {reference} of vault {self._parameters.vault} as {self._access.identity}"
