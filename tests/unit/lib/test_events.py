import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyferry.errors import UntrustedMessage
from keyferry.events import (
    RefreshFailed,
    VolumeEvent,
    VolumePublished,
    VolumeRefreshed,
    VolumeUnpublished,
    volume_event,
)
from keyferry.resources import ObjectVersion, Pod

words = st.text(max_size=20)
times = st.integers(0, 2**62)
published = st.builds(
    VolumePublished,
    volume_id=words,
    node=words,
    pod=st.builds(Pod, words, words, words, words),
    secret_provider_class=words,
    target_path=words,
    provider=words,
    content_key=words,
    digest=st.binary(max_size=32),
    fetched_at_ms=times,
    versions=st.lists(st.builds(ObjectVersion, words, words), max_size=3).map(tuple),
    sources=st.lists(words, max_size=3).map(tuple),
    left_out=st.lists(words, max_size=3).map(tuple),
    rotation_ms=st.none() | times,
    refresh_by_ms=times,
    stale_since_ms=times,
)
unpublished = st.builds(VolumeUnpublished, words, words)
refreshed = st.builds(VolumeRefreshed, published, st.booleans())
failed = st.builds(RefreshFailed, published, times, words, words, words)


@given(published | unpublished | refreshed | failed)
def test_an_event_arrives_as_it_was(event: VolumeEvent) -> None:
    """What a node tells of a volume rotator and syncer read, field by field."""
    assert volume_event(event.to_bytes()) == event


@given(st.binary(max_size=200))
def test_garbage_is_untrusted_and_nothing_else(garbage: bytes) -> None:
    """Whatever bytes come in, they are an event or UntrustedMessage."""
    assert parsed(garbage) in KINDS


KINDS = {"VolumePublished", "VolumeUnpublished", "VolumeRefreshed", "RefreshFailed", "UntrustedMessage"}


def parsed(payload: bytes) -> str:
    try:
        return type(volume_event(payload)).__name__
    except UntrustedMessage:
        return "UntrustedMessage"


def test_an_empty_event_is_refused() -> None:
    """Zero bytes are a valid protobuf message and say nothing."""
    with pytest.raises(UntrustedMessage, match="says none of published, unpublished"):
        volume_event(b"")
