"""Keeps leased credentials alive, and has Vault take them away: a content's own token and the leases it made.

Renewing asks for the durations that were given at first, so that the answers show whether a maximum is being reached.
It has ended when Vault says so, when it no longer gains time, or when less than a third of the first duration is left
(a renewal that came late, and was cut short by a maximum): what is then fetched anew has time to reach its readers.
"""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any

from fetcher.endpoints import refusal
from fetcher.provider import Lease
from fetcher.providers.vault.answers import document, is_token_gone, lease_failure
from fetcher.providers.vault.client import Client
from fetcher.providers.vault.login import Clock, Token, seconds
from fetcher.providers.vault.objects import Call
from fetcher.providers.vault.parameters import Server, Tls
from fetcher.providers.vault.session import Read
from fetcher.providers.vault.transport import Answer
from fetcher.together import all_of
from keyferry.errors import AccessDenied

log = logging.getLogger(__name__)

_AT_ONCE = 8
_RENEWED_AT = 0.6  # of what is left; with the jitter it stays below two thirds
_JITTER = 0.1
_LEAST_LEFT = 1 / 3  # of the first duration
_LEAST_GAIN = 1.0  # seconds
_FOR_EVER = 10 * 365 * 86400.0  # seconds; where Vault sets no end

_random = random.SystemRandom()  # many contents are fetched at once; they shall not be renewed as one


@dataclass(frozen=True, slots=True)
class Handle:
    """What any fetcher needs to renew or revoke, kept sealed.

    Attributes:
        server: Which Vault. Where pods log in does not matter any more.
        token: The content's own.
        token_duration: Seconds that it was given; 0 where it has no end.
        token_ends: Unix seconds.
        is_renewable: Whether the token may renew itself; if not, it ends when it ends.
        leases: Id and first duration in seconds of each.
        are_renewable: Whether all leases may be renewed.
    """

    server: Server
    token: str = field(repr=False)
    token_duration: int
    token_ends: float
    is_renewable: bool
    leases: tuple[tuple[str, int], ...] = field(repr=False)
    are_renewable: bool

    def to_bytes(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> Handle | None:
        """None if it is of another version's making."""
        try:
            read = json.loads(text)
            server = Server(**{**read["server"], "tls": Tls(**read["server"]["tls"])})
            leases = tuple((str(lease_id), int(duration)) for lease_id, duration in read["leases"])
            return cls(**{**read, "server": server, "leases": leases})
        except (ValueError, TypeError, KeyError):
            return None

    def lease(self, now: float, ends: Iterable[float]) -> Lease:
        """The lease that the coalescer keeps.

        Args:
            now: Unix seconds.
            ends: Of the token and of each lease.
        """
        expires = min(*ends, now + _FOR_EVER)
        share = _RENEWED_AT * _random.uniform(1 - _JITTER, 1 + _JITTER)
        return Lease(renew_at=now + (expires - now) * share, expires_at=expires, handle=self.to_bytes())


def begin(server: Server, token: Token, reads: Iterable[Read], clock: float, now: float) -> Lease:
    """The lease of a content that has just been read.

    Args:
        server: Which Vault.
        token: The content's own, which made all leases.
        reads: The answers with leases.
        clock: The time by the clock of token and answers, in seconds.
        now: The same moment, Unix seconds.
    """
    given = [(read.lease_id, seconds(read.answer.get("lease_duration")), read) for read in reads]
    token_ends = min(token.ends - clock, _FOR_EVER) + now
    handle = Handle(
        server=server,
        token=token.value,
        token_duration=token.duration,
        token_ends=token_ends,
        is_renewable=token.is_renewable,
        leases=tuple((lease_id, duration) for lease_id, duration, _ in given),
        are_renewable=all(read.answer.get("renewable") is True for _, _, read in given),
    )
    ends = [now + (read.asked - clock) + (duration or _FOR_EVER) for _, duration, read in given]
    return handle.lease(now, [token_ends, *ends])


class Leases:
    """Renews and revokes.

    Args:
        client: Carries the calls.
        allowed_hosts: The operator's; they bind what was allowed earlier, too.
        now: Unix seconds.
    """

    def __init__(self, client: Client, allowed_hosts: tuple[str, ...], now: Clock) -> None:
        self._client = client
        self._allowed_hosts = allowed_hosts
        self._now = now

    async def renew(self, lease: Lease, deadline: float) -> Lease | None:
        """See `fetcher.provider.Leasing`."""
        handle = Handle.from_bytes(lease.handle)
        # A host that is no longer allowed: fetching anew tells the class's author so.
        if handle is None or refusal(handle.server.address, self._allowed_hosts) or not handle.are_renewable:
            return None
        began = self._now()
        left: list[float | None] = [handle.token_ends - began]
        if handle.is_renewable:  # first and alone: once the token is gone, so are the leases
            left = [await self._renewed(handle, "auth/token/renew-self", handle.token_duration, {}, deadline)]
        if None not in left:
            left += await all_of(
                (
                    self._renewed(handle, "sys/leases/renew", duration, {"lease_id": lease_id}, deadline)
                    for lease_id, duration in handle.leases
                ),
                at_once=_AT_ONCE,
            )
        ends = [began + each for each in left if each is not None]
        if len(ends) < len(left):
            return None
        renewed = handle.lease(began, ends)
        if began >= lease.renew_at and renewed.expires_at < lease.expires_at + _LEAST_GAIN:
            return None
        return renewed

    async def revoke(self, lease: Lease, deadline: float) -> None:
        """See `fetcher.provider.Leasing`."""
        handle = Handle.from_bytes(lease.handle)
        if handle is None:
            raise AccessDenied("a lease of Vault cannot be read, and ends by itself: it is of another version's making")
        if reason := refusal(handle.server.address, self._allowed_hosts):
            raise AccessDenied(f"a lease of Vault ends by itself: its address {reason}")
        answer = await self._send(handle, "auth/token/revoke-self", {}, deadline)
        if answer.status == HTTPStatus.BAD_REQUEST:  # a batch token: its leases are ended one by one
            await all_of(
                (self._revoke_one(handle, lease_id, deadline) for lease_id, _ in handle.leases), at_once=_AT_ONCE
            )
        elif answer.status >= HTTPStatus.MULTIPLE_CHOICES and not is_token_gone(answer):
            raise _denied(handle, "auth/token/revoke-self")

    async def _revoke_one(self, handle: Handle, lease_id: str, deadline: float) -> None:
        answer = await self._send(handle, "sys/leases/revoke", {"lease_id": lease_id}, deadline)
        gone = is_token_gone(answer) or answer.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES and not gone:
            raise _denied(handle, "sys/leases/revoke")

    async def _renewed(
        self, handle: Handle, path: str, duration: int, body: Mapping[str, str], deadline: float
    ) -> float | None:
        """Seconds that are left from before the call; None if it has ended, or nearly."""
        answer = await self._send(handle, path, {**body, "increment": duration}, deadline)
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            if answer.status == HTTPStatus.FORBIDDEN and not is_token_gone(answer):
                log.warning(
                    "a role may not renew what it is given: let its policies grant update on %s",
                    path,
                    extra={"address": handle.server.address},
                )
            return None
        found = document(answer, path)
        auth = found.get("auth")
        left = seconds((auth if isinstance(auth, dict) else found).get("lease_duration"))
        if not duration and not left:
            return math.inf
        return None if left < duration * _LEAST_LEFT else float(left)

    async def _send(self, handle: Handle, path: str, body: Mapping[str, Any], deadline: float) -> Answer:
        call = Call("POST", path, body=json.dumps(body).encode())
        left = max(0.0, deadline - self._now())
        answer = await self._client.send(handle.server, call, token=handle.token, seconds_left=left)
        if failure := lease_failure(answer, f"{path} at {handle.server.address}"):
            raise failure
        return answer


def _denied(handle: Handle, path: str) -> AccessDenied:
    return AccessDenied(
        f"Vault at {handle.server.address} does not take credentials away before their end: "
        f"let a policy of the role grant update on {path}"
    )
