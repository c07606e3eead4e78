"""What the driver knows of a volume whose content is in place."""

from __future__ import annotations

import os
from dataclasses import dataclass

from keyferry.errors import FailedToMount
from keyferry.resources import Content
from node_driver import mounts
from node_driver.records import Record
from node_driver.volume import Credentials, Volume


@dataclass
class Published:
    """A volume whose content is in place.

    Attributes:
        record: What is known of it, as on disk.
        volume: As kubelet last asked for it; None for an adopted volume until kubelet's next republish.
        credentials: The newest kubelet gave; None likewise.
        touched_at: When it was last asked for again, or its word repeated, Unix seconds.
    """

    record: Record
    volume: Volume | None
    credentials: Credentials | None
    touched_at: float = 0.0

    @property
    def in_place(self) -> bool:
        """Whether the content is where the record says: nobody has unmounted or emptied it behind our back."""
        target = self.record.target_path
        try:
            return mounts.is_tmpfs_mount(target) and os.path.lexists(f"{target}/..data")
        except FailedToMount:
            return False


def record_of(volume: Volume, content: Content) -> Record:
    """What is to be remembered of a volume that holds a content."""
    return Record(
        volume_id=volume.volume_id,
        target_path=volume.target_path,
        pod=volume.pod,
        secret_provider_class=volume.secret_provider_class,
        provider=content.provider,
        content_key=content.content_key,
        digest=content.digest,
        fetched_at_ms=content.fetched_at_ms,
        versions=content.versions,
        sources=content.sources,
        left_out=content.left_out,
        rotation_ms=content.rotation_ms,
        refresh_by_ms=content.refresh_by_ms,
        stale_since_ms=content.stale_since_ms,
    )
