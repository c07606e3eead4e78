from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyferry.events import RefreshFailed, VolumeEvent, VolumePublished, VolumeRefreshed, VolumeUnpublished
from keyferry.resources import Pod
from syncer.volumes import Volumes


def volume(name: str = "v", *, key: str = "k", class_: str = "db", pod: str = "web", **about: Any) -> VolumePublished:
    usual = {"target_path": "/t", "provider": "vault", "digest": b"d", "fetched_at_ms": 1, "versions": ()}
    return VolumePublished(
        volume_id=name,
        node="n",
        pod=Pod("shop", pod, f"uid-{pod}", "sa"),
        secret_provider_class=class_,
        content_key=key,
        **{**usual, **about},
    )


GONE = VolumeUnpublished("v", "n")


def test_a_volume_comes_and_goes() -> None:
    """Each change is told with what was before; the indices hold nothing that is gone."""
    volumes, one = Volumes(), volume()

    came = volumes.take(one, 1)
    found = (volumes.of_class(("shop", "db")), volumes.of_pod(("shop", "web")))
    went = volumes.take(GONE, 2)

    assert (came.before, came.after, found) == (None, one, ([one], [one]))
    assert (went.before, went.after, len(volumes)) == (one, None, 0)
    assert (volumes.of_class(("shop", "db")), volumes.classes_of_content(("shop", "k"))) == ([], set())


@pytest.mark.parametrize(
    "wrap", [lambda v: VolumeRefreshed(v, changed=True), lambda v: RefreshFailed(v, 1, "", "", "")]
)
def test_each_word_on_a_volume_says_all_of_it(wrap: Any) -> None:
    """A refresh moves it to another content in all indices."""
    volumes = Volumes()
    volumes.take(volume(), 1)

    volumes.take(wrap(volume(key="other")), 2)

    assert volumes.classes_of_content(("shop", "k")) == set()
    assert volumes.classes_of_content(("shop", "other")) == {("shop", "db")}


def test_an_older_word_changes_nothing() -> None:
    """Neither does one that is read again from the stream after the volume has ended."""
    volumes = Volumes()
    volumes.take(volume(key="new"), 5)
    late = volumes.take(volume(key="old"), 4)
    volumes.take(GONE, 6)
    dead = volumes.take(volume(key="old"), 4)

    assert (late.before, late.after, dead.before, dead.after, len(volumes)) == (None, None, None, None, 0)


def test_a_volume_that_ended_may_come_again() -> None:
    """Kubelet gives the same id when it mounts the same pod's volume anew."""
    volumes = Volumes()
    volumes.take(GONE, 6)

    assert volumes.take(volume(), 7).after == volume()


def test_the_most_recently_fetched_comes_first() -> None:
    """It is the one whose content is the newest."""
    volumes = Volumes()
    for name, fetched in (("a", 1), ("b", 3), ("c", 2)):
        volumes.take(volume(name, fetched_at_ms=fetched), 1)

    assert [each.volume_id for each in volumes.of_class(("shop", "db"))] == ["b", "c", "a"]


WORDS = st.lists(st.tuples(st.sampled_from(["v", "w"]), st.sampled_from(["k", "l", "gone"])), min_size=1, max_size=12)


@given(WORDS, st.randoms())
def test_the_order_in_which_words_come_does_not_matter(words: list[tuple[str, str]], chance: Any) -> None:
    """However they are shuffled and repeated, what is known in the end is what the stream says."""
    told: list[tuple[VolumeEvent, int]] = [
        (VolumeUnpublished(name, "n") if key == "gone" else volume(name, key=key), at)
        for at, (name, key) in enumerate(words, start=1)
    ]
    in_order, shuffled = Volumes(), Volumes()
    for event, at in told:
        in_order.take(event, at)
    mixed = told + told[:3]
    chance.shuffle(mixed)
    for event, at in mixed:
        shuffled.take(event, at)

    assert sorted(shuffled.all(), key=lambda each: each.volume_id) == sorted(
        in_order.all(), key=lambda each: each.volume_id
    )
    for key in ("k", "l"):
        assert shuffled.classes_of_content(("shop", key)) == in_order.classes_of_content(("shop", key))


def test_what_the_bus_has_forgotten_is_dropped() -> None:
    """By id; what was not known is no error."""
    volumes = Volumes()
    volumes.take(volume("a"), 1)
    volumes.take(replace(volume("b"), node="m"), 1)

    assert [each.volume_id for each in volumes.drop({"a", "x"})] == ["a"]
    assert volumes.ids() == {"b"}
