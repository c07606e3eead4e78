"""A receiver of OTLP/HTTP traces, so that tests and the demo can look at the spans that services sent."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from keyferry.testing.serving import serving

_LARGEST_BODY = 64 * 1024 * 1024  # bytes; the receiver takes any batch


@dataclass(frozen=True)
class SpanEvent:
    """Something that happened within a span."""

    name: str
    time_ns: int
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class SpanLink:
    """Another span, often of another trace, that a span points to."""

    trace_id: str
    span_id: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Span:
    """A finished span; ids are lower-case hex, times nanoseconds since the epoch."""

    trace_id: str
    span_id: str
    parent_id: str
    """Empty for a root."""
    name: str
    service: str
    """`service.name` of the resource that sent it."""
    kind: str
    """`internal`, `server`, `client`, `producer`, `consumer` or `unspecified`."""
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any] = field(default_factory=dict)
    events: Sequence[SpanEvent] = ()
    status: str = "unset"
    """`unset`, `ok` or `error`."""
    status_message: str = ""
    links: Sequence[SpanLink] = ()

    @property
    def duration_ms(self) -> float:
        """Milliseconds from start to end."""
        return (self.end_ns - self.start_ns) / 1e6


@dataclass
class Otlp:
    """A running receiver."""

    url: str
    """What a service's OTEL_EXPORTER_OTLP_ENDPOINT is set to; traces go to `/v1/traces` below it."""
    spans: list[Span] = field(default_factory=list)
    """Everything received so far, in order of arrival."""
    bodies: list[bytes] = field(default_factory=list, repr=False)
    """The messages as they came, decompressed: what a search for leaked values goes through."""
    _arrival: asyncio.Condition = field(default_factory=asyncio.Condition, repr=False)

    async def trace(
        self, *names: str, where: Callable[[Sequence[Span]], bool] = bool, within: float = 10.0
    ) -> list[Span]:
        """Wait for a trace and return its spans by start time.

        Services send their spans at different times, so say what makes the trace complete.

        Args:
            names: Span names that must all be in it.
            where: What else must hold for all spans of the trace so far.
            within: Seconds to wait.

        Raises:
            TimeoutError: If no such trace came; lists the span names that did.
        """
        try:
            async with asyncio.timeout(within), self._arrival:
                return await self._arrival.wait_for(lambda: self._find(names, where))
        except TimeoutError:
            came = "\n".join(sorted({f"{span.service}: {span.name}" for span in self.spans}))
            wanted = ", ".join(names) or "what was asked for"
            raise TimeoutError(f"no trace with {wanted} within {within:g} s; spans that came:\n{came}") from None

    def _find(self, names: Iterable[str], where: Callable[[Sequence[Span]], bool]) -> list[Span]:
        for spans in self.traces().values():
            if {span.name for span in spans}.issuperset(names) and where(spans):
                return spans
        return []

    def traces(self) -> dict[str, list[Span]]:
        """All spans by trace id, in order of first arrival, each trace by start time."""
        by_id: dict[str, list[Span]] = {}
        for span in self.spans:
            by_id.setdefault(span.trace_id, []).append(span)
        return {trace_id: sorted(spans, key=lambda span: span.start_ns) for trace_id, spans in by_id.items()}

    async def receive(self, body: bytes) -> None:
        """Take one ExportTraceServiceRequest in protobuf.

        Raises:
            google.protobuf.message.DecodeError: If it is none.
        """
        spans = list(_spans(ExportTraceServiceRequest.FromString(body)))
        async with self._arrival:
            self.bodies.append(body)
            self.spans += spans
            self._arrival.notify_all()


@asynccontextmanager
async def otlp_receiver(*, port: int | None = None) -> AsyncIterator[Otlp]:
    """Receive traces in this event loop, as OTLP over HTTP in protobuf, gzipped or not."""
    app = web.Application(client_max_size=_LARGEST_BODY)
    otlp = Otlp("")

    async def export(request: web.Request) -> web.Response:
        await otlp.receive(await request.read())
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )

    app.router.add_post("/v1/traces", export)
    async with serving(app, port=port) as otlp.url:
        yield otlp


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource_spans in request.resource_spans:
        service = str(_attributes(resource_spans.resource.attributes).get("service.name", ""))
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield _span(span, service)


def _span(span: trace_pb2.Span, service: str) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        service=service,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        events=tuple(
            SpanEvent(event.name, event.time_unix_nano, _attributes(event.attributes)) for event in span.events
        ),
        status=trace_pb2.Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_").lower(),
        status_message=span.status.message,
        links=tuple(
            SpanLink(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes)) for link in span.links
        ),
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(_value(item) for item in value.array_value.values)
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, kind) if kind else None
