import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, use_span

from keyferry.errors import AccessDenied
from keyferry.telemetry.logs import JsonFormatter, redact

JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJrdWJlIn0.c2lnbmF0dXJl"
VAULT_TOKEN = "hvs.CAESIJ" + "x" * 30
PRIVATE_KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIabc\n-----END EC PRIVATE KEY-----"


def line(message: object, *args: object, exc_info: Any = None, **extra: object) -> dict[str, Any]:
    """What one call of a logger writes, parsed."""
    record = logging.getLogger("test").makeRecord(
        "test", logging.WARNING, "f.py", 1, message, args, exc_info, extra=extra
    )
    text = JsonFormatter("fetcher").format(record)
    assert "\n" not in text
    parsed: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return parsed


def test_a_line_says_when_who_and_what() -> None:
    """Time in UTC with milliseconds, level, service, logger, message and the extra fields as they are."""
    written = line("volume %s", "published", volume_id="csi-1", files=3, stale=False, node=None)

    assert written.pop("time").endswith("Z")
    assert written == {
        "level": "warning",
        "service": "fetcher",
        "logger": "test",
        "message": "volume published",
        "volume_id": "csi-1",
        "files": 3,
        "stale": False,
        "node": None,
    }


@given(st.text(), st.text() | st.floats() | st.integers() | st.binary() | st.lists(st.floats()))
def test_a_line_is_json_whatever_is_logged(message: str, value: object) -> None:
    """Line ends, quotes, NaN and bytes make no line that a log collector cannot read."""
    assert "value" in line("%s", message, value=value)


@given(st.integers(0xD800, 0xDFFF).map(chr))
def test_half_a_character_is_json_too(half: str) -> None:
    """A lone surrogate, as in a file name that is not UTF-8, can be written to standard error, which escapes it."""
    text = JsonFormatter("fetcher").format(logging.makeLogRecord({"msg": half}))

    assert json.loads(text.encode(errors="backslashreplace"))["message"]


def test_a_line_within_a_span_carries_its_ids() -> None:
    """Logs and traces find each other, in lower-case hex."""
    with use_span(NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False))):
        written = line("inside")

    assert (written["trace_id"], written["span_id"]) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    assert "trace_id" not in line("outside")


def test_ids_are_those_of_the_sdks_span() -> None:
    """With tracing on the ids are the current span's."""
    provider = TracerProvider(shutdown_on_exit=False)
    with provider.get_tracer("test").start_as_current_span("mount") as span:
        assert line("inside")["trace_id"] == f"{span.get_span_context().trace_id:032x}"


@pytest.mark.parametrize(
    "credential",
    [
        JWT,
        JWT.rpartition(".")[0] + ".",
        VAULT_TOKEN,
        "s.abcdefghijklmnopqrstuvwx",
        "hvb.AAAAAQ" + "y" * 30,
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAIOSFODNN7EXAMPLE",
        PRIVATE_KEY,
        PRIVATE_KEY[:40],
        "-----BEGIN PRIVATE KEY-----\nMHcCAQEEIabc",
    ],
)
def test_what_looks_like_a_credential_is_struck_out(credential: str) -> None:
    """In the message, its arguments, extra fields and the text of our own errors."""
    written = line(f"got {credential} %s", credential, detail=f"<{credential}>", error_text=AccessDenied(credential))
    told = line("x", exc_info=(AccessDenied, AccessDenied(f"not {credential}"), None))

    for shown in (json.dumps(written), json.dumps(told)):
        assert json.dumps(credential)[1:-1] not in shown
        assert "***" in shown


@pytest.mark.parametrize("text", ["volume csi-1 of pod shop/cart-0", "arn:aws:iam::1:role/x", "s.sh", "b.example.com"])
def test_other_text_stays(text: str) -> None:
    """Names, hosts and ids are what operators read logs for."""
    assert redact(text) == text


@pytest.mark.parametrize("name", ["token", "vault_token", "Password", "secret_value", "contents", "Authorization"])
def test_fields_with_secret_names_are_hidden(name: str) -> None:
    """Whatever their value looks like."""
    assert line("x", **{name: "plain-looking"})[name] == "***"


def test_secret_names_are_hidden_within_fields_too() -> None:
    """A dictionary or list of parameters is searched by its keys, at any depth."""
    written = line("x", request={"path": "kv/db", "auth": [{"password": "hunter2"}], "note": JWT})

    assert written["request"] == {"path": "kv/db", "auth": [{"password": "***"}], "note": "***"}


def test_an_exception_shows_type_and_place_only() -> None:
    """Its text may quote a secret: int("hunter2") does."""
    with pytest.raises(ValueError, match="hunter2") as raised:
        int("hunter2")

    for written in (line("x", exc_info=raised._excinfo), line("x", cause=raised.value)):
        assert "hunter2" not in json.dumps(written)
        assert "ValueError at test_logs.py" in json.dumps(written)


def test_our_own_errors_show_their_text() -> None:
    """It is written for people, and never quotes a value."""
    error = AccessDenied("grant the role secretsmanager:GetSecretValue")

    written = line("x", exc_info=(AccessDenied, error, None))

    assert written["error"] == "AccessDenied: grant the role secretsmanager:GetSecretValue"
