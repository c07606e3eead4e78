"""Fetches a class from AWS: its objects of both services, from the failover region where the primary one is down."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from fetcher.provider import Answer, ProviderRequest, Scope
from fetcher.providers.aws.access import Access
from fetcher.providers.aws.answers import answer
from fetcher.providers.aws.clients import Clients, Credentials
from fetcher.providers.aws.credentials import (
    POD_IDENTITY_AUDIENCE,
    STS_AUDIENCE,
    CredentialCache,
    Identity,
    assume_role,
    identify,
)
from fetcher.providers.aws.denials import Denials
from fetcher.providers.aws.parameters import parse
from fetcher.providers.aws.podidentity import AGENTS, Agent
from fetcher.providers.aws.reading import Read, Reader
from fetcher.providers.aws.regions import scope
from fetcher.providers.aws.secretsmanager import Denied
from fetcher.providers.aws.settings import AwsSettings
from fetcher.providers.aws.wanted import Parameters
from fetcher.together import all_of
from keyferry.errors import KeyferryError, ProviderUnavailable, RateLimited

log = logging.getLogger(__name__)

_PARSED = 512  # classes


@dataclass(frozen=True, slots=True)
class _Job:
    """One request, understood."""

    request: ProviderRequest
    parameters: Parameters
    token: str = field(repr=False)


class Aws:
    """The provider ``aws``: Secrets Manager and SSM Parameter Store."""

    def __init__(self, settings: AwsSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._clients = Clients(settings, clock)
        self._credentials = CredentialCache(clock)
        self._denied = Denied(batch=Denials(clock), describe=Denials(clock))
        # A class is fetched again at every interval, mostly unchanged, and parsing takes longer than signing.
        self._parse = lru_cache(_PARSED)(lambda items, region: parse(dict(items), default_region=region))

    def scope(self, parameters: Mapping[str, str]) -> Scope:
        """See `fetcher.provider.Scoped`."""
        return scope(parameters, self._settings.region)

    async def fetch(self, request: ProviderRequest) -> Answer:
        """All objects of the class; where two make the same file, the later one wins, as in upstream.

        Raises:
            InvalidSecretProviderClass: parameters are missing or malformed; all problems at once, before any call.
            SecretNotFound, AccessDenied, RateLimited, ProviderUnavailable, ProviderError: as AWS answered.
            ContentTooLarge: an object is larger than the class allows, or a selection matches too many.
        """
        parameters = self._parse(frozenset(request.parameters.items()), self._settings.region or request.region)
        token = request.token(POD_IDENTITY_AUDIENCE if parameters.use_pod_identity else STS_AUDIENCE)
        job = _Job(request, parameters, token)
        services = dict.fromkeys(each.service for each in parameters.objects)
        reads: dict[str, list[Read]] = {}
        for found in await all_of(self._read_somewhere(job, service) for service in services):
            reads |= found
        return answer(parameters.objects, reads, request.held)

    async def close(self) -> None:
        """Let go of connections and threads."""
        await self._credentials.close()
        self._clients.close()

    async def _read_somewhere(self, job: _Job, service: str) -> dict[str, list[Read]]:
        """What one service's objects are, all of one region, by their places in the class."""
        regions, deadline = job.parameters.regions, job.request.deadline
        if len(regions) == 1:
            return await self._read(job, service, 0, deadline)
        try:
            # Half of the time that is left, so that the second region has a chance.
            return await self._read(job, service, 0, time.time() + job.request.seconds_left() / 2)
        except (ProviderUnavailable, RateLimited) as error:
            first = error
        log.warning("aws region failed", extra={"region": regions[0], "failover": regions[1], "reason": first.reason})
        try:
            return await self._read(job, service, 1, deadline)
        except KeyferryError as second:
            second.message = f"{first.message}; in the failover region: {second.message}"
            second.args = (second.message,)
            raise

    async def _read(self, job: _Job, service: str, region: int, deadline: float) -> dict[str, list[Read]]:
        """As `_read_somewhere`, in the class's first or second region."""
        identity = identify(
            job.request, job.parameters.regions[region], use_pod_identity=job.parameters.use_pod_identity
        )
        credentials = await self._credentials_of(identity, job, deadline)
        access = Access(self._clients, self._credentials, identity, credentials, deadline)
        return await Reader(access, job.parameters, region, job.request.held, self._denied).read(service)

    async def _credentials_of(self, identity: Identity, job: _Job, deadline: float) -> Credentials:
        settings = self._settings

        async def exchange() -> Credentials:
            now = self._clock()
            if not job.parameters.use_pod_identity:
                tries = max(1, settings.attempts) * (settings.connect_timeout + settings.read_timeout)
                return await assume_role(self._clients, identity, job.token, now, now + tries)
            urls = [settings.pod_identity_endpoint or AGENTS[kind] for kind in job.parameters.address_types]
            agent = Agent(self._clients.threads, list(dict.fromkeys(urls)), settings.read_timeout)
            return await agent.credentials(job.token, str(identity), now)

        try:
            async with asyncio.timeout(None if deadline == float("inf") else deadline - time.time()):
                return await self._credentials.get(identity, exchange)
        except TimeoutError:
            raise ProviderUnavailable(f"getting credentials of {identity}: no answer in time") from None
