"""What nodes tell of their volumes: events in the past tense, with no field that could hold a value or a token."""

from __future__ import annotations

from dataclasses import dataclass

from keyferry.errors import UntrustedMessage
from keyferry.messages import parse, pod_from, pod_to, versions_from, versions_to
from keyferry.proto.keyferry.v1 import bus_pb2 as pb
from keyferry.resources import ObjectVersion, Pod


@dataclass(frozen=True, slots=True)
class VolumePublished:
    """A volume has its content in place.

    Attributes:
        volume_id: Kubelet's.
        node: Where it is.
        pod: Who mounts it.
        secret_provider_class: Name of the class, in the pod's namespace.
        target_path: Where it is mounted; told, never obeyed.
        provider: Which backend.
        content_key: Which content.
        digest: Keyed MAC over the files.
        fetched_at_ms: When the backend last confirmed them, Unix milliseconds.
        versions: The objects and their versions.
        sources, left_out, rotation_ms, refresh_by_ms, stale_since_ms: See `keyferry.resources.Content`.
    """

    volume_id: str
    node: str
    pod: Pod
    secret_provider_class: str
    target_path: str
    provider: str
    content_key: str
    digest: bytes
    fetched_at_ms: int
    versions: tuple[ObjectVersion, ...]
    sources: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    rotation_ms: int | None = None
    refresh_by_ms: int = 0
    stale_since_ms: int = 0

    def to_bytes(self) -> bytes:
        """The payload."""
        return pb.VolumeEvent(published=_volume_to(self)).SerializeToString()


@dataclass(frozen=True, slots=True)
class VolumeUnpublished:
    """A volume is gone from its node."""

    volume_id: str
    node: str

    def to_bytes(self) -> bytes:
        """The payload."""
        unpublished = pb.VolumeUnpublished(volume_id=self.volume_id, node=self.node)
        return pb.VolumeEvent(unpublished=unpublished).SerializeToString()


@dataclass(frozen=True, slots=True)
class VolumeRefreshed:
    """A volume was asked for again, and is as the backend has it.

    Attributes:
        volume: The volume as it now is; the stream forgets what was told of it before.
        changed: Whether its files were switched.
    """

    volume: VolumePublished
    changed: bool

    def to_bytes(self) -> bytes:
        """The payload."""
        refreshed = pb.VolumeRefreshed(volume=_volume_to(self.volume), changed=self.changed)
        return pb.VolumeEvent(refreshed=refreshed).SerializeToString()


@dataclass(frozen=True, slots=True)
class RefreshFailed:
    """A volume was asked for again in vain; it keeps what it has.

    Attributes:
        volume: The volume as it still is.
        asked_for_ms: The ``not_before_ms`` that could not be had.
        code: Canonical gRPC name.
        reason: CamelCase.
        message: What to fix, for people.
    """

    volume: VolumePublished
    asked_for_ms: int
    code: str
    reason: str
    message: str

    def to_bytes(self) -> bytes:
        """The payload."""
        failed = pb.RefreshFailed(
            volume=_volume_to(self.volume),
            asked_for_ms=self.asked_for_ms,
            code=self.code,
            reason=self.reason,
            message=self.message,
        )
        return pb.VolumeEvent(refresh_failed=failed).SerializeToString()


VolumeEvent = VolumePublished | VolumeUnpublished | VolumeRefreshed | RefreshFailed


def volume_event(payload: bytes) -> VolumeEvent:
    """What a node told of a volume.

    Raises:
        UntrustedMessage: none of the events.
    """
    event = parse(pb.VolumeEvent, payload)
    kind = event.WhichOneof("event")
    if kind == "published":
        return _volume_from(event.published)
    if kind == "unpublished":
        return VolumeUnpublished(event.unpublished.volume_id, event.unpublished.node)
    if kind == "refreshed":
        return VolumeRefreshed(_volume_from(event.refreshed.volume), event.refreshed.changed)
    if kind == "refresh_failed":
        failed = event.refresh_failed
        return RefreshFailed(
            _volume_from(failed.volume), failed.asked_for_ms, failed.code, failed.reason, failed.message
        )
    raise UntrustedMessage("a volume event says none of published, unpublished, refreshed and refresh_failed")


def _volume_to(volume: VolumePublished) -> pb.VolumePublished:
    return pb.VolumePublished(
        volume_id=volume.volume_id,
        node=volume.node,
        pod=pod_to(volume.pod),
        secret_provider_class=volume.secret_provider_class,
        target_path=volume.target_path,
        provider=volume.provider,
        content_key=volume.content_key,
        digest=volume.digest,
        fetched_at_ms=volume.fetched_at_ms,
        versions=versions_to(volume.versions),
        sources=volume.sources,
        left_out=volume.left_out,
        rotation_ms=volume.rotation_ms,
        refresh_by_ms=volume.refresh_by_ms,
        stale_since_ms=volume.stale_since_ms,
    )


def _volume_from(volume: pb.VolumePublished) -> VolumePublished:
    return VolumePublished(
        volume_id=volume.volume_id,
        node=volume.node,
        pod=pod_from(volume.pod),
        secret_provider_class=volume.secret_provider_class,
        target_path=volume.target_path,
        provider=volume.provider,
        content_key=volume.content_key,
        digest=volume.digest,
        fetched_at_ms=volume.fetched_at_ms,
        versions=versions_from(volume.versions),
        sources=tuple(volume.sources),
        left_out=tuple(volume.left_out),
        rotation_ms=volume.rotation_ms if volume.HasField("rotation_ms") else None,
        refresh_by_ms=volume.refresh_by_ms,
        stale_since_ms=volume.stale_since_ms,
    )
