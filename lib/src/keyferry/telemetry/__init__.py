"""What operators see: traces, logs and metrics. With ``bus`` and ``rpc``, the only home of OpenTelemetry."""

from keyferry.telemetry.logs import set_up_logs
from keyferry.telemetry.phases import exemplar, observe, phase
from keyferry.telemetry.traces import CARRIED, Kind, carrier, extract, set_up_traces, span

__all__ = [
    "CARRIED",
    "Kind",
    "carrier",
    "exemplar",
    "extract",
    "observe",
    "phase",
    "set_up_logs",
    "set_up_traces",
    "span",
]
