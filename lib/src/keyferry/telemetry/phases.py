"""Where the time of a mount goes: a histogram per phase, and the same as events on the current span."""

from __future__ import annotations

import time
from types import TracebackType

from opentelemetry import trace
from prometheus_client import Histogram

_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SECONDS = Histogram(
    "keyferry_phase_seconds",
    "Time spent in one phase of a mount or refresh: mount, seal, queue, verify, fetch, open, write.",
    ["phase"],
    buckets=_BUCKETS,
)


class phase:  # noqa: N801 - reads as a statement: with phase("seal"):
    """Times a block as one phase.

    A class, not a generator: it is entered some eight times a mount, and costs half as much.
    """

    __slots__ = ("_name", "_start")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        observe(self._name, time.perf_counter() - self._start)


def observe(name: str, seconds: float) -> None:
    """Note a phase that was timed elsewhere, such as the time a message waited in its stream."""
    current = trace.get_current_span()
    if current.is_recording():
        current.add_event(name, {"duration_ms": round(seconds * 1000, 3)})
    _SECONDS.labels(name).observe(seconds, exemplar())


def exemplar() -> dict[str, str] | None:
    """The current trace, for a histogram's exemplar: from a slow bucket to one that was slow. None without a trace."""
    current = trace.get_current_span()
    return {"trace_id": format(current.get_span_context().trace_id, "032x")} if current.is_recording() else None
