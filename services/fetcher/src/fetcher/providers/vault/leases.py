"""Keeps leased credentials alive, and has Vault take them away: a content's own token and the leases it made.

Renewing asks for the durations that were given at first, so that the answers show whether a maximum is being reached.
It has ended when Vault says so, when it no longer gains time, or when less than a third of the first duration is left
(a renewal that came late, and was cut short by a maximum): what is then fetched anew has time to reach its readers.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from fetcher.endpoints import refusal
from fetcher.provider import Lease
from fetcher.providers.vault.answers import document, is_token_gone, lease_failure
from fetcher.providers.vault.client import Client
from fetcher.providers.vault.handle import Handle, Life, ending
from fetcher.providers.vault.login import Clock, seconds
from fetcher.providers.vault.objects import Call
from fetcher.providers.vault.transport import Answer
from fetcher.together import all_of
from keyferry.errors import AccessDenied, KeyferryError

log = logging.getLogger(__name__)

_AT_ONCE = 8
_LEAST_LEFT = 1 / 3  # of the first duration
_LEAST_GAIN = 1.0  # seconds
_OVER = 0.0  # Unix seconds


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
        if handle is None or refusal(handle.server.address, self._allowed_hosts):
            return None
        began = self._now()
        # The token comes last: if what it made is at its end, it shall not live on.
        leases = await all_of((self._renewed(handle, each, deadline) for each in handle.leases), at_once=_AT_ONCE)
        handle = replace(handle, leases=tuple(leases))
        if not all(_lasts(each, began) for each in leases):
            await self._give_up(handle, deadline)
            return None
        handle = replace(handle, life=await self._renewed(handle, handle.life, deadline))
        renewed = handle.lease(began)
        gains = renewed.expires_at >= lease.expires_at + _LEAST_GAIN
        if not _lasts(handle.life, began) or (began >= lease.renew_at and not gains):
            await self._give_up(handle, deadline)
            return None
        return renewed

    async def revoke(self, lease: Lease, deadline: float) -> None:
        """See `fetcher.provider.Leasing`. With a token, Vault ends all that it has made."""
        handle = Handle.from_bytes(lease.handle)
        if handle is None:
            raise AccessDenied("a lease of Vault cannot be read, and ends by itself: it is of another version's making")
        if reason := refusal(handle.server.address, self._allowed_hosts):
            raise AccessDenied(f"a lease of Vault ends by itself: its address {reason}")
        answer = await self._send(handle, "auth/token/revoke-self", {}, deadline)
        if answer.status == HTTPStatus.BAD_REQUEST:  # a batch token, which ends when it ends
            await all_of((self._revoke_one(handle, each, deadline) for each in handle.leases), at_once=_AT_ONCE)
        elif answer.status >= HTTPStatus.MULTIPLE_CHOICES and not is_token_gone(answer):
            raise _denied(handle, "auth/token/revoke-self")

    async def _revoke_one(self, handle: Handle, lease: Life, deadline: float) -> None:
        answer = await self._send(handle, "sys/leases/revoke", {"lease_id": lease.lease_id}, deadline)
        gone = is_token_gone(answer) or answer.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES and not gone:
            raise _denied(handle, "sys/leases/revoke")

    async def _renewed(self, handle: Handle, life: Life, deadline: float) -> Life:
        """The token's or a lease's new life, which may be over; what is not renewed keeps its own."""
        if not life.is_renewable:
            return life
        path = "sys/leases/renew" if life.lease_id else "auth/token/renew-self"
        body = {"lease_id": life.lease_id} if life.lease_id else {}
        asked = self._now()
        answer = await self._send(handle, path, {**body, "increment": life.duration}, deadline)
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            if answer.status == HTTPStatus.FORBIDDEN and not is_token_gone(answer):
                log.warning(
                    "a role may not renew what it is given: let its policies grant update on %s",
                    path,
                    extra={"address": handle.server.address},
                )
                return life
            return replace(life, ends=_OVER)
        found = document(answer, path)
        auth = found.get("auth")
        left = seconds((auth if isinstance(auth, dict) else found).get("lease_duration"))
        return replace(life, ends=_OVER if life.duration and not left else ending(asked, left))

    async def _give_up(self, handle: Handle, deadline: float) -> None:
        """Let the token end with the last of its leases, which pods still use, instead of living for nothing."""
        if not handle.life.is_renewable or handle.life.ends == _OVER:
            return
        left = max(each.ends for each in handle.leases) - self._now()
        try:
            await self._send(handle, "auth/token/renew-self", {"increment": max(1, math.ceil(left))}, deadline)
        except KeyferryError as error:
            log.info("a token of Vault is left to end by itself: %s", error.message)

    async def _send(self, handle: Handle, path: str, body: Mapping[str, Any], deadline: float) -> Answer:
        call = Call("POST", path, body=json.dumps(body).encode())
        left = max(0.0, deadline - self._now())
        answer = await self._client.send(handle.server, call, token=handle.token, seconds_left=left)
        if failure := lease_failure(answer, f"{path} at {handle.server.address}"):
            raise failure
        return answer


def _lasts(life: Life, now: float) -> bool:
    return life.ends > now + life.duration * _LEAST_LEFT


def _denied(handle: Handle, path: str) -> AccessDenied:
    return AccessDenied(
        f"Vault at {handle.server.address} does not take credentials away before their end: "
        f"let a policy of the role grant update on {path}"
    )
