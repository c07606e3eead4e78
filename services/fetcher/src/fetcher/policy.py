"""What a SecretProviderClass says to Keyferry itself, in annotations: how often it rotates, and how stale it may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keyferry.settings import duration

ROTATION = "keyferry.io/rotation-interval"
STALE = "keyferry.io/stale-if-error"

_SHORTEST, _LONGEST = 1.0, 30 * 86400.0  # seconds
_NEVER = ("0", "off")
_HOUR_MS = 3_600_000
_INTERVALS = 3  # that a content is kept for


@dataclass(frozen=True, slots=True)
class Policy:
    """As annotated; times in milliseconds.

    Attributes:
        rotation_ms: How often it is asked for again; 0 never, None as the rotator is set to.
        stale_ms: How old the last known content may be when the backend is away; 0 if the pod shall rather fail.
    """

    rotation_ms: int | None = None
    stale_ms: int = 0

    @property
    def keep_ms(self) -> int:
        """How long fetchers keep its content for each other and for the next refresh."""
        return max(_HOUR_MS, _INTERVALS * (self.rotation_ms or 0), self.stale_ms)


def read_policy(annotations: Mapping[str, str]) -> tuple[Policy, list[str]]:
    """What the annotations say, and what is wrong with them; what is wrong is as if it were not there."""
    problems: list[str] = []
    rotation = _read(annotations, ROTATION, problems)
    stale = _read(annotations, STALE, problems)
    return Policy(rotation, stale or 0), problems


def _read(annotations: Mapping[str, str], name: str, problems: list[str]) -> int | None:
    text = annotations.get(name)
    if text is None:
        return None
    if text in _NEVER:
        return 0
    try:
        seconds = duration(text)
        if seconds and not _SHORTEST <= seconds <= _LONGEST:
            raise ValueError(f'is "{text}": write 0 for never, or 1s to 720h')
    except (ValueError, OverflowError) as error:
        problems.append(f"annotation {name} {error}")
        return None
    return int(seconds * 1000)
