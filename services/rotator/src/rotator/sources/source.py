"""What a source of change events is, and what it tells."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol

from keyferry.changes import BackendChanged

Emit = Callable[[BackendChanged], Awaitable[None]]
"""Returns when the change is durably on the bus; raises a KeyferryError where not: nothing is acknowledged then."""

Clock = Callable[[], float]
"""Unix seconds."""


class Source(Protocol):
    """Somewhere that changes are heard from, until cancelled."""

    name: str

    async def run(self, emit: Emit) -> NoReturn:
        """Tell every change at least once, acknowledging it only afterwards; connections are made again for ever."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """What an event says, in our words.

    Attributes:
        sources: The objects, by their canonical names (`keyferry.changes.BackendChanged.sources`).
        event_id: The sender's own.
        at: When it happened, Unix seconds; None where it does not say.
    """

    sources: tuple[str, ...]
    event_id: str
    at: float | None = None

    def changed(self, provider: str, now: float) -> BackendChanged:
        """For the bus.

        Its time is now, not the event's: backends tell whole seconds of clocks of their own, and a content fetched in
        that very second, before the change, would be taken for the new one.
        """
        return BackendChanged(provider, self.sources, int(now * 1000), self.event_id)
