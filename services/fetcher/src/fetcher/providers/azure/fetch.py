"""Fetches a class from Key Vault: one token for the pod, every object once and all at a time."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from functools import lru_cache

from fetcher.accesstoken import Token
from fetcher.provider import ProviderRequest, Secret
from fetcher.providers.azure.contents import Value, contents
from fetcher.providers.azure.exchange import Exchange
from fetcher.providers.azure.identity import TENANT_ANNOTATION, Identity, identify
from fetcher.providers.azure.parameters import parse
from fetcher.providers.azure.reading import Access, Reader
from fetcher.providers.azure.settings import AzureSettings
from fetcher.providers.azure.transport import Transport
from fetcher.providers.azure.wanted import Object, Parameters, Reference
from fetcher.together import all_of
from fetcher.tokens import Tokens
from keyferry.errors import ProviderUnavailable

log = logging.getLogger(__name__)

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

    async def fetch(self, request: ProviderRequest) -> Sequence[Secret]:
        """See `fetcher.provider.Provider`."""
        has_tenant = TENANT_ANNOTATION in request.service_account_annotations
        parameters = self._parse(frozenset(request.parameters.items()), has_tenant)
        identity, proof = identify(request, parameters, self._settings)
        access = Access(self._tokens, self._exchange, identity, proof)
        seconds = request.seconds_left()
        try:
            async with asyncio.timeout(None if math.isinf(seconds) else seconds):
                await access.token()
                return await self._read(access, parameters, request.seconds_left)
        except TimeoutError:
            pass
        raise ProviderUnavailable(f"vault {parameters.vault} does not answer all calls of the class in time")

    async def close(self) -> None:
        """See `fetcher.provider.Provider`."""
        await self._tokens.close()
        await self._transport.close()
        await self._node.close()

    async def _read(
        self, access: Access, parameters: Parameters, seconds_left: Callable[[], float]
    ) -> Sequence[Secret]:
        reader = Reader(
            self._transport,
            access,
            parameters,
            settings=self._settings,
            clock=self._clock,
            seconds_left=seconds_left,
        )

        async def files(each: Object) -> list[Secret]:
            references = await reader.versions(each)
            values = await all_of(reader.value(reference) for reference in references)
            found = list(zip(references, values, strict=True))
            if any(value.content_type is not None for value in values):
                # Off the event loop: PKCS#12 takes milliseconds to decrypt.
                return await asyncio.to_thread(self._files, each, found)
            return self._files(each, found)

        written: dict[str, Secret] = {}
        for secrets in await all_of(files(each) for each in parameters.objects):
            for secret in secrets:
                if secret.path in written:
                    log.warning("two objects make the same file; the later one is kept", extra={"path": secret.path})
                written[secret.path] = secret
        return list(written.values())

    def _files(self, each: Object, found: Sequence[tuple[Reference, Value]]) -> list[Secret]:
        settings = self._settings
        secrets = []
        for index, (reference, value) in enumerate(found):
            number = f"/{index}" if each.history > 1 else ""
            pieces = contents(
                each,
                reference,
                value,
                construct_chain=settings.construct_pem_chain,
                separate_files=settings.separate_files,
            )
            secrets += [
                Secret(
                    path=f"{each.file}{number}{suffix}",
                    contents=data,
                    object_id=f"{reference.kind}/{reference.name}{number}",
                    version=value.version,
                    mode=each.mode,
                )
                for suffix, data in pieces
            ]
        return secrets
