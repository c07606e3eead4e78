"""One pod's way to one region: its credentials, its deadline, and how many calls it may have under way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fetcher.providers.aws.clients import Clients, Credentials
from fetcher.providers.aws.credentials import CredentialCache, Identity
from fetcher.providers.aws.faults import Fault
from keyferry.errors import AccessDenied

CALLS_AT_ONCE = 8
"""Of one fetch and service, so that a class of 200 secrets leaves threads to others."""


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
