import re
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from keyferry.errors import UntrustedMessage
from keyferry.sealing import Binding, OpeningKey, Recipient, Sealed, SigningKey

KEY = OpeningKey.from_seed("fetcher-1", bytes(range(96)))
SIGNING = SigningKey("signing-1", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
BINDING = Binding(purpose="ask", request_id="r-1", node="node-1", volume_id="csi-1")
SEALED = KEY.recipient.seal(b"attack at dawn", BINDING)


@given(st.binary(max_size=5000))
def test_what_was_sealed_opens(plaintext: bytes) -> None:
    """The holder of the private key gets back what was sealed to the public one."""
    assert KEY.open(KEY.recipient.seal(plaintext, BINDING), BINDING) == plaintext


@pytest.mark.parametrize("field", ["purpose", "request_id", "node", "volume_id"])
def test_a_seal_opens_for_its_own_purpose_only(field: str) -> None:
    """A message that was recorded and sent again for another purpose, request, node or volume does not open."""
    with pytest.raises(UntrustedMessage, match="altered, replayed or sealed for somebody else"):
        KEY.open(SEALED, replace(BINDING, **{field: "other"}))


def test_the_key_id_is_bound() -> None:
    """The same key under another id does not open it: an id cannot be swapped on the way."""
    with pytest.raises(UntrustedMessage):
        OpeningKey.from_seed("fetcher-2", KEY.seed).open(SEALED, BINDING)


def test_fields_of_a_binding_do_not_run_into_each_other() -> None:
    """Moving characters from one field to its neighbour makes another binding."""
    sealed = KEY.recipient.seal(b"x", Binding("ask", "r-1", "node", "1csi"))

    with pytest.raises(UntrustedMessage):
        KEY.open(sealed, Binding("ask", "r-1", "node1", "csi"))


@given(st.integers(0, len(SEALED.ciphertext) * 8 - 1))
def test_one_flipped_bit_is_noticed(bit: int) -> None:
    """No bit of a ciphertext can be changed: not of either encapsulated key, the text or the tag."""
    altered = bytearray(SEALED.ciphertext)
    altered[bit // 8] ^= 1 << bit % 8

    with pytest.raises(UntrustedMessage):
        KEY.open(Sealed("fetcher-1", bytes(altered)), BINDING)


@given(st.integers(0, len(SEALED.ciphertext) - 1))
def test_a_truncated_ciphertext_is_refused(length: int) -> None:
    """Nothing shorter opens."""
    with pytest.raises(UntrustedMessage):
        KEY.open(Sealed("fetcher-1", SEALED.ciphertext[:length]), BINDING)


@given(st.binary(max_size=1300))
def test_garbage_is_refused(garbage: bytes) -> None:
    """Bytes that nobody sealed are UntrustedMessage, never another exception."""
    with pytest.raises(UntrustedMessage):
        KEY.open(Sealed("fetcher-1", garbage), BINDING)


def test_another_key_does_not_open() -> None:
    """A seal is for one key, also where ids collide."""
    with pytest.raises(UntrustedMessage):
        OpeningKey.generate("fetcher-1").open(SEALED, BINDING)


def test_equal_plaintexts_look_different() -> None:
    """Who records the bus cannot tell that a secret has not changed."""
    assert KEY.recipient.seal(b"same", BINDING).ciphertext != KEY.recipient.seal(b"same", BINDING).ciphertext


def test_a_seal_names_its_key() -> None:
    """The opener finds the key by the id."""
    assert KEY.recipient.seal(b"x", BINDING).key_id == "fetcher-1"


def test_keys_have_the_lengths_of_their_standards() -> None:
    """ML-KEM-768 and X25519: 1184 + 32 bytes public, 64 + 32 bytes of seed (FIPS 203, RFC 7748)."""
    key = OpeningKey.generate("new")

    assert (len(key.recipient.raw), len(key.seed)) == (1216, 96)


def test_a_key_is_the_same_after_storing_it() -> None:
    """Seed and public bytes are all there is to a key."""
    key = OpeningKey.generate("new")
    again, recipient = OpeningKey.from_seed("new", key.seed), Recipient.from_bytes("new", key.recipient.raw)

    assert again.open(recipient.seal(b"x", BINDING), BINDING) == b"x"


@pytest.mark.parametrize("raw", [b"", bytes(1215), bytes(1217), b"\xff" * 1216])
def test_what_is_no_public_key_is_refused(raw: bytes) -> None:
    """Wrong lengths and bytes that encode no ML-KEM key."""
    with pytest.raises(UntrustedMessage, match="public key 'node'"):
        Recipient.from_bytes("node", raw)


@pytest.mark.parametrize("length", [0, 95, 97])
def test_what_is_no_seed_is_refused(length: int) -> None:
    """Seeds have one length."""
    with pytest.raises(UntrustedMessage, match=f"has {length} bytes: 96"):
        OpeningKey.from_seed("fetcher-1", bytes(length))


def test_nothing_is_sealed_to_a_weak_key() -> None:
    """A node's key with an X25519 part of low order is refused, not a crash of the fetcher that answers it."""
    weak = Recipient.from_bytes("node", KEY.recipient.raw[:1184] + bytes(32))

    with pytest.raises(UntrustedMessage, match="weak X25519 key"):
        weak.seal(b"x", BINDING)


@given(st.text(max_size=20), st.binary(max_size=2000))
def test_a_signature_holds(purpose: str, body: bytes) -> None:
    """What was signed verifies with the public half."""
    SIGNING.verifier().verify(purpose, body, SIGNING.sign(purpose, body))


def test_a_signature_is_the_one_of_earlier_releases() -> None:
    """Ed25519 is deterministic (RFC 8032): releases side by side must sign the same bytes."""
    assert SIGNING.sign("reply", b"body").hex() == (
        "ca0ff2874158597010faa9eafea7a0af195cab8d6d7cd1904a958669949dc16f"
        "a5c8e2c21307128342aff450849e88103250078873ee429697f44326141f560f"
    )


@pytest.mark.parametrize(
    ("purpose", "body", "signature"),
    [
        ("files", b"body", SIGNING.sign("reply", b"body")),
        ("reply", b"Body", SIGNING.sign("reply", b"body")),
        ("reply", b"body", SigningKey.generate("signing-1").sign("reply", b"body")),
        ("reply", b"body", b""),
        ("reply", b"body", SIGNING.sign("reply", b"body")[:-1]),
        ("reply", b"body", bytes(64)),
    ],
)
def test_a_signature_of_something_else_is_refused(purpose: str, body: bytes, signature: bytes) -> None:
    """Another purpose, body or key, or no signature at all."""
    with pytest.raises(UntrustedMessage, match=f"a {purpose} is not signed by fetcher key 'signing-1'"):
        SIGNING.verifier().verify(purpose, body, signature)


@given(st.integers(0, 511))
def test_one_flipped_bit_of_a_signature_is_noticed(bit: int) -> None:
    """No bit of a signature can be changed."""
    altered = bytearray(SIGNING.sign("reply", b"body"))
    altered[bit // 8] ^= 1 << bit % 8

    with pytest.raises(UntrustedMessage):
        SIGNING.verifier().verify("reply", b"body", bytes(altered))


@pytest.mark.parametrize(
    "value", [KEY, KEY.recipient, SEALED, SIGNING, SIGNING.verifier()], ids=lambda v: type(v).__name__
)
def test_repr_shows_no_bytes(value: object) -> None:
    """What a log line or a traceback may show of a key or a seal is its id."""
    shown = repr(value)

    assert value.key_id in shown  # type: ignore[attr-defined]  # they all have one
    assert re.search(r"\bb'", shown) is None
    assert "object at" not in shown
