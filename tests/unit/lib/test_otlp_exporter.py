import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from keyferry.telemetry.otlp import OtlpExporter
from keyferry.testing.otlp import Otlp, otlp_receiver
from keyferry.testing.ports import free_port
from keyferry.testing.proxy import CountingProxy, counting_proxy


@pytest.fixture
async def otlp() -> AsyncIterator[Otlp]:
    async with otlp_receiver() as running:
        yield running


@pytest.fixture
async def proxy(otlp: Otlp) -> AsyncIterator[CountingProxy]:
    async with counting_proxy(otlp.url) as running:
        yield running


def span(name: str) -> ReadableSpan:
    provider = TracerProvider(resource=Resource({"service.name": "fetcher"}), shutdown_on_exit=False)
    made = provider.get_tracer("test").start_span(name)
    made.end()
    assert isinstance(made, ReadableSpan)
    return made


async def export(exporter: OtlpExporter, spans: Sequence[ReadableSpan]) -> SpanExportResult:
    return await asyncio.to_thread(exporter.export, spans)


def exporter(url: str, **environ: str) -> OtlpExporter:
    made = OtlpExporter.from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": url, **environ})
    assert made is not None
    return made


async def test_spans_arrive(otlp: Otlp) -> None:
    """A collector reads what we post, over one connection for many batches."""
    sender = exporter(otlp.url)

    assert await export(sender, [span("mount"), span("fetch")]) is SpanExportResult.SUCCESS
    assert await export(sender, [span("write")]) is SpanExportResult.SUCCESS
    sender.shutdown()

    assert [(one.service, one.name) for one in otlp.spans] == [
        ("fetcher", "mount"),
        ("fetcher", "fetch"),
        ("fetcher", "write"),
    ]


async def test_headers_go_along(proxy: CountingProxy) -> None:
    """Hosted collectors want a key in a header, URL-encoded in the variable as the specification says."""
    sender = exporter(proxy.url, OTEL_EXPORTER_OTLP_HEADERS="x-api-key=a%20b, x-other = c")

    await export(sender, [span("mount")])
    sender.shutdown()

    (call,) = proxy.calls
    assert (call.path, call.headers["x-api-key"], call.headers["x-other"]) == ("/v1/traces", "a b", "c")


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_collector_is_asked_again(proxy: CountingProxy, otlp: Otlp, status: int) -> None:
    """The retryable statuses of the OTLP specification cost no span."""
    sender = exporter(proxy.url)
    proxy.fail(status=status, times=2)

    assert await export(sender, [span("mount")]) is SpanExportResult.SUCCESS
    sender.shutdown()

    assert (proxy.count(), len(otlp.spans)) == (3, 1)


async def test_a_refusal_is_not_repeated(proxy: CountingProxy) -> None:
    """A collector that answers 400 will not take the same bytes later."""
    sender = exporter(proxy.url)
    proxy.fail(status=400)

    assert await export(sender, [span("mount")]) is SpanExportResult.FAILURE
    sender.shutdown()

    assert proxy.count() == 1


async def test_a_connection_that_breaks_is_made_anew(proxy: CountingProxy, otlp: Otlp) -> None:
    """A collector that was replaced costs no span."""
    sender = exporter(proxy.url)
    proxy.drop(times=1)

    assert await export(sender, [span("mount")]) is SpanExportResult.SUCCESS
    sender.shutdown()

    assert len(otlp.spans) == 1


async def test_a_collector_that_is_away_costs_spans_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is raised, and a day without a collector does not fill the log; its return is one more line."""
    port = free_port()
    sender = exporter(f"http://127.0.0.1:{port}")

    lost = [await export(sender, [span("mount")]) for _ in range(2)]
    async with otlp_receiver(port=port) as back:
        found = [await export(sender, [span("mount")]) for _ in range(2)]
        sender.shutdown()

    assert lost == [SpanExportResult.FAILURE] * 2
    assert (found, len(back.spans)) == ([SpanExportResult.SUCCESS] * 2, 2)
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
        (logging.WARNING, "trace export fails; spans are lost until it is back"),
        (logging.WARNING, "trace export goes on"),
    ]


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:notaport", "nonsense", "http://"])
async def test_an_endpoint_that_is_none_costs_spans_only(endpoint: str) -> None:
    """A typo in the collector's address must not stop a mount."""
    assert await export(exporter(endpoint), [span("mount")]) is SpanExportResult.FAILURE


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_tracing_is_off_without_an_endpoint(environ: dict[str, str]) -> None:
    """And when the standard variables switch it off."""
    assert OtlpExporter.from_environment(environ) is None


async def test_the_endpoint_for_traces_is_taken_as_it_is(proxy: CountingProxy) -> None:
    """OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is a whole URL, unlike the common one (OpenTelemetry specification)."""
    sender = exporter("http://127.0.0.1:1", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{proxy.url}/my/traces")
    proxy.fail(status=200)

    await export(sender, [span("mount")])
    sender.shutdown()

    assert [call.path for call in proxy.calls] == ["/my/traces"]
