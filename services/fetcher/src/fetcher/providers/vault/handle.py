"""What is kept of a content's leases: which Vault, whose token, and until when; any fetcher can go on with it."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from fetcher.provider import Lease
from fetcher.providers.vault.login import Token, seconds
from fetcher.providers.vault.parameters import Server, Tls
from fetcher.providers.vault.session import Read

_RENEWED_AT = 0.6  # of what is left; with the jitter it stays below two thirds
_JITTER = 0.1
_FOR_EVER = 10 * 365 * 86400.0  # seconds; where Vault sets no end

_random = random.SystemRandom()  # many contents are fetched at once; they shall not be renewed as one


@dataclass(frozen=True, slots=True)
class Life:
    """Of a token or of what it has made.

    Attributes:
        lease_id: Vault's; empty for the token.
        duration: Seconds that were given at first; 0 where it has no end.
        ends: Unix seconds.
        is_renewable: Whether Vault ever gives more.
    """

    lease_id: str
    duration: int
    ends: float
    is_renewable: bool


@dataclass(frozen=True, slots=True)
class Handle:
    """All that renewing and revoking take; it is kept sealed.

    Attributes:
        server: Which Vault. Where pods log in does not matter any more.
        token: The content's own.
        life: The token's.
        leases: What it has made.
    """

    server: Server
    token: str = field(repr=False)
    life: Life
    leases: tuple[Life, ...]

    def to_bytes(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> Handle | None:
        """None if it is of another version's making."""
        try:
            read = json.loads(text)
            server = Server(**{**read["server"], "tls": Tls(**read["server"]["tls"])})
            leases = tuple(Life(**each) for each in read["leases"])
            return cls(**{**read, "server": server, "life": Life(**read["life"]), "leases": leases})
        except (ValueError, TypeError, KeyError):
            return None

    def lease(self, now: float) -> Lease:
        """What the coalescer keeps.

        Args:
            now: Unix seconds.
        """
        expires = min([self.life.ends, *(each.ends for each in self.leases)])
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
    left = token.ends - clock
    life = Life("", token.duration, ending(now, 0.0 if math.isinf(left) else left), token.is_renewable)
    return Handle(server, token.value, life, tuple(_made(read, now + read.asked - clock) for read in reads)).lease(now)


def ending(now: float, left: float) -> float:
    """Unix seconds at which it ends; 0 left stands for no end, as Vault has it, which is far away here."""
    return now + (left or _FOR_EVER)


def _made(read: Read, asked: float) -> Life:
    duration = seconds(read.answer.get("lease_duration"))
    return Life(read.lease_id, duration, ending(asked, duration), read.answer.get("renewable") is True)
