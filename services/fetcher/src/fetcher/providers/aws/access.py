"""One pod's way to one region: its credentials, its deadline, and how many calls it may have under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from fetcher.providers.aws.clients import Clients, Credentials
from fetcher.providers.aws.credentials import CredentialCache, Identity
from fetcher.providers.aws.faults import Fault, raise_worst
from keyferry.errors import AccessDenied, KeyferryError

T = TypeVar("T")

_CALLS_AT_ONCE = 8  # of one fetch, so that a class of 200 secrets leaves threads to others


@dataclass(frozen=True, slots=True)
class Access:
    """What reading a region needs.

    Attributes:
        clients: Make the calls.
        cache: Is told of credentials that do not do.
        identity: Whose.
        credentials: Of that identity.
        deadline: Unix seconds.
    """

    clients: Clients
    cache: CredentialCache
    identity: Identity
    credentials: Credentials
    deadline: float

    def __str__(self) -> str:
        return f"in {self.identity.region} as {self.identity}"

    async def call(self, service: str, operation: str, **send: Any) -> Mapping[str, Any]:
        """Call one operation of the SDK.

        Raises:
            Fault: AWS refused, or could not be asked in time.
        """
        try:
            return await self.clients.call(
                service, self.identity.region, operation, self.credentials, self.deadline, **send
            )
        except Fault as fault:
            if fault.kind is AccessDenied:
                self.cache.forget(self.identity, self.credentials, at_once=fault.condemns_credentials)
            raise


async def all_of(jobs: Iterable[Awaitable[T]], *, at_once: int = _CALLS_AT_ONCE) -> list[T]:
    """Every job's result, in order.

    Raises:
        KeyferryError: one for all that failed, once all have ended: the reader learns of every missing secret at once.
    """
    slots = asyncio.Semaphore(at_once)

    async def run(job: Awaitable[T]) -> T | KeyferryError:
        async with slots:
            try:
                return await job
            except KeyferryError as error:
                return error

    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(run(job)) for job in jobs]
    except ExceptionGroup as defects:
        raise defects.exceptions[0] from None
    results = [task.result() for task in running]
    raise_worst([result for result in results if isinstance(result, KeyferryError)])
    return [result for result in results if not isinstance(result, KeyferryError)]
