"""Fetches a class from AWS: its objects of both services, from the failover region where the primary one is down."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from fetcher.provider import ProviderRequest, Secret
from fetcher.providers.aws import secretsmanager, ssm
from fetcher.providers.aws.access import Access, all_of
from fetcher.providers.aws.clients import Clients, Credentials
from fetcher.providers.aws.credentials import (
    POD_IDENTITY_AUDIENCE,
    STS_AUDIENCE,
    CredentialCache,
    Identity,
    assume_role,
    identify,
)
from fetcher.providers.aws.parameters import parse
from fetcher.providers.aws.podidentity import AGENTS, Agent
from fetcher.providers.aws.settings import AwsSettings
from fetcher.providers.aws.values import Value, files
from fetcher.providers.aws.wanted import SSM, Parameters
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
        self._clients = Clients(settings)
        self._credentials = CredentialCache(clock)
        self._denials = secretsmanager.BatchDenials(clock)
        # A class is fetched again at every interval, mostly unchanged, and parsing takes longer than signing.
        self._parse = lru_cache(_PARSED)(lambda items: parse(dict(items), default_region=settings.region))

    async def fetch(self, request: ProviderRequest) -> Sequence[Secret]:
        """All objects of the class; where two make the same file, the later one wins, as in upstream.

        Raises:
            InvalidSecretProviderClass: parameters are missing or malformed; all problems at once, before any call.
            SecretNotFound, AccessDenied, RateLimited, ProviderUnavailable, ProviderError: as AWS answered.
        """
        parameters = self._parse(frozenset(request.parameters.items()))
        token = request.token(POD_IDENTITY_AUDIENCE if parameters.use_pod_identity else STS_AUDIENCE)
        job = _Job(request, parameters, token)
        services = dict.fromkeys(each.service for each in parameters.objects)
        values: dict[str, Value] = {}
        for found in await all_of(self._read_somewhere(job, service) for service in services):
            values |= found
        written: dict[str, Secret] = {}
        for each in parameters.objects:
            for secret in files(each, values[each.place]):
                if secret.path in written:
                    log.warning("two objects make the same file; the later one is kept", extra={"path": secret.path})
                written[secret.path] = secret
        return list(written.values())

    async def close(self) -> None:
        """Let go of connections and threads."""
        await self._credentials.close()
        self._clients.close()

    async def _read_somewhere(self, job: _Job, service: str) -> dict[str, Value]:
        """The values of one service's objects, all of one region, by the objects' places in the class."""
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

    async def _read(self, job: _Job, service: str, region: int, deadline: float) -> dict[str, Value]:
        """As `_read_somewhere`, in the class's first or second region."""
        identity = identify(
            job.request, job.parameters.regions[region], use_pod_identity=job.parameters.use_pod_identity
        )
        credentials = await self._credentials_of(identity, job, deadline)
        access = Access(self._clients, self._credentials, identity, credentials, deadline)
        wanted = {each.place: each.wanted[region] for each in job.parameters.objects if each.service == service}
        if service == SSM:
            found = await ssm.read(access, list(wanted.values()))
        else:
            found = await secretsmanager.read(access, list(wanted.values()), self._denials)
        return {place: found[each] for place, each in wanted.items()}

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
