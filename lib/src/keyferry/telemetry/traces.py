"""One trace from kubelet's call to the file write: few spans, phases as events on them.

Tracing is on when an OTLP endpoint is configured in the standard variables (``OTEL_EXPORTER_OTLP_ENDPOINT``,
``OTEL_TRACES_SAMPLER`` and the rest); without one, a span costs about a microsecond.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from keyferry.errors import KeyferryError, place
from keyferry.telemetry.otlp import OtlpExporter

Kind = SpanKind
_PROPAGATOR = TraceContextTextMapPropagator()
CARRIED = frozenset(_PROPAGATOR.fields)
_TRACER = trace.get_tracer("keyferry")
_BATCH = 64  # spans; encoding 512 holds the interpreter for 16 ms, which mounts would feel
_QUEUE = 512  # spans of some 3 KiB, while the collector is slow or away
_DELAY_MS = 1000


def set_up_traces(service: str, environ: Mapping[str, str], attributes: Mapping[str, str]) -> Callable[[], None]:
    """Start exporting spans, if the environment says where to.

    Args:
        service: ``service.name``, unless ``OTEL_SERVICE_NAME`` says otherwise.
        environ: The OpenTelemetry variables.
        attributes: Further resource attributes, such as the node's name.

    Returns:
        What flushes and stops the export.
    """
    exporter = OtlpExporter.from_environment(environ)
    if exporter is None:
        return lambda: None
    resource = Resource.create({"service.name": environ.get("OTEL_SERVICE_NAME", service), **attributes})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter, max_queue_size=_QUEUE, max_export_batch_size=_BATCH, schedule_delay_millis=_DELAY_MS
        )
    )
    trace.set_tracer_provider(provider)
    return provider.shutdown


class span:  # noqa: N801 - reads as a statement: with span("fetch", …):
    """A span around a piece of work; what goes wrong inside becomes its status, by reason, never by foreign text.

    A class, not a generator around OpenTelemetry's own: a mount pays for four of them.
    """

    __slots__ = ("_asked", "_span", "_token")

    def __init__(
        self, name: str, kind: Kind, attributes: Mapping[str, str | int] | None = None, *, parent: Context | None = None
    ) -> None:
        self._asked = (name, parent, kind, attributes)

    def __enter__(self) -> Span:
        self._span = _TRACER.start_span(*self._asked)
        self._token = attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        detach(self._token)
        if isinstance(error, KeyferryError):
            self._fail(error.reason, error.message)
        elif isinstance(error, Exception):
            self._fail(type(error).__name__, place(error))
        self._span.end()

    def _fail(self, kind: str, what: str) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(Status(StatusCode.ERROR, what))


def carrier() -> dict[str, str]:
    """Headers that carry the current trace (W3C Trace Context)."""
    headers: dict[str, str] = {}
    _PROPAGATOR.inject(headers)
    return headers


def extract(headers: Mapping[str, str] | None) -> Context:
    """The trace that headers carry."""
    return _PROPAGATOR.extract(headers or {})
