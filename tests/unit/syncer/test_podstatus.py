from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from keyferry.events import VolumePublished
from keyferry.resources import ObjectVersion, Pod
from syncer.podstatus import NODE_LABEL, bounded, manifest, names

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
NAME = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?){0,4}\Z").filter(
    lambda text: len(text) <= 253
)


def volume(
    name: str = "v", *, pod: str = "web", path: str = "/t", class_: str = "db", node: str = "n"
) -> VolumePublished:
    versions = (ObjectVersion("b", "2"), ObjectVersion("a", "1"))
    return VolumePublished(name, node, Pod("shop", pod, "uid", "sa"), class_, path, "vault", "k", b"d", 1, versions)


def test_the_name_is_upstreams() -> None:
    """Pod, namespace and class."""
    assert names([volume()]) == {"v": "web-shop-db"}


def test_the_same_class_twice_has_two_statuses() -> None:
    """The first by path has upstream's name, whatever the order in which they are told; the others have their own."""
    one, two, three = volume("1", path="/a"), volume("2", path="/b"), volume("3", path="/c")

    found = names([three, two, one])

    assert found == names([one, two, three])
    assert found["1"] == "web-shop-db"
    assert len(set(found.values())) == 3


def test_what_it_says() -> None:
    """Objects in the order of their ids, the pod as owner, the node as label, the Secrets as a note."""
    told = manifest("name", volume(), ["z", "a"])

    assert told["status"]["objects"] == [{"id": "a", "version": "1"}, {"id": "b", "version": "2"}]
    assert told["metadata"]["ownerReferences"] == [{"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "uid"}]
    assert told["metadata"]["labels"] == {NODE_LABEL: "n"}
    assert told["metadata"]["annotations"] == {"keyferry.io/secrets": "a,z"}


@given(NAME, NAME, NAME)
def test_names_and_labels_are_always_such(pod: str, class_: str, node: str) -> None:
    """However long the pod's, the class's and the node's names are, the API server takes the status."""
    both = [volume("1", pod=pod, class_=class_, path="/a"), volume("2", pod=pod, class_=class_, path="/b")]
    found = names(both)

    assert len(set(found.values())) == 2
    assert all(len(name) <= 253 and SUBDOMAIN.fullmatch(name) for name in found.values())
    assert LABEL.fullmatch(manifest("x", volume(node=node))["metadata"]["labels"][NODE_LABEL])


def test_what_is_cut_stays_apart() -> None:
    """Two long names that differ at their ends only are still two."""
    assert bounded("a" * 300 + "1", 253) != bounded("a" * 300 + "2", 253)
    assert len(bounded("a" * 300, 63)) == 63
