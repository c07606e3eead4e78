import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator, Sequence

import aiohttp
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from keyferry.testing.otlp import Otlp, Span, otlp_receiver


class Service:
    """An instrumented service that keeps its finished spans until the test sends them."""

    def __init__(self, name: str) -> None:
        self._spans = InMemorySpanExporter()
        self._provider = TracerProvider(resource=Resource({"service.name": name}), shutdown_on_exit=False)
        self._provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.tracer = self._provider.get_tracer("test")

    def finished(self) -> Sequence[ReadableSpan]:
        """Return the spans that ended since the last call."""
        spans = self._spans.get_finished_spans()
        self._spans.clear()
        return spans

    def shutdown(self) -> None:
        """Flush and stop."""
        self._provider.shutdown()


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service("node-driver")
    yield running
    running.shutdown()


@pytest.fixture
async def otlp() -> AsyncIterator[Otlp]:
    async with otlp_receiver() as running:
        yield running


async def export(otlp: Otlp, spans: Sequence[ReadableSpan]) -> None:
    """Send spans as the OpenTelemetry exporter does: its encoder, gzip, POST."""
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
    body = gzip.compress(encode_spans(spans).SerializeToString())
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{otlp.url}/v1/traces", data=body, headers=headers) as response,
    ):
        assert response.status == 200


async def test_a_span_arrives_whole(otlp: Otlp, service: Service) -> None:
    """Names, times, kind, status, attributes, events and links survive the encoding."""
    with service.tracer.start_as_current_span("other") as other:
        pass
    span = service.tracer.start_span(
        "mount",
        kind=SpanKind.SERVER,
        start_time=1_000,
        attributes={"text": "a", "count": 3, "flag": True, "list": ["x", "y"]},
        links=[Link(other.get_span_context(), {"why": "batch"})],
    )
    span.add_event("sealed", {"bytes": 10}, timestamp=1_500)
    span.set_status(Status(StatusCode.ERROR, "no such secret"))
    span.end(end_time=2_001_000)
    service.finished()
    await export(otlp, [span])  # type: ignore[list-item]  # the SDK's spans are readable

    (got,) = otlp.spans

    context, linked = span.get_span_context(), other.get_span_context()
    assert (got.trace_id, got.span_id, got.parent_id) == (f"{context.trace_id:032x}", f"{context.span_id:016x}", "")
    assert (got.name, got.service, got.kind) == ("mount", "node-driver", "server")
    assert (got.start_ns, got.end_ns, got.duration_ms) == (1_000, 2_001_000, 2.0)
    assert got.attributes == {"text": "a", "count": 3, "flag": True, "list": ("x", "y")}
    assert [(event.name, event.time_ns, event.attributes) for event in got.events] == [("sealed", 1_500, {"bytes": 10})]
    assert (got.status, got.status_message) == ("error", "no such secret")
    assert [(link.trace_id, link.attributes) for link in got.links] == [(f"{linked.trace_id:032x}", {"why": "batch"})]


async def test_waiting_for_a_trace_takes_the_spans_of_all_services(otlp: Otlp, service: Service) -> None:
    """A trace is returned when its last part has come, ordered by start, without other traces' spans."""
    with service.tracer.start_as_current_span("unrelated"):
        pass
    with service.tracer.start_as_current_span("mount"), service.tracer.start_as_current_span("fetch"):
        pass
    unrelated, fetch, mount = service.finished()
    waiting = asyncio.ensure_future(otlp.trace("mount", "fetch"))

    await export(otlp, [unrelated, fetch])
    assert not waiting.done()
    await export(otlp, [mount])
    spans = await waiting

    assert [span.name for span in spans] == ["mount", "fetch"]
    assert spans[1].parent_id == spans[0].span_id


async def test_a_condition_selects_the_trace(otlp: Otlp, service: Service) -> None:
    """Of several traces with the same names the one that satisfies the condition is returned."""
    for pod in ("a", "b"):
        with service.tracer.start_as_current_span("mount", attributes={"pod": pod}):
            pass
    await export(otlp, service.finished())

    def of_pod_b(spans: Sequence[Span]) -> bool:
        return any(span.attributes.get("pod") == "b" for span in spans)

    (span,) = await otlp.trace("mount", where=of_pod_b)

    assert span.attributes == {"pod": "b"}
    assert len(otlp.traces()) == 2


async def test_a_trace_that_never_comes_is_reported_with_what_did(otlp: Otlp, service: Service) -> None:
    """The error lists the spans that came, which is usually enough to see what is missing."""
    with service.tracer.start_as_current_span("mount"):
        pass
    await export(otlp, service.finished())

    with pytest.raises(TimeoutError, match=r"no trace with fetch(?s:.*)node-driver: mount"):
        await otlp.trace("fetch", within=0.05)


async def test_the_bytes_are_kept_for_leak_searches(otlp: Otlp, service: Service) -> None:
    """A value in any attribute is found in the bodies."""
    with service.tracer.start_as_current_span("mount", attributes={"oops": "canary-7"}):
        pass
    await export(otlp, service.finished())

    assert any(b"canary-7" in body for body in otlp.bodies)
