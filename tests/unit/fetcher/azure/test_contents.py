import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.providers.azure.contents import Value, contents, split
from fetcher.providers.azure.wanted import Object, Reference
from keyferry.errors import InvalidSecretProviderClass

REFERENCE = Reference("secret", "db")
PEM = b"-----BEGIN X-----\nAA\n-----END X-----\n"
CERTIFICATE = PEM.replace(b"X", b"CERTIFICATE")


def made(
    data: bytes, *, encoding: str = "", content_type: str | None = None, separate: bool = False
) -> dict[str, bytes]:
    each = Object("objects[0]", REFERENCE, 1, "db", pfx=False, encoding=encoding, mode=None)
    value = Value(data, "1", content_type)
    return dict(contents(each, REFERENCE, value, construct_chain=True, separate_files=separate))


def test_a_plain_secret_is_one_file() -> None:
    """Also where certificates are split."""
    assert made(b"horse", separate=True) == {"": b"horse"}


@pytest.mark.parametrize(
    ("encoding", "text", "data"),
    [
        ("hex", b"00FFab", b"\x00\xff\xab"),
        ("base64", b"AP+r", b"\x00\xff\xab"),
        ("base64", b"AP\r\n+r\n", b"\x00\xff\xab"),
    ],
)
def test_encodings_are_taken_off_as_go_does(encoding: str, text: bytes, data: bytes) -> None:
    """Go's base64 passes over line ends, its hex over the case of letters."""
    assert made(text, encoding=encoding) == {"": data}


@pytest.mark.parametrize(
    ("encoding", "text"), [("hex", b"0"), ("hex", b"0 1"), ("hex", b"00\n"), ("base64", b"AP-r"), ("base64", b"AP+")]
)
def test_what_is_not_encoded_so_is_refused(encoding: str, text: bytes) -> None:
    """By the field, with the size."""
    with pytest.raises(
        InvalidSecretProviderClass, match=rf"objects\[0\].objectEncoding is {encoding}.*{len(text)} bytes"
    ):
        made(text, encoding=encoding)


def test_pem_is_split_into_certificates_and_keys() -> None:
    """Whatever stands between the blocks is left out, as Go's decoder does."""
    text = b"Bag Attributes\n" + PEM + b"\n" + CERTIFICATE + b"noise\r\n" + CERTIFICATE.replace(b"\n", b"\r\n")

    assert made(text, content_type="application/x-pem-file", separate=True) == {
        "": text,
        ".crt": CERTIFICATE + CERTIFICATE.replace(b"\n", b"\r\n").rstrip() + b"\n",
        ".key": PEM,
    }


@given(st.lists(st.sampled_from([PEM, CERTIFICATE, b"x\n", PEM[:20], PEM[-12:], b"-----END X-----\n", b"\n"])))
def test_any_text_is_split(pieces: list[bytes]) -> None:
    """Into whole blocks alone."""
    for part in split(b"".join(pieces)):
        lines = part.splitlines()
        assert sum(line.startswith(b"-----BEGIN ") for line in lines) == sum(
            line.startswith(b"-----END ") for line in lines
        )
        assert not part or part.startswith(b"-----BEGIN ")


def test_splitting_takes_no_longer_for_hostile_text() -> None:
    """One pass over the lines: a megabyte of beginnings is no work."""
    assert split(b"-----BEGIN X-----\n" * 60_000) == (b"", b"")


def test_a_value_hides_its_data() -> None:
    """Logs and tracebacks show reprs."""
    text = repr(Value(b"canary", "1"))

    assert "canary" not in text
    assert base64.b64encode(b"canary").decode() not in text
