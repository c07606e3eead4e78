"""One request's way to its backend: when it may go, with what, and what comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from fetcher import contents
from fetcher.budgets import Grant, Spending
from fetcher.kept import Kept
from fetcher.policy import Policy
from fetcher.provider import Lease, Leasing, Provider, ProviderRequest
from fetcher.turns import Turns
from keyferry import telemetry
from keyferry.errors import ProviderUnavailable
from keyferry.keys import FetcherKeys, KeyFile
from keyferry.resources import SecretProviderClass


@dataclass(frozen=True, slots=True)
class Calling:
    """What all calls of a fetcher have in common.

    Attributes:
        keys: The fetchers' keys.
        turns: Whose call is next.
        rate: Calls per second to one backend, of all fetchers; 0 for any number.
        seconds: How long one may take.
        now: The clock, Unix seconds.
    """

    keys: KeyFile[FetcherKeys]
    turns: Turns
    rate: float
    seconds: float
    now: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class Asking:
    """A class's content to be fetched as one pod: a `fetcher.leases.Source`."""

    calling: Calling
    spc: SecretProviderClass
    policy: Policy
    provider: Provider
    request: ProviderRequest = field(repr=False)
    content_key: str
    spending: Spending

    @property
    def keep_ms(self) -> int:
        """See `fetcher.leases.Source`."""
        return self.policy.keep_ms

    @property
    def stale_ms(self) -> int:
        """See `fetcher.leases.Source`."""
        return self.policy.stale_ms

    async def fetch(self, fetched_at_ms: int, held: Kept | None, grant: Grant) -> Kept:
        """See `fetcher.leases.Source`."""
        attributes = {"keyferry.provider": self.spc.provider, "k8s.namespace.name": self.spc.namespace}
        async with self._turn(grant):
            span = telemetry.span(f"fetch {self.spc.provider}", telemetry.Kind.CLIENT, attributes)
            request = replace(self.request, deadline=self._deadline(), held=held.by_object() if held else {})
            with span, telemetry.phase("fetch"):
                secrets = await self.provider.fetch(request)
        return contents.build(
            self.calling.keys.keys,
            secrets,
            provider=self.spc.provider,
            key=self.content_key,
            fetched_at_ms=fetched_at_ms,
            mode=request.default_mode,
        )

    async def renew(self, kept: Kept, grant: Grant) -> Lease | None:
        """See `fetcher.leases.Source`."""
        if kept.lease is None or not isinstance(self.provider, Leasing):
            return None
        async with self._turn(grant):
            return await self.provider.renew(kept.lease, self._deadline())

    def _deadline(self) -> float:
        return self.calling.now() + self.calling.seconds

    @asynccontextmanager
    async def _turn(self, grant: Grant) -> AsyncIterator[None]:
        grant.check(self.spc.provider)
        calling, spending = self.calling, self.spending
        try:
            # Twice: who waits for a turn has the whole time for the call, and a provider that hangs holds nobody up.
            async with (
                asyncio.timeout(2 * calling.seconds),
                calling.turns.take(spending.backend, namespace=self.spc.namespace, mount=spending.mount),
            ):
                if grant.wait:
                    await asyncio.sleep(grant.wait)
                yield
        except TimeoutError:
            raise ProviderUnavailable(
                f"{self.spc.provider} has not answered in time: check its load, and the network to it"
            ) from None
