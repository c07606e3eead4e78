import itertools
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from fetcher.providers.azure.chain import ordered
from keyferry.testing.azure.certificates import issue


def bare(subject: str, issuer: str) -> x509.Certificate:
    """A certificate without key identifiers."""
    key = ec.generate_private_key(ec.SECP256R1())
    start = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
        .sign(key, SHA256())
    )


def test_a_chain_in_any_order_is_put_in_order() -> None:
    """Server, intermediate, root."""
    chain = issue(kind="EC").chain

    for mixed in itertools.permutations(chain):
        assert ordered(mixed) == list(chain)


def test_names_link_what_has_no_identifiers() -> None:
    """Key identifiers are optional in a server's certificate."""
    chain = [bare("server", "middle"), bare("middle", "root"), bare("root", "root")]

    for mixed in itertools.permutations(chain):
        assert ordered(mixed) == chain


def test_a_chain_without_its_root_is_put_in_order() -> None:
    """Most have none."""
    leaf, intermediate, _ = issue(kind="EC").chain

    assert ordered([intermediate, leaf]) == [leaf, intermediate]


@pytest.mark.parametrize("count", [0, 1])
def test_one_or_none_is_in_order(count: int) -> None:
    """A certificate that signed itself is a server's."""
    alone = [bare("self", "self")] * count

    assert ordered(alone) == alone


def test_what_makes_no_single_chain_stays_as_it_is() -> None:
    """A gap, two servers, a circle, or one twice: nothing is left out."""
    one, two = issue(kind="EC").chain, issue(kind="EC").chain
    circle = [bare("a", "b"), bare("b", "a")]
    for given in (
        [one[2], one[0]],
        [one[1], one[0], two[0]],
        circle,
        [one[2], one[1], one[0], one[0]],
        [*circle, one[0]],
    ):
        assert ordered(given) == given
