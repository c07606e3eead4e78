"""A volume as the page keeps it: what nodes told of it, and no more of that than a person can read."""

from __future__ import annotations

from dataclasses import dataclass

from keyferry.bus import Stored
from keyferry.explain.words import Told, told
from rotator.words import volume_name

TEXT, MESSAGE, OBJECTS = 253, 1000, 20
"""Characters and entries that are kept: a node may be in foreign hands, and a message may have megabytes."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What the last refresh met."""

    code: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume; times in Unix milliseconds, 0 for never. None of it is trusted to be more than text.

    Attributes:
        name: Of its node and its id, as the schedule has it.
        state: ok, failing or stale.
        objects: Ids of the backend's objects with their versions.
        more_objects: How many more there are.
        told_ms: When the stream took the node's last word.
        fetched_ms: When the backend last confirmed what it holds.
        failure: What its last refresh met, if that failed.
    """

    name: str
    namespace: str
    pod: str
    class_name: str
    node: str
    provider: str
    state: str
    content_key: str
    told_ms: int
    fetched_ms: int
    stale_ms: int
    refresh_by_ms: int
    objects: tuple[tuple[str, str], ...]
    more_objects: int
    left_out: tuple[str, ...]
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Word:
    """A message of VOLUMES: which volume, and how it is; None if it is gone."""

    name: str
    volume: Volume | None

    @classmethod
    def heard(cls, stored: Stored) -> Word:
        """From the stream.

        Raises:
            UntrustedMessage: no such event, or one of a node about another's volume.
        """
        word = told(stored)
        if not isinstance(word, Told):
            return cls(_clip(volume_name(word.node, word.volume_id)), None)
        volume = _volume(word)
        return cls(volume.name, volume)


def _volume(word: Told) -> Volume:
    about, failed = word.volume, word.failure
    return Volume(
        name=_clip(volume_name(about.node, about.volume_id)),
        namespace=_clip(about.pod.namespace),
        pod=_clip(about.pod.name),
        class_name=_clip(about.secret_provider_class),
        node=_clip(about.node),
        provider=_clip(about.provider),
        state=word.state,
        content_key=_clip(about.content_key),
        told_ms=word.told_ms,
        fetched_ms=about.fetched_at_ms,
        stale_ms=about.stale_since_ms,
        refresh_by_ms=about.refresh_by_ms,
        objects=tuple((_clip(each.id), _clip(each.version)) for each in about.versions[:OBJECTS]),
        more_objects=max(0, len(about.versions) - OBJECTS),
        left_out=tuple(map(_clip, about.left_out[:OBJECTS])),
        failure=Failure(_clip(failed.code), _clip(failed.reason), _clip(failed.message, MESSAGE)) if failed else None,
    )


def _clip(text: str, most: int = TEXT) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
