from collections.abc import Iterator
from dataclasses import replace

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from keyferry import telemetry
from keyferry.bus import Bus, Delivery
from keyferry.errors import AccessDenied
from keyferry.streams import MOUNTS

from .conftest import Admin, Node, answering, consuming


@pytest.fixture(scope="session")
def provider() -> TracerProvider:
    """The process has one provider, which can be set once: another test's is taken as well."""
    found = trace.get_tracer_provider()
    if not isinstance(found, TracerProvider):
        found = TracerProvider(shutdown_on_exit=False)
        trace.set_tracer_provider(found)
    return found


@pytest.fixture
def spans(provider: TracerProvider) -> Iterator[InMemorySpanExporter]:
    """The spans that end during a test."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield exporter
    exporter.shutdown()


def ended(spans: InMemorySpanExporter, name: str) -> ReadableSpan:
    (found,) = [span for span in spans.get_finished_spans() if span.name == name]
    return found


def ids(span: ReadableSpan) -> tuple[int, int, int]:
    """Of the trace, of the span itself and of its parent; 0 for none."""
    assert span.context is not None
    return span.context.trace_id, span.context.span_id, span.parent.span_id if span.parent else 0


async def test_a_trace_crosses_the_bus(bus: Bus, node: Node, admin: Admin, spans: InMemorySpanExporter) -> None:
    """The consumer's span is a child of the producer's, and what the handler does belongs to the same trace."""
    with telemetry.span("mount", telemetry.Kind.SERVER):
        async with consuming(bus, answering(bus)):
            await node.ask("r-1")
            await admin.settled()

    send, process = ended(spans, "send keyferry.fetch.mount"), ended(spans, "process keyferry.fetch.mount")
    trace_id, mount_id, _ = ids(ended(spans, "mount"))
    assert ids(send) == (trace_id, ids(send)[1], mount_id)
    assert ids(process) == (trace_id, ids(process)[1], ids(send)[1])
    assert (send.kind, process.kind) == (trace.SpanKind.PRODUCER, trace.SpanKind.CONSUMER)


async def test_spans_have_the_conventions_names(
    bus: Bus, node: Node, admin: Admin, spans: InMemorySpanExporter
) -> None:
    """OpenTelemetry's messaging attributes, with a template as destination: no node, volume or request id."""
    async with consuming(bus, answering(bus)):
        await node.ask("r-1")
        await admin.settled()

    process = ended(spans, "process keyferry.fetch.mount")
    assert dict(process.attributes or {}) == {
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.template": "keyferry.fetch.mount",
    }
    assert [event.name for event in process.events] == ["queue"]


async def test_failures_show_in_the_span(bus: Bus, admin: Admin, spans: InMemorySpanExporter) -> None:
    """Our errors by reason and text; a defect by type and place, without its text."""
    errors: list[Exception] = [AccessDenied("grant the role"), ValueError("canary-1")]

    async def fail(_: Delivery) -> None:
        if errors:
            raise errors.pop(0)

    async with consuming(bus, fail, concurrency=1):
        for payload in (b"1", b"2"):
            await admin.context.publish("keyferry.fetch.mount.n", payload)
            await admin.settled()

    refused, defect, again = [s for s in spans.get_finished_spans() if s.name == "process keyferry.fetch.mount"]
    assert (refused.attributes or {})["error.type"] == "AccessDenied"
    assert refused.status.description == "grant the role"
    assert (defect.attributes or {})["error.type"] == "ValueError"
    assert str(defect.status.description).startswith("ValueError at test_tracing.py:")
    assert again.status.is_ok
    assert "canary" not in "".join(span.to_json() for span in spans.get_finished_spans())


async def test_a_message_without_a_trace_begins_one(bus: Bus, admin: Admin, spans: InMemorySpanExporter) -> None:
    """Headers that carry no trace, or garbage in its place, are as good as none."""
    done: list[bytes] = []

    async def note(delivery: Delivery) -> None:
        done.append(delivery.payload)

    await admin.context.publish("keyferry.fetch.mount.n", b"1")
    await admin.context.publish("keyferry.fetch.mount.n", b"2", headers={"traceparent": "00-zz-\x07-01"})
    async with consuming(bus, note):
        await admin.settled()

    assert len(done) == 2
    processed = [span for span in spans.get_finished_spans() if span.name == "process keyferry.fetch.mount"]
    assert [span.parent for span in processed] == [None, None]


async def test_steps_of_no_chain_begin_no_traces(bus: Bus, admin: Admin, spans: InMemorySpanExporter) -> None:
    """Where a consumer says so, a message has a span only if it belongs to a trace already."""
    heard: list[bytes] = []

    async def note(delivery: Delivery) -> None:
        heard.append(delivery.payload)

    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await admin.context.publish("keyferry.fetch.mount.n", b"1")
    await admin.context.publish("keyferry.fetch.mount.n", b"2", headers={"Keyferry-Deadline": "99999999999999"})
    await admin.context.publish("keyferry.fetch.mount.n", b"3", headers={"traceparent": parent})
    async with consuming(bus, note, replace(MOUNTS, begins_traces=False)):
        await admin.settled()

    assert sorted(heard) == [b"1", b"2", b"3"]
    process = ended(spans, "process keyferry.fetch.mount")
    assert f"{ids(process)[0]:032x}" in parent
