"""Strangers get so much and no more."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.sources.heard import Heard
from rotator.sources.keys import Keys, KeysError
from rotator.sources.limits import Bucket, Seen


@dataclass
class Clock:
    """Stands until it is turned."""

    at: float = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.at


@given(st.lists(st.floats(min_value=0, max_value=3), max_size=200))
def test_a_bucket_holds_its_rate(steps: list[float]) -> None:
    """Over any time no more is taken than the rate allows on top of one burst."""
    clock = Clock()
    bucket = Bucket(2.0, clock)
    taken = 0
    for step in steps:
        clock.at += step
        taken += bucket.take()
    assert taken <= 8 + 2 * sum(steps) + 1e-6


def test_a_bucket_fills_again() -> None:
    """Who waits is served."""
    clock = Clock()
    bucket = Bucket(1.0, clock)
    assert [bucket.take() for _ in range(6)] == [True] * 4 + [False] * 2
    clock.at += 1
    assert bucket.take()


@given(st.lists(st.integers(0, 50), max_size=200))
def test_ids_are_remembered_in_bounds(ids: list[int]) -> None:
    """The newest are known, and never more than the most are kept."""
    seen = Seen(60, 10, Clock())
    for each in ids:
        seen.add(str(each))
        assert str(each) in seen
        assert len(seen._until) <= 10


def test_ids_are_forgotten_in_time() -> None:
    """What can no longer be replayed is not kept."""
    clock = Clock()
    seen = Seen(60, 1000, clock)
    for number in range(100):
        seen.add(str(number))
    clock.at += 61
    assert "1" not in seen
    seen.add("new")
    assert len(seen._until) == 1


@pytest.mark.parametrize("text", ["", "\n\n", "short", "long-enough-for-a-key\nshort"])
def test_short_and_missing_keys_are_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """A key that can be guessed is none."""
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(text)
    with pytest.raises(KeysError):
        Keys(str(file)).load()


def test_keys_are_hidden() -> None:
    """No key is in a repr."""
    keys = Keys(given="test-only-canary-key")
    keys.current()
    assert "canary" not in repr(keys)


def test_a_file_that_goes_leaves_its_keys(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A file that cannot be read for a moment locks nobody out, and lets nobody else in."""
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text("test-only-key-number-one")
    keys = Keys(str(file))
    assert keys.holds("test-only-key-number-one")
    file.unlink()
    assert keys.holds("test-only-key-number-one")
    assert not keys.holds("")


def test_refusals_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """A flood of refusals is one line for each outcome."""
    heard = Heard("flooded")
    for _ in range(1000):
        heard.refuse("malformed", "it is no JSON")
    heard.refuse("unauthorized", "no key")
    assert len(caplog.records) == 2
