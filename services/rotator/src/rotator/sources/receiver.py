"""The seam between the HTTP server and those who understand what it takes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from rotator.sources.source import Emit


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body.

    Attributes:
        method: In capitals.
        headers: By lower-case name; of a repeated one the first.
        query: Likewise.
    """

    method: str
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False, default_factory=dict)

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered; nothing of the request is in it."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


TAKEN = Answer(204)
MALFORMED = Answer(400)
UNAUTHORIZED = Answer(401)
NOT_ALLOWED = Answer(405)
UNSUPPORTED = Answer(415)
TOO_MANY = Answer(429, headers={"Retry-After": "2"})
UNAVAILABLE = Answer(503, headers={"Retry-After": "5"})


class Receiver(Protocol):
    """Understands what is sent to one path."""

    path: str

    async def refusal(self, head: Head) -> Answer | None:
        """What to answer without reading the body; None to go on."""
        ...

    async def receive(self, head: Head, body: bytes, emit: Emit) -> Answer:
        """Take the events of a body; any 2xx says that they are on the bus."""
        ...
