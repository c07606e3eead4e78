"""The headers that messages carry, and what is counted and traced of each."""

from __future__ import annotations

from prometheus_client import Counter

DEADLINE = "Keyferry-Deadline"  # Unix milliseconds; absolute, so that a request that waited is not worked on in vain
MESSAGE_ID = "Nats-Msg-Id"
TTL = "Nats-TTL"

PUBLISHED = Counter("keyferry_bus_published_total", "Messages published.", ["destination", "outcome"])
CONSUMED = Counter("keyferry_bus_consumed_total", "Messages taken, by what became of them.", ["consumer", "outcome"])


def messaging(operation: str, destination: str) -> dict[str, str | int]:
    """Span attributes by OpenTelemetry's messaging conventions."""
    return {
        "messaging.system": "nats",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.template": destination,
    }


def deadline_of(headers: dict[str, str]) -> float:
    """Unix seconds after which nobody waits; infinity where the sender set no deadline."""
    try:
        return int(headers[DEADLINE]) / 1000
    except (KeyError, ValueError, OverflowError):
        return float("inf")
