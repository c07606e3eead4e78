import base64
import json
from dataclasses import replace
from urllib.parse import quote

import grpc
import pytest

from fetcher.provider import ProviderRequest
from fetcher.providers.plugin.faults import failed
from fetcher.providers.plugin.wording import strike
from keyferry.errors import from_failure
from keyferry.resources import Pod

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJjb25qdXIifQ.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
PASSWORD = 'pa"ss wörd/+&'
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAo\n-----END PRIVATE KEY-----\n"
REQUEST = ProviderRequest(
    parameters={"account": "acme-account", "akeylessAccessKey": "access-key-value"},
    pod=Pod("shop", "web-1", "uid-1", "web"),
    tokens={"conjur": TOKEN},
    node_publish_secret={"clientsecret": PASSWORD, "pin": "42", "key": PEM},
)


def told(text: str) -> str:
    return strike(text, REQUEST, longest=1024)


def test_a_status_keeps_its_code_and_words() -> None:
    """In the form that Go prints, which people grep events for."""
    error = failed("vault", grpc.StatusCode.PERMISSION_DENIED, "service account name not authorized", REQUEST)

    assert (
        error.message
        == 'provider "vault": rpc error: code = PermissionDenied desc = service account name not authorized'
    )
    assert (error.code, error.reason, error.retry_after) == ("PERMISSION_DENIED", "GRPCProviderError", None)


@pytest.mark.parametrize(
    ("status", "name"), [("CANCELLED", "Canceled"), ("UNKNOWN", "Unknown"), ("DEADLINE_EXCEEDED", "DeadlineExceeded")]
)
def test_codes_are_spelled_as_go_spells_them(status: str, name: str) -> None:
    """One differs by a letter."""
    assert f"code = {name} desc" in failed("x", grpc.StatusCode[status], "", REQUEST).message


@pytest.mark.parametrize("status", ["CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"])
def test_what_passes_is_left_to_kubelet(status: str) -> None:
    """Later than the fetcher would wait itself: the plugin has been asked several times by then."""
    retry_after = failed("x", grpc.StatusCode[status], "busy", REQUEST).retry_after

    assert retry_after is not None
    assert retry_after > 3.0


def test_an_answer_that_is_too_large_names_the_setting() -> None:
    """It would be as large the next time."""
    error = failed(
        "x",
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "CLIENT: Received message larger than max (5000000 vs. 4194304)",
        REQUEST,
    )

    assert "KEYFERRY_PLUGIN_MAX_MESSAGE" in error.message
    assert error.retry_after is None


@pytest.mark.parametrize("status", list(grpc.StatusCode))
def test_no_plugin_speaks_with_our_own_reasons(status: grpc.StatusCode) -> None:
    """Across the bus it stays what it was."""
    error = failed("x", status, "words", REQUEST)

    assert type(from_failure(error.code, error.reason, error.message, None)) is type(error)


@pytest.mark.parametrize(
    "secret",
    [
        TOKEN,
        TOKEN.rpartition(".")[2],
        TOKEN.rpartition(".")[0],
        PASSWORD,
        PEM,
        "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC",
        "access-key-value",
        json.dumps(PASSWORD),
        json.dumps(PASSWORD, ensure_ascii=False),
        json.dumps({"inner": json.dumps({"token": TOKEN})}),
        quote(PASSWORD, safe=""),
        base64.b64encode(PASSWORD.encode()).decode(),
        base64.urlsafe_b64encode(TOKEN.encode()).decode(),
        "hvs.CAESIAbcdefghijklmnopqrstuvwxyz",
        "AKIAIOSFODNN7EXAMPLE",
    ],
)
def test_secrets_are_struck_out(secret: str) -> None:
    """What was sent in whatever form, and what looks like a credential; the words around stay."""
    shown = told(f"login with {secret} failed")

    assert shown.startswith("login with ")
    assert shown.endswith(" failed")
    assert "***" in shown
    for canary in (TOKEN, TOKEN.rpartition(".")[2], PASSWORD, "wörd", "MIIE", "access-key", "hvs.", "AKIA", secret):
        assert canary not in shown


def test_short_values_are_struck_as_words() -> None:
    """Every 42 elsewhere stays."""
    assert told("pin 42 is wrong, error 4242") == "pin *** is wrong, error 4242"


def test_other_parameters_are_shown() -> None:
    """The class is no secret."""
    assert told("no account acme-account") == "no account acme-account"


def test_empty_values_strike_nothing() -> None:
    """They would strike everything."""
    request = replace(REQUEST, node_publish_secret={"empty": "", "blank": " \n"}, tokens={"none": ""}, parameters={})

    assert strike("a b c", request, longest=99) == "a b c"


def test_words_are_one_line_of_bounded_length() -> None:
    """Events and statuses hold no more, and a terminal obeys what is in them."""
    shown = strike("one\ntwo\x1b[31m\u202e" + "x" * 5000, REQUEST, longest=1024)

    assert shown.startswith("one two [31m x")
    assert len(shown) == 1024
    assert shown.endswith("…")


def test_a_secret_at_the_cut_is_struck_first() -> None:
    """No half of it stays."""
    shown = strike("x" * 1010 + TOKEN, REQUEST, longest=1024)

    assert shown == "x" * 1010 + "***"
