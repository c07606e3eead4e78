"""What may be shown of Vault's errors, and what an answer yields."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.providers.vault.answers import document, is_token_gone, login_failure, read_failure
from fetcher.providers.vault.contents import contents, version
from fetcher.providers.vault.objects import Call, Object
from fetcher.providers.vault.transport import Answer
from keyferry.errors import KeyferryError, RateLimited, SecretNotFound

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ"
GET = Call("GET", "secret/data/app")


def answer(status: int, body: Any, **headers: str) -> Answer:
    return Answer(status, headers, json.dumps(body).encode())


def reason(text: str, **args: Any) -> str:
    call = Call("PUT", "pki/issue/web", body=json.dumps(args).encode())
    failure = read_failure(answer(400, {"errors": [text]}), call, "doing")
    assert isinstance(failure, KeyferryError)
    return failure.message.partition("(400): ")[2]


def wanted(key: str, **fields: Any) -> Object:
    return Object(**{"name": "a", "path": "a", "call": GET, "key": key, "encoding": "utf-8", "mode": None, **fields})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 error occurred:\n\t* permission denied\n\n", "1 error occurred: * permission denied"),
        (f"bad token {JWT}!", "bad token …!"),
        (f"bad token {JWT.rpartition('.')[0]}", "bad token …"),
        ("token hvs.CAESIJ-x_y.z is unknown", "token … is unknown"),
        ("token s.1234567890abcdef is unknown", "token … is unknown"),
        ("dial postgres://root:hunter2@db:5432/x", "dial postgres…db:5432/x"),
        ("key " + "A1b2" * 10 + "==", "key …"),
        ("role at auth/kubernetes/role/app-role is unknown", "role at auth/kubernetes/role/app-role is unknown"),
        ("\x1b[31mred\x00", "[31mred"),
        ("", "it gives no reason"),
        ("word " * 100, ("word " * 40)),
    ],
)
def test_reasons_are_short_and_hold_nothing_secret(text: str, expected: str) -> None:
    """One line of Vault's words, without tokens, keys, URL passwords or control characters."""
    assert reason(text) == expected


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ({"password": "pass word"}, 'cannot use "pass word" here'),
        ({"password": 'quo"te'}, 'cannot use "quo\\"te" here'),
        ({"password": "two\nlines"}, "cannot use two\nlines here"),
        ({"deep": [{"er": ["treasure"]}]}, "cannot use treasure here"),
        ({"a": "pass", "b": "password"}, "cannot use password here"),
        ({"password": 'grün"x'}, 'cannot use "grün\\"x" here'),
        ({"password": 'grün"x'}, 'cannot use "gr\\u00fcn\\"x" here'),
        ({"pin": "123"}, "cannot use 123 here"),
        ({"pin": 123456}, "cannot use 123456 here"),
        ({"pins": [1.25]}, "cannot use 1.25 here"),
    ],
)
def test_what_was_sent_is_cut_out(args: dict[str, Any], text: str) -> None:
    """Vault likes to quote arguments in its errors."""
    shown = reason(text, **args)

    assert shown.replace('"', "") == "cannot use … here"


@given(st.text(st.characters(exclude_categories=["Cs", "Zs", "Cc"]), min_size=4), st.text(max_size=20))
def test_no_argument_of_four_characters_shows(secret: str, around: str) -> None:
    """Whatever stands around it, unless our own words hold it."""
    shown = reason(f"{around} {secret} {around}", secret=secret)

    assert secret not in shown.replace("it gives no reason", "")


def test_a_short_value_is_cut_out_of_no_other_word() -> None:
    """The reason stays readable."""
    assert reason("an answer at an end", word="an") == "… answer at … end"


@pytest.mark.parametrize("token", ["root", "hvs.abc", "x1", "a-token-that-somebody-chose"])
def test_the_token_is_cut_out(token: str) -> None:
    """Whatever it looks like: root tokens of test servers are words."""
    failure = read_failure(answer(400, {"errors": [f"token ({token}) is odd"]}), GET, "doing", token)

    assert str(failure) == "doing: Vault refuses it (400): token (…) is odd"


@pytest.mark.parametrize(
    ("call", "capability"),
    [
        (Call("GET", "secret/data/app"), "read"),
        (Call("PUT", "pki/issue/web"), "create and update"),
        (Call("GET", "secret/metadata/app/", "list=true"), "list"),
    ],
)
def test_the_capability_that_is_missing_is_named(call: Call, capability: str) -> None:
    """With the path that it is missing on."""
    failure = read_failure(answer(403, {"errors": ["1 error occurred"]}), call, "doing")

    assert str(failure).endswith(f"give a policy of this role {capability} on {call.path}")


@pytest.mark.parametrize(
    ("status", "errors", "expected"),
    [
        (403, ["permission denied"], True),
        (403, ["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"], True),
        (403, ["bad token"], True),
        (403, ["1 error occurred:\n\t* permission denied\n\n"], False),
        (403, [], False),
        (400, ["permission denied"], False),
    ],
)
def test_a_token_that_is_gone_is_told_from_one_that_may_not(status: int, errors: list[str], expected: bool) -> None:
    """As OpenBao 2.7 and Vault 1.13 say it, and as older ones did."""
    assert is_token_gone(answer(status, {"errors": errors})) is expected


def test_of_several_reasons_all_are_shown() -> None:
    """Vault's errors is a list; what is no text in it is left out."""
    failure = login_failure(answer(400, {"errors": ["one", 2, "three"]}), "doing", JWT)

    assert str(failure) == "doing: one three"


def test_retry_after_may_be_a_date() -> None:
    """RFC 9110 allows both forms."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)

    failure = read_failure(answer(429, {}, **{"retry-after": date}), GET, "doing")

    assert isinstance(failure, RateLimited)
    assert 50 < (failure.retry_after or 0) <= 60


@given(
    st.integers(300, 599),
    st.binary(max_size=50)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["errors", "data", "metadata", "warnings"]), inner)
        ),
    ).map(lambda value: json.dumps(value).encode()),
)
def test_any_error_has_a_meaning(status: int, body: bytes) -> None:
    """Whatever stands in the body, for reads and logins."""
    assert isinstance(read_failure(Answer(status, {}, body), GET, "doing"), KeyferryError)
    assert isinstance(login_failure(Answer(status, {}, body), "doing", JWT), KeyferryError)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"data":{"k":1.10}}', b"1.10"),
        (b'{"data":{"k":12345678901234567890}}', b"12345678901234567890"),
        (b'{"data":{"k":1e2}}', b"1e2"),
        (b'{"data":{"k":{"b":[1.10,1e999,{}],"a":"\xc3\xbc"}}}', b'{"a":"\xc3\xbc","b":[1.10,1e999,{}]}'),
        (b'{"data":{"k":"\\ud800x"}}', b"?x"),
        (b'{"data":{"data":{"k":"two"},"k":"one"}}', b"two"),
        (b'{"data":{"data":"text","k":"one"}}', b"one"),
    ],
)
def test_values_are_written_as_vault_has_them(raw: bytes, expected: bytes) -> None:
    """Numbers digit by digit; version 2's data only where it is a mapping."""
    assert contents(wanted("k"), document(Answer(200, {}, raw), "doing")) == expected


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ).map(lambda value: {"k": value})
)
def test_json_is_the_librarys_json(value: Any) -> None:
    """With sorted keys and without blanks."""
    expected = json.dumps({"data": value}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    assert contents(wanted(""), {"data": value}) == expected.encode()


@pytest.mark.parametrize("data", [None, {}, {"data": {}}, {"data": None, "metadata": {}}, [], "x"])
def test_a_key_that_is_not_there_is_told_in_upstreams_words(data: Any) -> None:
    """People grep for them."""
    with pytest.raises(SecretNotFound) as caught:
        contents(wanted("k"), {"data": data})

    assert caught.value.message == '{secret/data/app}: {key "k" does not exist at the secret path}'


def test_what_changes_with_every_read_is_left_out() -> None:
    """request_id, warnings and wrapping; what names a lease stays, for it is new with the data."""
    answered = {
        "request_id": "1",
        "lease_id": "db/creds/web/1",
        "lease_duration": 300,
        "renewable": True,
        "data": {"b": 1, "a": "x"},
        "wrap_info": None,
        "warnings": ["w"],
        "auth": None,
        "mount_type": "database",
    }

    assert contents(wanted(""), answered) == (
        b'{"data":{"a":"x","b":1},"lease_duration":300,"lease_id":"db/creds/web/1","renewable":true}'
    )


def test_a_login_of_the_class_itself_yields_its_token() -> None:
    """An endpoint whose answer is auth and not data, such as auth/token/create."""
    assert contents(wanted(""), {"data": None, "auth": {"client_token": "t"}}) == (
        b'{"auth":{"client_token":"t"},"data":null}'
    )


def test_an_answer_without_data_is_no_file() -> None:
    """An empty file would pass for a secret."""
    with pytest.raises(SecretNotFound, match="answers without data"):
        contents(wanted(""), {"data": None, "warnings": ["w"]})


@pytest.mark.parametrize(
    "data", [None, {}, {"metadata": None}, {"metadata": {"version": "1"}}, {"metadata": {"version": True}}, "x"]
)
def test_only_a_number_is_a_version(data: Any) -> None:
    """Of other engines and odd answers there is none."""
    assert version({"data": data}) is None
