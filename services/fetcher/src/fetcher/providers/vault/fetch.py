"""Serves classes from Vault: log in as the pod, make each call once, and look after what is leased."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping

from fetcher.provider import Answer, Lease, ProviderRequest, Scope
from fetcher.providers.vault.client import Client
from fetcher.providers.vault.handle import begin
from fetcher.providers.vault.leases import Leases
from fetcher.providers.vault.login import Clock, Identity, Token
from fetcher.providers.vault.parameters import Parameters, backend, parse
from fetcher.providers.vault.reading import read_all
from fetcher.providers.vault.session import LeasingCalls, Session
from fetcher.providers.vault.settings import VaultSettings
from fetcher.tokens import Tokens
from keyferry.errors import KeyferryError, ProviderUnavailable

log = logging.getLogger(__name__)

_ABANDON_SECONDS = 10.0  # for taking back what nobody will have
_CLOSE_SECONDS = 3.0  # of that, when the process ends


class Vault:
    """The provider; one for all classes, whatever Vault they name.

    Args:
        settings: The operator's.
        clock: Seconds that only go forward, by which tokens end.
        now: Unix seconds, by which leases end.
    """

    def __init__(
        self,
        settings: VaultSettings,
        *,
        clock: Clock = time.monotonic,
        now: Clock = time.time,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._now = now
        self._client = Client(settings)
        self._tokens: Tokens[Identity, Token] = Tokens(settings.tokens, clock)
        self._leasing = LeasingCalls()
        self._leases = Leases(self._client, settings.allowed_hosts, now)
        self._abandoned: set[asyncio.Task[None]] = set()

    def scope(self, parameters: Mapping[str, str]) -> Scope:
        """See `fetcher.provider.Scoped`: each Vault, and each namespace of it, is a backend."""
        return Scope(backend=backend(parameters, self._settings))

    async def fetch(self, request: ProviderRequest) -> Answer:
        """See `fetcher.provider.Provider`."""
        parameters = parse(request.parameters, self._settings, request.tokens)
        session = Session(self._client, self._tokens, self._clock, parameters, request)
        seconds = request.seconds_left()
        answer = None
        try:
            async with asyncio.timeout(None if math.isinf(seconds) else seconds):
                answer = await self._read(parameters, session)
        except TimeoutError:
            pass
        finally:
            if session.own is not None and (answer is None or answer.lease is None):
                self._abandon(parameters, session.own)
        if answer is None:
            raise ProviderUnavailable(
                f"Vault at {parameters.server.address} does not answer all calls of the class in time"
            )
        return answer

    async def renew(self, lease: Lease, deadline: float) -> Lease | None:
        """See `fetcher.provider.Leasing`."""
        return await self._leases.renew(lease, deadline)

    async def revoke(self, lease: Lease, deadline: float) -> None:
        """See `fetcher.provider.Leasing`."""
        await self._leases.revoke(lease, deadline)

    async def close(self) -> None:
        """See `fetcher.provider.Provider`."""
        if self._abandoned:
            await asyncio.wait(self._abandoned, timeout=_CLOSE_SECONDS)
        for task in self._abandoned:
            task.cancel()
        await self._tokens.close()
        await self._client.close()

    async def _read(self, parameters: Parameters, session: Session) -> Answer:
        found = await read_all(session, parameters.objects, self._leasing, session.held)
        lease = None
        if found.leases and session.own is not None:
            lease = begin(parameters.server, session.own, found.leases, self._clock(), self._now())
        return Answer(found.secrets, found.left_out, lease)

    def _abandon(self, parameters: Parameters, token: Token) -> None:
        """Take a token back that no content lives by, with all that it has made: nobody waits for that."""
        lease = begin(parameters.server, token, (), self._clock(), self._now())
        task = asyncio.create_task(self._take_back(lease))
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)

    async def _take_back(self, lease: Lease) -> None:
        try:
            await self._leases.revoke(lease, self._now() + _ABANDON_SECONDS)
        except KeyferryError as error:
            log.info("a token of Vault is left to end by itself: %s", error.message)
