from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificates
from hypothesis import given
from hypothesis import strategies as st

from keyferry.testing.azure.certificates import Issued, issue
from syncer.tls import TlsError, part

PARAMETERS = b"-----BEGIN DH PARAMETERS-----\nMAYCAQUCAQI=\n-----END DH PARAMETERS-----\n"


@pytest.fixture(scope="module", params=["RSA", "EC"])
def issued(request: pytest.FixtureRequest) -> Issued:
    return issue(kind=request.param)


def test_a_chain_keeps_its_order(issued: Issued) -> None:
    """All certificates of the file, in the file's order, and nothing else."""
    found = part("tls.crt", issued.pem().encode())

    assert load_pem_x509_certificates(found) == list(issued.chain)
    assert b"PRIVATE" not in found


def test_the_key_is_written_in_its_traditional_form(issued: Issued) -> None:
    """RSA in PKCS#1, EC in SEC 1, as upstream writes them; whatever stands behind it in the file does not matter."""
    found = part("tls.key", issued.pem().encode() + PARAMETERS)

    assert found.startswith((b"-----BEGIN RSA PRIVATE KEY-----", b"-----BEGIN EC PRIVATE KEY-----"))
    again = load_pem_private_key(found, None)
    assert again.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()) == issued.key.private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
    )


def test_ed25519_keys_are_keys() -> None:
    """They have no traditional form, and stay PKCS#8."""
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    assert part("tls.key", pem) == pem


@pytest.mark.parametrize("key", ["tls.crt", "tls.key", "ca.crt"])
def test_pkcs12_without_a_password(issued: Issued, key: str) -> None:
    """In bytes or in base64, it gives what the same in PEM does."""
    encoded = issued.pfx().encode()

    assert part(key, base64.b64decode(encoded)) == part(key, encoded) == part(key, issued.pem().encode())


def test_an_authority_of_its_own(issued: Issued) -> None:
    """ca.crt takes any file with certificates."""
    root = issued.chain[-1].public_bytes(Encoding.PEM)

    assert part("ca.crt", root) == root


@pytest.mark.parametrize(
    ("key", "contents", "words"),
    [
        ("tls.crt", b"horse", r"is neither PEM nor PKCS#12 without a password \(5 bytes\)"),
        ("tls.key", b"\x00\x01\xff", "is neither PEM nor PKCS#12"),
        ("tls.crt", b"", "is neither PEM nor PKCS#12"),
        ("tls.crt", PARAMETERS, "has no CERTIFICATE block"),
        ("tls.key", PARAMETERS, "has no PRIVATE KEY block"),
        (
            "tls.crt",
            b"-----BEGIN CERTIFICATE-----\naG9yc2U=\n-----END CERTIFICATE-----\n",
            "has a CERTIFICATE block that is none",
        ),
        (
            "tls.key",
            b"-----BEGIN PRIVATE KEY-----\naG9yc2U=\n-----END PRIVATE KEY-----\n",
            "has a private key that cannot be read",
        ),
        ("tls.key", b"x" * 1_048_577, "1048577 bytes are no certificate"),
    ],
)
def test_what_is_not_there_is_told_by_its_shape(key: str, contents: bytes, words: str) -> None:
    """Where upstream writes an empty block, or quotes, this says what to do."""
    with pytest.raises(TlsError, match=words) as refused:
        part(key, contents)

    assert "horse" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_an_encrypted_key_is_told_as_such(issued: Issued) -> None:
    """There is nowhere a password could come from."""
    pem = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))

    with pytest.raises(TlsError, match="encrypted private key"):
        part("tls.key", pem)


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: f"-----BEGIN {text}-----\n{text}\n".encode()))
@pytest.mark.parametrize("key", ["tls.crt", "tls.key", "ca.crt"])
def test_garbage_is_refused_and_nothing_else(key: str, contents: bytes) -> None:
    """Whatever a backend holds, it is told and crashes nothing."""
    with pytest.raises(TlsError):
        part(key, contents)
