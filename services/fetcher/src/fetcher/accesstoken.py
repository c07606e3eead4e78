"""An access token, and when it is time for another."""

from __future__ import annotations

from dataclasses import dataclass, field

_LONGEST_MARGIN = 300.0  # seconds before a token's end from which it is not used any more


@dataclass(frozen=True, slots=True)
class Token:
    """An access token. Times are Unix seconds."""

    value: str = field(repr=False)
    since: float
    expires: float

    @property
    def until(self) -> float:
        """When another one is due: five minutes before the end, or a quarter of a shorter life."""
        return self.expires - min(_LONGEST_MARGIN, (self.expires - self.since) / 4)
