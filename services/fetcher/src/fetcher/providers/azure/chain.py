"""Puts certificates into the order in which servers present them: server, intermediate, root."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from cryptography import x509


def ordered(certificates: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """The chain from the one that signs no other; the order as given where they do not make one single chain.

    A chain with a gap loses nothing by this: upstream would leave out what it cannot link.
    """
    parents = [_parent(child, certificates) for child in range(len(certificates))]
    leaves = [index for index in range(len(certificates)) if index not in parents]
    chain: list[int] = []
    at = leaves[0] if len(leaves) == 1 else None
    while at is not None and at not in chain:
        chain.append(at)
        at = parents[at]
    complete = len(chain) == len(certificates) and all(parents[child] == above for child, above in pairwise(chain))
    return [certificates[index] for index in chain] if complete else list(certificates)


def _parent(child: int, certificates: Sequence[x509.Certificate]) -> int | None:
    """Which of the others signed one, by key identifiers, or by name where it has none (RFC 5280, 4.2.1.1)."""
    one = certificates[child]
    wanted = _authority(one)
    for index, other in enumerate(certificates):
        has = _subject(other)
        matches = wanted == has if wanted and has else _named_by(one, other)
        if index != child and matches:
            return index
    return None


def _authority(certificate: x509.Certificate) -> bytes | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None


def _subject(certificate: x509.Certificate) -> bytes | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.key_identifier
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None


def _named_by(one: x509.Certificate, other: x509.Certificate) -> bool:
    try:
        return one.issuer == other.subject
    except ValueError:
        return False
