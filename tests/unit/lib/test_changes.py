import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyferry.changes import (
    BackendChanged,
    ChangeEvent,
    Due,
    EndContent,
    PodFinished,
    RefreshRequested,
    RefreshVolumes,
    change_event,
)
from keyferry.errors import UntrustedMessage
from keyferry.resources import Pod

words = st.text(max_size=20)
times = st.integers(0, 2**62)
lists = st.lists(words, max_size=3).map(tuple)
changes = (
    st.builds(BackendChanged, words, lists, times, words)
    | st.builds(RefreshRequested, words, words, times)
    | st.builds(PodFinished, st.builds(Pod, words, words, words, words))
)
hints = st.builds(
    RefreshVolumes, st.lists(st.builds(Due, words, times, lists, st.integers(0, 2**32 - 1)), max_size=3).map(tuple)
)


@given(changes)
def test_a_change_arrives_as_it_was(change: ChangeEvent) -> None:
    """What a source or the syncer tells, the rotator reads, field by field."""
    assert change_event(change.to_bytes()) == change


@given(hints)
def test_a_hint_arrives_as_it_was(hint: RefreshVolumes) -> None:
    """What the rotator hints, the node reads, field by field."""
    assert RefreshVolumes.from_bytes(hint.to_bytes()) == hint


@given(words, times)
def test_an_end_arrives_as_it_was(content_key: str, time: int) -> None:
    """What the rotator says has ended, the fetcher reads, field by field."""
    end = EndContent(content_key, time)

    assert EndContent.from_bytes(end.to_bytes()) == end


@given(st.binary(max_size=200))
@pytest.mark.parametrize("read", [change_event, RefreshVolumes.from_bytes, EndContent.from_bytes])
def test_garbage_is_untrusted_and_nothing_else(read: object, garbage: bytes) -> None:
    """Whatever bytes come in, they are a message or UntrustedMessage."""
    assert outcome(read, garbage) in {"read", "untrusted"}


def outcome(read: object, payload: bytes) -> str:
    try:
        read(payload)  # type: ignore[operator] # one of three functions
    except UntrustedMessage:
        return "untrusted"
    return "read"


def test_an_empty_change_is_refused() -> None:
    """Zero bytes are a valid protobuf message and say nothing."""
    with pytest.raises(UntrustedMessage, match="a change event says none of"):
        change_event(b"")
