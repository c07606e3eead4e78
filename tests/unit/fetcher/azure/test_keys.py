from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.providers.azure.keys import KeyMaterialError, certificate, public_key

FIELDS = ("kty", "crv", "n", "e", "x", "y")


def key(**fields: Any) -> Any:
    return SimpleNamespace(**{**dict.fromkeys(FIELDS), **fields})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kty": "RSA", "n": b"", "e": b"\x01\x00\x01"}, "its numbers make no public key"),
        ({"kty": "RSA-HSM", "n": b"\xff" * 3000, "e": b"\x03"}, "its numbers make no public key"),
        ({"kty": "RSA"}, "its numbers make no public key"),
        ({"kty": "EC", "crv": "P-256", "x": b"\x01", "y": b"\x01"}, "its numbers make no public key"),
        ({"kty": "EC", "crv": "P-192"}, "curve P-192 is not supported"),
        ({"kty": "EC"}, "curve None is not supported"),
        ({"kty": "oct"}, "key type 'oct' currently not supported"),
        ({"kty": "a\nb"}, r"key type '\?' currently not supported"),
    ],
)
def test_what_makes_no_key_is_refused(fields: dict[str, Any], words: str) -> None:
    """By type, curve or numbers, without quoting any."""
    with pytest.raises(KeyMaterialError, match=words):
        public_key(key(**fields))


@given(
    st.sampled_from(["RSA", "EC-HSM"]),
    st.sampled_from(["P-256", "P-521"]),
    st.fixed_dictionaries({name: st.none() | st.binary(max_size=80) for name in FIELDS[2:]}),
)
def test_any_numbers_are_a_key_or_refused(kty: str, crv: str, numbers: dict[str, bytes | None]) -> None:
    """Nothing but KeyMaterialError may escape."""
    try:
        pem = public_key(key(kty=kty, crv=crv, **numbers))
    except KeyMaterialError:
        pem = b"-----BEGIN PUBLIC KEY-----"
    assert pem.startswith(b"-----BEGIN PUBLIC KEY-----")


@pytest.mark.parametrize("der", [None, b"", b"\x30\x00", b"text"])
def test_what_is_no_certificate_is_refused(der: bytes | None) -> None:
    """It must not reach a file."""
    with pytest.raises(KeyMaterialError, match="it is no certificate"):
        certificate(der)
