"""PKCS#12 as Key Vault keeps it, and as nobody should."""

import base64
import contextlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from hypothesis import given
from hypothesis import strategies as st

from fetcher.providers.azure.der import DerError, iterations
from fetcher.providers.azure.pfx import PfxError, to_pem
from keyferry.testing.azure.certificates import issue

# Encrypted under an empty password, as Key Vault exports it (openssl pkcs12 -keypbe PBE-SHA1-3DES -iter 2000).
KEYVAULT = (Path(__file__).parent / "keyvault.pfx").read_bytes()

pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")


def test_a_file_of_key_vaults_becomes_key_and_chain() -> None:
    """The key in PKCS#8 first, which the driver's tls sync needs, then server, intermediate, root."""
    pem = to_pem(KEYVAULT, construct_chain=True)

    certificates = x509.load_pem_x509_certificates(pem)
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert load_pem_private_key(pem, None)
    assert [each.subject.rfc4514_string() for each in certificates] == ["CN=example.com", "CN=Intermediate", "CN=Root"]


@pytest.mark.parametrize("kind", ["RSA", "EC"])
def test_a_file_without_encryption_is_read(kind: str) -> None:
    """Whatever the kind of its key."""
    issued = issue(kind=kind)

    assert to_pem(base64.b64decode(issued.pfx(reverse=True)), construct_chain=True) == issued.pem().encode()


def test_a_key_or_a_certificate_alone_is_written() -> None:
    """Not every certificate in a vault has an exportable key."""
    issued = issue(kind="EC")
    alone = serialize_key_and_certificates(None, None, None, list(issued.chain), NoEncryption())
    bare = serialize_key_and_certificates(None, ed25519.Ed25519PrivateKey.generate(), None, None, NoEncryption())

    assert x509.load_pem_x509_certificates(to_pem(alone, construct_chain=True)) == list(issued.chain)
    assert to_pem(bare, construct_chain=True).count(b"-----BEGIN") == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"0", b"\x30\x80", b"x" * 100, KEYVAULT[:-1], KEYVAULT[1:], b"\x30\x03\x02\x01\x03"],
    ids=len,
)
def test_what_is_none_is_refused(data: bytes) -> None:
    """Without the library's words."""
    with pytest.raises(PfxError, match="is no PKCS#12 without a password") as refused:
        to_pem(data, construct_chain=True)

    assert (refused.value.__cause__, refused.value.__context__) == (None, None)


def test_a_file_with_a_password_is_refused() -> None:
    """Key Vault makes none."""
    issued = issue(kind="EC")
    locked = serialize_key_and_certificates(None, issued.key, issued.chain[0], None, BestAvailableEncryption(b"x"))

    with pytest.raises(PfxError, match="without a password"):
        to_pem(locked, construct_chain=True)


@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex("300b 3009 0401 00 0204 7fffffff"),  # salt and iterations, as PKCS#5 and PKCS#12 write them
        bytes.fromhex("3080 3009 0401 00 0204 7fffffff 0000"),  # of indefinite length
        bytes.fromhex("300d 040b 3009 0401 00 0204 7fffffff"),  # within a text, as safes are
        bytes.fromhex("3080 3080 2480 0401 00 0000 0204 7fffffff 0000 0000"),  # a salt in pieces
        bytes.fromhex("300b 3009 0401 00 0204 80000000"),  # below zero
        b"\x30\x82\xff\xff" + bytes(65_535),  # too large
        b"\x30\x83\x00\xc3\x50" + b"\x04\x00" * 25_000,  # too many pieces
    ],
    ids=len,
)
def test_what_would_cost_hours_is_refused_before_it_is_decrypted(data: bytes) -> None:
    """2^31 rounds of hashing are an hour of a core."""
    with pytest.raises(PfxError):
        to_pem(data, construct_chain=True)
    with contextlib.suppress(DerError):
        assert len(data) > 60_000 or sum(iterations(data)) > 200_000


def test_the_rounds_of_a_good_file_are_counted() -> None:
    """Of its certificates, its key and its checksum."""
    assert list(iterations(KEYVAULT)) == [2000, 2000, 2000]


def test_nesting_without_end_is_refused() -> None:
    """Neither recursion nor its cost may run away."""
    for data in (b"\x30\x80" * 30_000, b"\x24\x80" * 30_000, b"\x30\x80" * 20 + b"\x04\x00" * 20_000):
        with pytest.raises(DerError):
            list(iterations(data))


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing but PfxError may escape."""
    with contextlib.suppress(PfxError):
        to_pem(data, construct_chain=True)


@given(st.lists(st.tuples(st.integers(0, len(KEYVAULT) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_any_damage_is_survived(changes: list[tuple[int, int]]) -> None:
    """A good file with some bytes changed; what it still asks for is bounded."""
    data = bytearray(KEYVAULT)
    for at, value in changes:
        data[at] = value
    with contextlib.suppress(PfxError):
        to_pem(bytes(data), construct_chain=True)
