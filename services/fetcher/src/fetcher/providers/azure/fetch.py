"""Fetches a class from Key Vault: one token for the pod, every object once and all at a time."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from functools import lru_cache

from fetcher.accesstoken import Token
from fetcher.provider import Answer, ProviderRequest, Scope
from fetcher.providers.azure.exchange import Exchange
from fetcher.providers.azure.gathering import Gatherer
from fetcher.providers.azure.identity import TENANT_ANNOTATION, Identity, identify
from fetcher.providers.azure.parameters import backend, parse
from fetcher.providers.azure.reading import Access, Reader
from fetcher.providers.azure.settings import AzureSettings
from fetcher.providers.azure.transport import Transport
from fetcher.tokens import Tokens
from keyferry.errors import ProviderUnavailable

_PARSED = 512  # classes


class Azure:
    """The provider ``azure``.

    Args:
        settings: The operator's.
        clock: Unix seconds, by which tokens end.

    Raises:
        SettingsError: the CA file cannot be used.
    """

    def __init__(self, settings: AzureSettings, clock: Callable[[], float]) -> None:
        # At INFO the SDK logs every call, at WARNING what was answered instead of a token.
        logging.getLogger("azure").setLevel(logging.ERROR)
        self._settings = settings
        self._clock = clock
        self._transport = Transport(settings)
        self._node = Transport(settings, proxied=False)
        self._exchange = Exchange(settings, self._transport, self._node, clock)
        self._tokens: Tokens[Identity, Token] = Tokens(settings.tokens, clock)
        # A class is fetched again at every interval, mostly unchanged, and its YAML takes longer than a call.
        self._parse = lru_cache(_PARSED)(lambda items, has_tenant: parse(dict(items), settings, has_tenant=has_tenant))

    async def fetch(self, request: ProviderRequest) -> Answer:
        """See `fetcher.provider.Provider`."""
        has_tenant = TENANT_ANNOTATION in request.service_account_annotations
        parameters = self._parse(frozenset(request.parameters.items()), has_tenant)
        identity, proof = identify(request, parameters, self._settings)
        access = Access(self._tokens, self._exchange, identity, proof)
        seconds = request.seconds_left()
        try:
            async with asyncio.timeout(None if math.isinf(seconds) else seconds):
                await access.token()
                reader = Reader(
                    self._transport,
                    access,
                    parameters,
                    settings=self._settings,
                    clock=self._clock,
                    seconds_left=request.seconds_left,
                )
                return await Gatherer(reader, parameters, self._settings).answer()
        except TimeoutError:
            pass
        raise ProviderUnavailable(f"vault {parameters.vault} does not answer all calls of the class in time")

    def scope(self, parameters: Mapping[str, str]) -> Scope:
        """The vault: each has limits, and bad days, of its own. See `fetcher.provider.Scoped`."""
        return Scope(backend=backend(parameters, self._settings))

    async def close(self) -> None:
        """See `fetcher.provider.Provider`."""
        await self._tokens.close()
        await self._transport.close()
        await self._node.close()
