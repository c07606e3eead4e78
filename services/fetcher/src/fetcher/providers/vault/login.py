"""Logs pods in to Vault."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from fetcher.providers.vault.answers import document, login_failure
from fetcher.providers.vault.objects import Call
from fetcher.providers.vault.parameters import Server
from fetcher.providers.vault.transport import Answer
from keyferry.errors import AccessDenied

_HEADER_TEXT = re.compile(r"[!-~]+", re.ASCII)
_LONGEST_MARGIN = 60.0  # seconds before a token's end from which it is not used any more

Send = Callable[[Server, Call], Awaitable[Answer]]
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who logs in where; equal identities get the same powers from Vault, so they may share a token."""

    server: Server
    role: str
    audience: str
    namespace: str
    service_account: str


@dataclass(slots=True, eq=False)
class Token:
    """Vault's token, which fetches share unless one of them claims it. Times are seconds of the login's clock.

    Attributes:
        value: What is sent.
        since: When it was made.
        until: Up to when further fetches may use it.
        ends: When Vault takes it away unless it is renewed; infinite where it has no end.
        duration: Seconds that it was given; 0 where it has no end.
        is_renewable: Whether it may renew itself, and be revoked: batch tokens cannot.
        is_claimed: One fetch has it for its leases alone.
    """

    value: str = field(repr=False)
    since: float
    until: float
    ends: float = math.inf
    duration: int = 0
    is_renewable: bool = False
    is_claimed: bool = False

    def claim(self) -> bool:
        """Keep it from all fetches that come; False if another has done so before.

        `Tokens` hands out no token whose time is over.
        """
        if self.is_claimed:
            return False
        self.is_claimed, self.until = True, -math.inf
        return True


async def log_in(send: Send, identity: Identity, jwt: str, clock: Clock) -> Token:
    """A new token from ``auth/<mount>/login``; kubernetes and jwt mounts take the same request.

    Raises:
        AccessDenied: Vault refuses the pod; says why in Vault's words.
        InvalidSecretProviderClass: there is no such mount.
        RateLimited, ProviderUnavailable: as Vault answered.
    """
    path = f"auth/{identity.server.mount}/login"
    who = f'role "{identity.role}" (service account {identity.namespace}/{identity.service_account})'
    doing = f"logging in to Vault at {path} as {who}"
    asked = clock()
    answer = await send(
        identity.server, Call("POST", path, body=json.dumps({"role": identity.role, "jwt": jwt}).encode())
    )
    if failure := login_failure(answer, doing, jwt):
        raise failure
    auth = document(answer, doing).get("auth")
    value = auth.get("client_token") if isinstance(auth, dict) else None
    if not isinstance(auth, dict) or not isinstance(value, str) or not _HEADER_TEXT.fullmatch(value):
        raise AccessDenied(f"{doing}: Vault gives no token; does the mount ask for a second factor?")
    duration = seconds(auth.get("lease_duration"))
    return Token(
        value,
        since=clock(),
        until=asked + _usable_for(auth.get("lease_duration"), auth.get("num_uses")),
        ends=asked + (duration or math.inf),
        duration=duration,
        is_renewable=auth.get("renewable") is True and auth.get("token_type") != "batch",
    )


def seconds(found: object) -> int:
    """A duration of Vault's; 0, for ever, where it makes no sense."""
    return found if type(found) is int and found > 0 else 0


def _usable_for(lease: object, uses: object) -> float:
    """Seconds that a token may be used again: not at all if its uses are counted, for ever if it has no end."""
    if not isinstance(lease, int) or uses:
        return 0.0
    return lease - min(_LONGEST_MARGIN, lease / 10) if lease else math.inf
