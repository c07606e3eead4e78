"""What nodes have told of their volumes, by volume and by class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from keyferry.events import RefreshFailed, VolumeEvent, VolumePublished, VolumeRefreshed, VolumeUnpublished

ClassName = tuple[str, str]
"""Namespace and name."""


class Volumes:
    """All volumes of the cluster as the bus knows them: some hundred bytes each."""

    def __init__(self) -> None:
        self._known: dict[str, VolumePublished] = {}
        self._of_class: dict[ClassName, set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._known)

    def take(self, event: VolumeEvent) -> VolumePublished | None:
        """Learn of an event.

        Returns:
            The volume before it; None where there was none. Events may come twice and, after a reconnection, late: what
            is older than what is known changes nothing.
        """
        if isinstance(event, VolumeUnpublished):
            return self._drop(event.volume_id)
        volume = event.volume if isinstance(event, VolumeRefreshed | RefreshFailed) else event
        before = self._known.get(volume.volume_id)
        if before is not None and before.fetched_at_ms > volume.fetched_at_ms:
            return before
        self._drop(volume.volume_id)
        self._known[volume.volume_id] = volume
        self._of_class[class_of(volume)].add(volume.volume_id)
        return before

    def keep_only(self, volume_ids: Iterable[str]) -> list[VolumePublished]:
        """Drop all others, of which the bus has forgotten: their nodes are lost. Gives those dropped."""
        gone = self._known.keys() - set(volume_ids)
        return [volume for volume in (self._drop(volume_id) for volume_id in gone) if volume]

    def get(self, volume_id: str) -> VolumePublished | None:
        """One of them."""
        return self._known.get(volume_id)

    def of_class(self, name: ClassName) -> list[VolumePublished]:
        """Those that mount a class, the most recently fetched first."""
        found = (self._known[volume_id] for volume_id in self._of_class.get(name, ()))
        return sorted(found, key=lambda volume: (-volume.fetched_at_ms, volume.volume_id))

    def of_pod(self, uid: str) -> list[VolumePublished]:
        """Those of a pod."""
        return [volume for volume in self._known.values() if volume.pod.uid == uid]

    def classes(self) -> list[ClassName]:
        """All that are mounted."""
        return list(self._of_class)

    def _drop(self, volume_id: str) -> VolumePublished | None:
        volume = self._known.pop(volume_id, None)
        if volume is not None:
            name = class_of(volume)
            self._of_class[name].discard(volume_id)
            if not self._of_class[name]:
                del self._of_class[name]
        return volume


def class_of(volume: VolumePublished) -> ClassName:
    """Namespace and name of the class that a volume mounts."""
    return volume.pod.namespace, volume.secret_provider_class
