"""What nodes tell of their volumes: events in the past tense, with no field that could hold a value or a token."""

from __future__ import annotations

from dataclasses import dataclass

from keyferry.errors import UntrustedMessage
from keyferry.messages import parse, pod_from, pod_to
from keyferry.proto.keyferry.v1 import bus_pb2 as pb
from keyferry.resources import ObjectVersion, Pod


@dataclass(frozen=True, slots=True)
class VolumePublished:
    """A volume has its content in place."""

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

    def to_bytes(self) -> bytes:
        """The payload."""
        published = pb.VolumePublished(
            volume_id=self.volume_id,
            node=self.node,
            pod=pod_to(self.pod),
            secret_provider_class=self.secret_provider_class,
            target_path=self.target_path,
            provider=self.provider,
            content_key=self.content_key,
            digest=self.digest,
            fetched_at_ms=self.fetched_at_ms,
            versions=[pb.ObjectVersion(id=v.id, version=v.version) for v in self.versions],
        )
        return pb.VolumeEvent(published=published).SerializeToString()


@dataclass(frozen=True, slots=True)
class VolumeUnpublished:
    """A volume is gone from its node."""

    volume_id: str
    node: str

    def to_bytes(self) -> bytes:
        """The payload."""
        unpublished = pb.VolumeUnpublished(volume_id=self.volume_id, node=self.node)
        return pb.VolumeEvent(unpublished=unpublished).SerializeToString()


def volume_event(payload: bytes) -> VolumePublished | VolumeUnpublished:
    """What a node told of a volume.

    Raises:
        UntrustedMessage: neither event.
    """
    event = parse(pb.VolumeEvent, payload)
    if event.HasField("unpublished"):
        return VolumeUnpublished(event.unpublished.volume_id, event.unpublished.node)
    if not event.HasField("published"):
        raise UntrustedMessage("a volume event says neither published nor unpublished")
    p = event.published
    return VolumePublished(
        volume_id=p.volume_id,
        node=p.node,
        pod=pod_from(p.pod),
        secret_provider_class=p.secret_provider_class,
        target_path=p.target_path,
        provider=p.provider,
        content_key=p.content_key,
        digest=p.digest,
        fetched_at_ms=p.fetched_at_ms,
        versions=tuple(ObjectVersion(v.id, v.version) for v in p.versions),
    )
