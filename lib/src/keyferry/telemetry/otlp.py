"""Sends spans over OTLP/HTTP with the standard library's client.

OpenTelemetry's own HTTP exporter brings requests and urllib3, some 10 MiB that every node would pay for; the encoding
is OpenTelemetry's, only the POST is ours (docs/adr/0004).
"""

from __future__ import annotations

import http.client
import logging
import ssl
import time
from collections.abc import Mapping, Sequence
from urllib.parse import unquote, urlsplit

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

log = logging.getLogger(__name__)

_TIMEOUT = 10.0
_RETRYABLE = {429, 502, 503, 504}  # OTLP specification, "Retryable Response Codes"
_DELAYS = (0.2, 0.4)  # seconds before the second and third try


class OtlpExporter(SpanExporter):
    """Posts batches to a collector; a collector that is away costs spans, never a mount."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], certificate: str | None = None) -> None:
        self._url = urlsplit(endpoint)
        self._headers = {"Content-Type": "application/x-protobuf", **headers}
        self._certificate = certificate
        self._connection: http.client.HTTPConnection | None = None
        self._failing = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> OtlpExporter | None:
        """From OpenTelemetry's variables; None when they name no endpoint or switch tracing off."""
        base = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
        endpoint = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or (base and base.rstrip("/") + "/v1/traces")
        off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
        if not endpoint or off:
            return None
        pairs = (pair.partition("=") for pair in environ.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(",") if pair)
        headers = {name.strip(): unquote(value.strip()) for name, _, value in pairs}
        return cls(endpoint, headers, environ.get("OTEL_EXPORTER_OTLP_CERTIFICATE"))

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Post one batch (called by the batch processor's own thread)."""
        body = encode_spans(spans).SerializeToString()
        status = self._post(body)
        for delay in _DELAYS:
            if status is not None and status not in _RETRYABLE:
                break
            time.sleep(delay)
            status = self._post(body)
        good = status is not None and status < http.client.BAD_REQUEST
        if good == self._failing:
            self._failing = not good
            outcome = "goes on" if good else "fails; spans are lost until it is back"
            log.warning("trace export %s", outcome, extra={"endpoint": self._url.netloc, "status": status})
        return SpanExportResult.SUCCESS if good else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is kept back here."""
        return timeout_millis >= 0

    def _post(self, body: bytes) -> int | None:
        try:
            self._connection = self._connection or self._connect()
            self._connection.request("POST", self._url.path or "/", body, self._headers)
            response = self._connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException, ValueError):  # ValueError: the endpoint is no URL
            self.shutdown()
            return None
        return response.status

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "localhost", self._url.port
        if self._url.scheme == "https":
            context = ssl.create_default_context(cafile=self._certificate)
            return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT, context=context)
        return http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
