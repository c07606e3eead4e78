"""What the schedule is told, from what the bus brings: words on volumes, and changes."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from keyferry.changes import BackendChanged, RefreshRequested
from keyferry.errors import UntrustedMessage
from keyferry.events import (
    RefreshFailed,
    VolumeEvent,
    VolumePublished,
    VolumeRefreshed,
    VolumeUnpublished,
    volume_event,
)
from keyferry.subjects import volume_subject

MAX_AHEAD_MS = 2_000
"""How far a backend's clock is believed to be ahead of ours: what it says is not waited for longer."""
LEAST_INTERVAL_MS = 1_000
"""Whatever a node tells; it may be in foreign hands."""

_DEFAULT = -1  # the rotator's interval
# Another try helps only after somebody has changed something (`keyferry.errors`): the next interval is soon enough.
_HOPELESS = frozenset(
    {"INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "FAILED_PRECONDITION", "UNAUTHENTICATED", "UNIMPLEMENTED"}
)


@dataclass(frozen=True, slots=True)
class Word:
    """A node's word on a volume.

    Attributes:
        event: What it said.
        told_us: When the stream took it, Unix microseconds: which of two words is the later.
    """

    event: VolumeEvent
    told_us: int

    @classmethod
    def heard(cls, subject: str, payload: bytes, told_us: int) -> Word:
        """From a message.

        Raises:
            UntrustedMessage: no such event, or one about a volume of another node than the one that may write there.
        """
        event = volume_event(payload)
        about = event if isinstance(event, VolumePublished | VolumeUnpublished) else event.volume
        if subject != volume_subject(about.node, about.volume_id):
            raise UntrustedMessage("an event tells of another node's volume than its subject")
        return cls(event, told_us)

    @property
    def name(self) -> str:
        """What the schedule calls the volume: by its node as well, so that no node can speak for another's."""
        event = self.event
        about = event if isinstance(event, VolumePublished | VolumeUnpublished) else event.volume
        return volume_name(about.node, about.volume_id)

    def told(self) -> dict[str, Any]:
        """For ``lua/told.lua``."""
        event = self.event
        if isinstance(event, VolumeUnpublished):
            return {"kind": "unpublished", "volume": self.name, "at": self.told_us}
        if isinstance(event, VolumeRefreshed):
            return self._volume("refreshed", event.volume)
        if isinstance(event, RefreshFailed):
            hopeless = event.code in _HOPELESS
            return self._volume("failed", event.volume) | {"asked_for": event.asked_for_ms, "hopeless": hopeless}
        return self._volume("published", event)

    def _volume(self, kind: str, volume: VolumePublished) -> dict[str, Any]:
        return {
            "kind": kind,
            "volume": self.name,
            "at": self.told_us,
            "node": volume.node,
            "uid": volume.pod.uid,
            "namespace": volume.pod.namespace,
            "class": volume.secret_provider_class,
            "provider": _backend(volume.provider),
            "key": volume.content_key,
            "fetched": volume.fetched_at_ms,
            "interval": _interval(volume.rotation_ms),
            "refresh_by": volume.refresh_by_ms,
            "sources": sorted(set(volume.sources)),
        }


def _backend(provider: str) -> str:
    """Two providers' names may stand for one kind of backend, whose changes concern the classes of both."""
    return "vault" if provider == "openbao" else provider


def volume_name(node: str, volume_id: str) -> str:
    """A volume of a node, as the schedule calls it. No subject has a space, and so has no node that may speak."""
    return f"{node} {volume_id}"


def volume_id(name: str) -> str:
    """Kubelet's id in such a name."""
    return name.partition(" ")[2]


def _interval(rotation_ms: int | None) -> int:
    if rotation_ms is None:
        return _DEFAULT
    return max(LEAST_INTERVAL_MS, rotation_ms) if rotation_ms > 0 else 0


@dataclass(frozen=True, slots=True)
class Change:
    """Something that makes contents due at once.

    Attributes:
        sets: Which contents, by the names of the schedule's sets.
        recent: Under which names it is remembered for volumes that nobody has told of yet.
        event_id: The same id counts once; empty counts every time.
        changed_at_ms: When, by somebody else's clock.
        is_broad: Whether it concerns so much that the refreshes must be spread.
    """

    sets: tuple[str, ...]
    recent: tuple[str, ...] = ()
    event_id: str = ""
    changed_at_ms: int = 0
    is_broad: bool = False

    @classmethod
    def of(cls, event: BackendChanged | RefreshRequested) -> Change:
        """From an event."""
        if isinstance(event, RefreshRequested):
            name = f"{event.namespace}/{event.secret_provider_class}"
            return cls((f"classes:{name}",), (f"class:{name}",))
        backend = _backend(event.provider)
        names = tuple(f"{backend}/{source}" for source in event.sources) or (f"{backend}/",)
        sets = tuple(f"sources:{name}" for name in names) if event.sources else (f"provider:{backend}",)
        # Hashed: it comes from outside, of any length, and is kept for an hour.
        once = sha256(f"{event.provider}\n{event.event_id}".encode()).hexdigest()[:32] if event.event_id else ""
        return cls(sets, names, once, event.changed_at_ms, is_broad=not event.sources)

    def told(self, now_ms: int) -> dict[str, Any]:
        """For ``lua/changed.lua``. A fetch that began before we heard of it may have missed it, to the millisecond."""
        ask = max(now_ms + 1, min(self.changed_at_ms, now_ms + MAX_AHEAD_MS))
        return {"sets": list(self.sets), "recent": list(self.recent), "id": self.event_id, "ask": ask}
