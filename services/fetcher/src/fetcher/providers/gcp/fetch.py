"""Fetches a class's secrets from Google Cloud: one token for the pod, each resource once and all at a time."""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from fetcher.accesstoken import Token
from fetcher.provider import ProviderRequest, Secret
from fetcher.providers.gcp.channels import Channels
from fetcher.providers.gcp.contents import contents
from fetcher.providers.gcp.exchange import Exchange
from fetcher.providers.gcp.identity import KEY, Identity, OwnIdentity, key_identity, pod_identity
from fetcher.providers.gcp.parameters import KEY_FILE, PROVIDER_ADC, Parameters, Wanted, parse
from fetcher.providers.gcp.pool import Pools
from fetcher.providers.gcp.reading import Access, Payload, Reader
from fetcher.providers.gcp.refusals import NO_AUTH
from fetcher.providers.gcp.resources import Resource
from fetcher.providers.gcp.settings import GcpSettings
from fetcher.tokens import Tokens
from keyferry.errors import AccessDenied, KeyferryError, ProviderUnavailable
from keyferry.settings import SettingsError

log = logging.getLogger(__name__)

_PARSED = 512  # classes


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
        # A class is fetched again at every interval, mostly unchanged, and its YAML takes longer than a call.
        self._parse = lru_cache(_PARSED)(lambda items, has_key: parse(dict(items), has_key=has_key))

    async def fetch(self, request: ProviderRequest) -> Sequence[Secret]:
        """See `fetcher.provider.Provider`."""
        parameters = self._parse(frozenset(request.parameters.items()), KEY in request.node_publish_secret)
        seconds = request.seconds_left()
        wanted = list(dict.fromkeys(each.resource for each in parameters.secrets))
        try:
            async with asyncio.timeout(None if math.isinf(seconds) else seconds):
                reader = Reader(self._channels, await self._access(request, parameters), self._settings, self._clock)
                payloads = await reader.read(wanted, request.seconds_left)
        except TimeoutError:
            payloads = None
        if payloads is None:
            raise ProviderUnavailable("Google does not answer all calls of the class in time")
        return _files(parameters.secrets, payloads)

    async def close(self) -> None:
        """See `fetcher.provider.Provider`."""
        await self._tokens.close()
        await self._channels.close()
        await self._exchange.close()
        await self._pools.close()

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


def _files(secrets: Sequence[Wanted], payloads: dict[Resource, Payload | KeyferryError]) -> list[Secret]:
    """The files; where two entries make the same one, the later is kept, as in upstream.

    Raises:
        KeyferryError: the worst of those that failed, with all others of its class.
    """
    written: dict[str, Secret] = {}
    failures: list[KeyferryError] = []
    for wanted in secrets:
        payload = payloads[wanted.resource]
        try:
            if isinstance(payload, KeyferryError):
                raise payload
            secret = Secret(
                path=wanted.path,
                contents=contents(wanted, payload.data),
                object_id=wanted.resource.name,
                version=payload.version,
                mode=wanted.mode,
            )
        except KeyferryError as error:
            failures.append(error)
            continue
        if wanted.path in written:
            log.warning("two secrets make the same file; the later one is kept", extra={"path": wanted.path})
        written[wanted.path] = secret
    if failures:
        raise _together(failures)
    return list(written.values())


def _together(failures: Sequence[KeyferryError]) -> KeyferryError:
    """One error for all of a class; what only a person can mend goes first."""
    worst = min(failures, key=lambda failure: failure.retry_after is not None)
    alike = [failure for failure in failures if type(failure) is type(worst)]
    message = "; ".join(dict.fromkeys(failure.message for failure in alike))
    return type(worst)(message, retry_after=max((failure.retry_after or 0.0 for failure in alike), default=0.0) or None)
