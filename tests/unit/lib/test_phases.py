from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import Span
from prometheus_client import REGISTRY

from keyferry.telemetry import observe, phase


@pytest.fixture
def span() -> Iterator[Span]:
    """A span that is recorded."""
    with TracerProvider(shutdown_on_exit=False).get_tracer("test").start_as_current_span("mount") as running:
        yield running


def count(name: str) -> float:
    return REGISTRY.get_sample_value("keyferry_phase_seconds_count", {"phase": name}) or 0.0


def test_a_phase_is_counted() -> None:
    """Each block adds one to its histogram, also without a trace and when it raises."""
    with phase("test-counted"):
        pass
    with pytest.raises(KeyError), phase("test-counted"):
        raise KeyError

    assert count("test-counted") == 2


def test_a_phase_is_an_event_of_the_span(span: Span) -> None:
    """A trace shows phases with their duration without a span for each."""
    with phase("test-seal"):
        pass
    observe("test-queue", 0.25)

    assert isinstance(span, ReadableSpan)
    assert [event.name for event in span.events] == ["test-seal", "test-queue"]
    assert dict(span.events[1].attributes or {}) == {"duration_ms": 250.0}


def test_a_phase_leads_to_its_trace(span: Span) -> None:
    """The histogram's exemplar is the trace id: from a slow bucket on a dashboard to one slow mount."""
    observe("test-exemplar", 0.02)

    (bucket,) = [
        sample
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.labels.get("phase") == "test-exemplar" and sample.exemplar
    ]
    assert bucket.exemplar is not None
    assert bucket.exemplar.labels == {"trace_id": f"{span.get_span_context().trace_id:032x}"}
