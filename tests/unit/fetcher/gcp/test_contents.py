import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.providers.gcp.contents import contents
from fetcher.providers.gcp.parameters import Wanted
from fetcher.providers.gcp.resources import Resource
from keyferry.errors import InvalidSecretProviderClass, KeyferryError, SecretNotFound

RESOURCE = Resource("projects/demo/secrets/db/versions/1", "secret", "")


def wanted(*, json_key: str = "", yaml_key: str = "", base64: bool = False) -> Wanted:
    return Wanted(RESOURCE, "file", None, json_key, yaml_key, base64)


@pytest.mark.parametrize("payload", [b"", b"text", b"\x00\xff", b'{"a": 1}\n'])
def test_without_a_key_the_file_is_what_google_keeps(payload: bytes) -> None:
    """Byte for byte."""
    assert contents(wanted(), payload) == payload


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b'{"k": "v"}', b"v"),
        (b'{"k": ""}', b""),
        (b'{"k": "one", "k": "two"}', b"two"),
        ('{"k": "é"}'.encode(), "é".encode()),
        (b'{"k": "\\ud83d\\ude00"}', "😀".encode()),
        (b'{"k": "\\ud83d"}', "�".encode()),
        (b'{"k": "\xff"}', "�".encode()),
    ],
)
def test_a_text_is_taken_out_of_json(payload: bytes, value: bytes) -> None:
    """As Go decodes it."""
    assert contents(wanted(json_key="k"), payload) == value


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b"k: v", b"v"),
        (b"k: 'v'", b"v"),
        (b'k: "1"', b"1"),
        (b"k: yes", b"yes"),
        (b"k: off", b"off"),
        (b"k: 1:30", b"1:30"),
        (b"k: =", b"="),
        (b"k: |\n  a\n  b\n", b"a\nb\n"),
        (b"k: !!str 1", b"1"),
        (b"a: &x v\nk: *x", b"v"),
        (b'{"k": "v"}', b"v"),
        (b"1: v\nk: w", b"w"),
    ],
)
def test_a_text_is_taken_out_of_yaml(payload: bytes, value: bytes) -> None:
    """What Go's reader takes for a text, which is not what YAML 1.1 does."""
    assert contents(wanted(yaml_key="k"), payload) == value


@pytest.mark.parametrize("value", ["1", "1.5", "true", "null", "[1]", '{"a": "b"}'])
def test_other_values_are_refused_in_upstreams_words(value: str) -> None:
    """In both languages."""
    for one, payload in ((wanted(json_key="k"), f'{{"k": {value}}}'), (wanted(yaml_key="k"), f"k: {value}")):
        with pytest.raises(InvalidSecretProviderClass, match="unsupported value type for key 'k'"):
            contents(one, payload.encode())


@pytest.mark.parametrize("value", ["0o17", "017", "1e3", ".inf", "2026-01-01", "1_000", "~", "", "TRUE", "+1"])
def test_what_go_takes_for_no_text_is_none(value: str) -> None:
    """Though PyYAML would say otherwise of some."""
    with pytest.raises(InvalidSecretProviderClass, match="unsupported value type"):
        contents(wanted(yaml_key="k"), f"k: {value}".encode())


@pytest.mark.parametrize("payload", [b"{}", b'{"K": "v"}', b"null"])
def test_a_missing_key_is_not_found_in_upstreams_words(payload: bytes) -> None:
    """Also where there is nothing at all."""
    with pytest.raises(SecretNotFound, match="key 'k' not found in JSON"):
        contents(wanted(json_key="k"), payload)
    with pytest.raises(SecretNotFound, match="key 'k' not found in YAML"):
        contents(wanted(yaml_key="k"), payload)


@pytest.mark.parametrize("payload", [b"horse: [", b"[1]", b'"k"', b"\x00", b"[" * 100_000, b"- " * 100_000, b"k: !x y"])
def test_what_is_no_mapping_is_refused_without_quoting_it(payload: bytes) -> None:
    """The parsers' own texts would."""
    for one, language in ((wanted(json_key="k"), "JSON"), (wanted(yaml_key="k"), "YAML")):
        with pytest.raises(InvalidSecretProviderClass, match=f"failed to unmarshal {language}") as refused:
            contents(one, payload)

        assert "horse" not in refused.value.message
        assert (refused.value.__cause__, refused.value.__context__) == (None, None)


@pytest.mark.parametrize(("payload", "value"), [(b"aG9yc2U=", b"horse"), (b"aG9y\nc2U=\n", b"horse"), (b"", b"")])
def test_base64_is_decoded_with_line_ends(payload: bytes, value: bytes) -> None:
    """As Go's decoder ignores them."""
    assert contents(wanted(base64=True), payload) == value


@pytest.mark.parametrize("payload", [b"horse!", b"aG9yc2U", b"aG9y c2U="])
def test_what_is_no_base64_is_refused(payload: bytes) -> None:
    """By its length, not by what it is."""
    with pytest.raises(InvalidSecretProviderClass, match="failed to decode base64 content") as refused:
        contents(wanted(base64=True), payload)

    assert payload.decode() not in refused.value.message
    assert (refused.value.__cause__, refused.value.__context__) == (None, None)


@given(st.binary(max_size=200), st.booleans())
def test_any_secret_is_read_or_refused(payload: bytes, base64: bool) -> None:
    """Whatever somebody put into it."""
    for one in (wanted(json_key="k", base64=base64), wanted(yaml_key="k", base64=base64), wanted(base64=base64)):
        try:
            found: object = contents(one, payload)
        except KeyferryError as error:
            found = error
        assert isinstance(found, bytes | KeyferryError)
