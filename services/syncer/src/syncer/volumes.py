"""What nodes have told of their volumes, and what belongs together among them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from keyferry.events import RefreshFailed, VolumeEvent, VolumePublished, VolumeRefreshed, VolumeUnpublished

Name = tuple[str, str]
"""Namespace, and a name in it: a class's, a pod's, or a content key."""


class Volumes:
    """All volumes of the cluster as the bus knows them: some hundred bytes each."""

    def __init__(self) -> None:
        self._known: dict[str, VolumePublished] = {}
        self._of_class = _Index(class_of)
        self._of_pod = _Index(lambda volume: (volume.pod.namespace, volume.pod.name))
        self._of_content = _Index(lambda volume: (volume.pod.namespace, volume.content_key))

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
        for index in (self._of_class, self._of_pod, self._of_content):
            index.add(volume)
        return before

    def ids(self) -> set[str]:
        """Those of all volumes, as of now."""
        return set(self._known)

    def all(self) -> list[VolumePublished]:
        """All of them, as of now."""
        return list(self._known.values())

    def drop(self, volume_ids: Iterable[str]) -> list[VolumePublished]:
        """Forget some; gives those that were known."""
        return [volume for volume in map(self._drop, volume_ids) if volume]

    def get(self, volume_id: str) -> VolumePublished | None:
        """One of them."""
        return self._known.get(volume_id)

    def of_class(self, name: Name) -> list[VolumePublished]:
        """Those that mount a class, the most recently fetched first."""
        found = (self._known[volume_id] for volume_id in self._of_class.get(name))
        return sorted(found, key=lambda volume: (-volume.fetched_at_ms, volume.volume_id))

    def of_pod(self, name: Name) -> list[VolumePublished]:
        """Those of pods that have, or had, this name."""
        return [self._known[volume_id] for volume_id in self._of_pod.get(name)]

    def classes_of_content(self, name: Name) -> set[Name]:
        """The classes by which a content is mounted."""
        return {class_of(self._known[volume_id]) for volume_id in self._of_content.get(name)}

    def _drop(self, volume_id: str) -> VolumePublished | None:
        volume = self._known.pop(volume_id, None)
        if volume is not None:
            for index in (self._of_class, self._of_pod, self._of_content):
                index.discard(volume)
        return volume


class _Index:
    """Volume ids by something that volumes have in common."""

    def __init__(self, name_of: Callable[[VolumePublished], Name]) -> None:
        self._name_of = name_of
        self._ids: dict[Name, set[str]] = defaultdict(set)

    def get(self, name: Name) -> set[str]:
        return self._ids.get(name, set())

    def add(self, volume: VolumePublished) -> None:
        self._ids[self._name_of(volume)].add(volume.volume_id)

    def discard(self, volume: VolumePublished) -> None:
        name = self._name_of(volume)
        self._ids[name].discard(volume.volume_id)
        if not self._ids[name]:
            del self._ids[name]


def class_of(volume: VolumePublished) -> Name:
    """Namespace and name of the class that a volume mounts."""
    return volume.pod.namespace, volume.secret_provider_class
