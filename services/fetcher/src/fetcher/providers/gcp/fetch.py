"""Fetches a class's secrets from Google Cloud: one token for the pod, each resource once and all at a time."""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from fetcher.accesstoken import Token
from fetcher.provider import Answer, ProviderRequest, Scope
from fetcher.providers.gcp.answers import Answers
from fetcher.providers.gcp.channels import Channels
from fetcher.providers.gcp.exchange import Exchange
from fetcher.providers.gcp.identity import KEY, Identity, OwnIdentity, key_identity, pod_identity
from fetcher.providers.gcp.parameters import KEY_FILE, PROVIDER_ADC, Parameters, parse
from fetcher.providers.gcp.pool import Pools
from fetcher.providers.gcp.reading import Access, Reader
from fetcher.providers.gcp.refusals import NO_AUTH
from fetcher.providers.gcp.settings import GcpSettings
from fetcher.providers.gcp.versions import Versions
from fetcher.tokens import Tokens
from keyferry.errors import AccessDenied, InvalidSecretProviderClass, ProviderUnavailable
from keyferry.settings import SettingsError

_PARSED = 512  # classes
_MANY = "secretmanager"  # where a class asks in so many places that naming them would help nobody
_MOST_PLACES = 3


class Gcp:
    """The provider ``gcp``.

    Args:
        settings: The operator's.
        clock: Unix seconds, by which tokens end.

    Raises:
        SettingsError: the CA file cannot be used.
    """

    def __init__(self, settings: GcpSettings, clock: Callable[[], float]) -> None:
        # At DEBUG Google's libraries log what they send and receive.
        logging.getLogger("google").setLevel(logging.INFO)
        # It warns that it knows of no project, which nobody here needs.
        logging.getLogger("google.auth._default").setLevel(logging.ERROR)
        ca, tls = _trusted(settings.ca_file)
        self._settings = settings
        self._clock = clock
        self._pools = Pools(settings)
        self._exchange = Exchange(settings, tls, clock)
        self._tokens: Tokens[Identity, Token] = Tokens(settings.tokens, clock)
        self._channels = Channels(settings, ca)
        self._versions = Versions(settings.versions, clock)
        # A class is fetched again at every interval, mostly unchanged, and its YAML takes longer than a call.
        self._parse = lru_cache(_PARSED)(lambda items, has_key: parse(dict(items), has_key=has_key))

    async def fetch(self, request: ProviderRequest) -> Answer:
        """See `fetcher.provider.Provider`."""
        parameters = self._parse(frozenset(request.parameters.items()), has_key=KEY in request.node_publish_secret)
        seconds = request.seconds_left()
        try:
            async with asyncio.timeout(None if math.isinf(seconds) else seconds):
                reader = await self._reader(request, parameters)
                return await Answers(reader, self._versions, request.held).answer(parameters.secrets)
        except TimeoutError:
            pass
        raise ProviderUnavailable("Google does not answer all calls of the class in time")

    def scope(self, parameters: Mapping[str, str]) -> Scope:
        """See `fetcher.provider.Scoped`: the projects and locations, which is how Google counts calls."""
        try:
            secrets = self._parse(frozenset(parameters.items()), has_key=False).secrets
        except InvalidSecretProviderClass:
            return Scope(_MANY)
        places = sorted({each.resource.place for each in secrets})
        return Scope("+".join(places) if len(places) <= _MOST_PLACES else _MANY)

    async def close(self) -> None:
        """See `fetcher.provider.Provider`."""
        await self._tokens.close()
        await self._channels.close()
        await self._exchange.close()
        await self._pools.close()

    async def _reader(self, request: ProviderRequest, parameters: Parameters) -> Reader:
        began = self._clock()
        access = await self._access(request, parameters)
        token = await access.token()
        return Reader(self._channels, access, token, self._settings, began, request.seconds_left)

    async def _access(self, request: ProviderRequest, parameters: Parameters) -> Access:
        settings = self._settings
        if parameters.auth == KEY_FILE:
            if not settings.allow_node_publish_secret:
                raise AccessDenied(
                    f"{NO_AUTH}: mount configuration has no auth method configured: the operator does not allow a "
                    "key.json in nodePublishSecretRef (ALLOW_NODE_PUBLISH_SECRET)"
                )
            return Access(self._tokens, self._exchange, *key_identity(request.node_publish_secret[KEY]))
        if parameters.auth == PROVIDER_ADC:
            if not settings.allow_provider_adc:
                raise AccessDenied(
                    f"{NO_AUTH}: the operator does not allow auth: provider-adc (KEYFERRY_GCP_ALLOW_PROVIDER_ADC): "
                    "use the pod's own identity"
                )
            return Access(self._tokens, self._exchange, OwnIdentity())
        pool = await self._pools.get()
        return Access(self._tokens, self._exchange, pod_identity(request, pool), pool.token(request))


def _trusted(ca_file: str) -> tuple[bytes | None, ssl.SSLContext | None]:
    if not ca_file:
        return None, None
    try:
        return Path(ca_file).read_bytes(), ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        kind = type(error).__name__
    raise SettingsError(f"KEYFERRY_GCP_CA_FILE names no PEM file that can be used ({kind})")
