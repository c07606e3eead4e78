import json
from typing import Any

import pytest

from fetcher.providers.gcp.pool import Pool
from fetcher.providers.gcp.refusals import exchange
from fetcher.providers.gcp.rest import Answer
from keyferry.errors import AccessDenied, ProviderUnavailable, RateLimited

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"


def answer(status: int, document: Any, **headers: str) -> Answer:
    return Answer(status, headers, json.dumps(document).encode())


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (
            {"error": "invalid_grant", "error_description": "The audience is wrong."},
            "invalid_grant The audience is wrong.",
        ),
        ({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "No."}}, "PERMISSION_DENIED No."),
        ({"error": True}, "it gives no reason"),
        ({"error": "x", "error_description": f"Bad token {TOKEN}"}, "x Bad token …"),
        ({"error": "x", "error_description": "ya29.a0Af_secret-token and more"}, "x … and more"),
        ({"error": "x", "error_description": "k" * 50}, "x …"),
        ({"error": "x", "error_description": "a\nb\x00c"}, "x a bc"),
    ],
)
def test_googles_reason_is_told_without_what_was_sent(document: Any, told: str) -> None:
    """On one line, and nothing that looks like a token."""
    failure = exchange(answer(400, document), "exchanging", hidden=TOKEN)

    assert type(failure) is AccessDenied
    assert failure.message == f"unable to obtain auth for mount: exchanging: status 400: {told}"


def test_a_long_reason_is_cut() -> None:
    """It must fit into an Event."""
    failure = exchange(answer(400, {"error": "word " * 1000}), "exchanging", hidden=TOKEN)

    assert failure is not None
    assert len(failure.message) < 300


def test_a_good_answer_is_no_refusal() -> None:
    """Whatever it holds."""
    assert exchange(answer(200, {"access_token": "x"}), "exchanging", hidden=TOKEN) is None


@pytest.mark.parametrize(("given", "meant"), [("7", 7.0), ("0", 1.0), ("99999", 300.0), ("soon", 5.0), ("", 5.0)])
def test_throttling_says_when_to_come_back(given: str, meant: float) -> None:
    """Within bounds, and ours where Google gives no number."""
    failure = exchange(Answer(429, {"retry-after": given}, b""), "exchanging", hidden=TOKEN)

    assert isinstance(failure, RateLimited)
    assert failure.retry_after == meant


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_an_answer_that_is_not_googles_is_no_refusal_of_its(body: bytes) -> None:
    """A proxy, perhaps; trying again may help."""
    assert isinstance(exchange(Answer(403, {}, body), "exchanging", hidden=TOKEN), ProviderUnavailable)


def test_nothing_of_an_answer_shows() -> None:
    """It may hold a token."""
    assert "secret" not in repr(Answer(200, {"x": "secret"}, b"secret"))
    assert Pool("p", ("p",), "t", "https://e", is_gke=True).name == "p"
