"""Times as programs read them, out of the milliseconds that travel."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(milliseconds: int) -> str | None:
    """RFC 3339 in UTC; None for 0, which stands for "never"."""
    if not milliseconds:
        return None
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_until(milliseconds: int, now_ms: int) -> float | None:
    """Seconds from now on, negative for what is over; None for 0, which stands for "never"."""
    return round((milliseconds - now_ms) / 1000, 3) if milliseconds else None


def parsed(text: str) -> float:
    """Unix seconds of a Kubernetes time; 0 where there is none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
