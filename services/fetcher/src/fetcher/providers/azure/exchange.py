"""Gets access tokens by Azure's SDK: for a pod's token, for a client secret, or of the node's metadata service."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable

from azure.core.credentials import AccessTokenInfo
from azure.core.exceptions import AzureError
from azure.identity.aio import ClientAssertionCredential, ClientSecretCredential, ManagedIdentityCredential

from fetcher.accesstoken import Token
from fetcher.providers.azure.identity import Identity, ManagedIdentity, ServicePrincipal
from fetcher.providers.azure.refusals import NO_TOKEN, explain
from fetcher.providers.azure.settings import AzureSettings
from fetcher.providers.azure.transport import Transport
from fetcher.retrying import retried
from keyferry.errors import KeyferryError, ProviderUnavailable

_HEADER_TEXT = re.compile(r"[!-~]+", re.ASCII)
_LONGEST = 24 * 3600.0  # seconds that a token may hold
# What the SDK raises of its own accord when an answer is JSON, but not a token.
_NONSENSE = (LookupError, TypeError, ValueError, AttributeError)

Credential = ClientAssertionCredential | ClientSecretCredential | ManagedIdentityCredential


class Exchange:
    """All exchanges of the process. A credential of the SDK is made for each: tokens are kept elsewhere.

    Args:
        settings: The operator's.
        transport: To Microsoft Entra ID.
        node: To the metadata service of the fetcher's node, without a proxy.
        clock: Unix seconds.
    """

    def __init__(
        self, settings: AzureSettings, transport: Transport, node: Transport, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._node = node
        self._clock = clock

    async def token(self, identity: Identity, proof: str) -> Token:
        """A new token.

        Args:
            identity: Whose.
            proof: The pod's token, or the client secret.

        Raises:
            AccessDenied: Microsoft Entra ID refuses.
            RateLimited, ProviderUnavailable: as it answered.
        """

        async def once() -> Token:
            return await self._once(identity, proof)

        return await retried(once, attempts=self._settings.attempts, seconds_left=lambda: math.inf)

    async def _once(self, identity: Identity, proof: str) -> Token:
        failure: KeyferryError
        try:
            async with asyncio.timeout(self._settings.timeout):
                found = await self._credential(identity, proof).get_token_info(identity.scope)
        except AzureError as error:
            failure = explain(error, identity)
        except TimeoutError:
            failure = ProviderUnavailable(f"{NO_TOKEN} of {identity}: no answer in time")
        except _NONSENSE:
            failure = ProviderUnavailable(f"{NO_TOKEN} of {identity}: the answer makes no sense")
        else:
            return self._token(found, identity)
        # Outside the block: the SDK's error holds the request, proof included, and must not come along.
        raise failure

    def _credential(self, identity: Identity, proof: str) -> Credential:
        if isinstance(identity, ManagedIdentity):
            return ManagedIdentityCredential(
                client_id=identity.client_id or None, transport=self._node.sdk(), retry_total=0, retry_status=0
            )
        about = {"authority": identity.authority, "transport": self._transport.sdk(), "retry_total": 0}
        if isinstance(identity, ServicePrincipal):
            return ClientSecretCredential(identity.tenant, identity.client_id, proof, **about)
        return ClientAssertionCredential(identity.tenant, identity.client_id, lambda: proof, **about)

    def _token(self, found: AccessTokenInfo, identity: Identity) -> Token:
        now = self._clock()
        if not isinstance(found.token, str) or not _HEADER_TEXT.fullmatch(found.token):
            raise ProviderUnavailable(f"{NO_TOKEN} of {identity}: the answer holds no token")
        holds = 0 < found.expires_on - now < _LONGEST
        return Token(found.token, since=now, expires=float(found.expires_on) if holds else now)
