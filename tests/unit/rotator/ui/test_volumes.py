from __future__ import annotations

from typing import Any

import pytest

from keyferry.bus import Stored
from keyferry.errors import UntrustedMessage
from keyferry.events import RefreshFailed, VolumePublished, VolumeUnpublished
from keyferry.resources import ObjectVersion, Pod
from keyferry.subjects import volume_subject
from rotator.ui.volumes import Word


def published(**about: Any) -> VolumePublished:
    plain: dict[str, Any] = {
        "volume_id": "csi-1",
        "node": "n1",
        "pod": Pod("shop", "web", "uid", "app"),
        "secret_provider_class": "db",
        "target_path": "/t",
        "provider": "vault",
        "content_key": "k",
        "digest": b"d",
        "fetched_at_ms": 5,
        "versions": (ObjectVersion("password", "7"),),
    }
    return VolumePublished(**plain | about)


def heard(payload: bytes, node: str = "n1") -> Word:
    return Word.heard(Stored(volume_subject(node, "csi-1"), payload, 9_000, 1))


def test_a_volume_is_what_its_node_told_last() -> None:
    """State, times, objects and what its refresh met."""
    met = RefreshFailed(published(), 1, "NOT_FOUND", "SecretNotFound", "not there")

    found = heard(met.to_bytes()).volume

    assert found is not None
    assert (found.name, found.namespace, found.pod, found.state) == ("n1 csi-1", "shop", "web", "failing")
    assert (found.told_ms, found.fetched_ms, found.objects) == (9, 5, (("password", "7"),))
    assert found.failure is not None
    assert found.failure.message == "not there"


def test_a_volume_that_is_gone_has_its_name_left() -> None:
    """By which it is taken out."""
    assert heard(VolumeUnpublished("csi-1", "n1").to_bytes()) == Word("n1 csi-1", None)


def test_no_node_speaks_for_another() -> None:
    """A word about a volume of another node than the subject's is refused."""
    with pytest.raises(UntrustedMessage):
        heard(published().to_bytes(), node="n2")


def test_a_node_cannot_fill_the_page() -> None:
    """Texts of a megabyte and thousands of objects are cut to what a person can read."""
    long = "x" * 1_000_000
    pod = Pod(long, long, "uid", "app")
    versions = tuple(ObjectVersion(long, long) for _ in range(50))
    about = published(pod=pod, versions=versions, provider=long, content_key=long, left_out=(long,) * 50)

    found = heard(RefreshFailed(about, 1, long, long, long).to_bytes()).volume

    assert found is not None
    assert len(repr(found)) < 20_000
    assert (len(found.objects), found.more_objects) == (20, 30)
