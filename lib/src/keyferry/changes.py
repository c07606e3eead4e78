"""What moves rotation: changes that were heard of, hints to nodes, and the end of a content."""

from __future__ import annotations

from dataclasses import dataclass

from keyferry.errors import UntrustedMessage
from keyferry.messages import parse, pod_from, pod_to
from keyferry.proto.keyferry.v1 import bus_pb2 as pb
from keyferry.resources import Pod


@dataclass(frozen=True, slots=True)
class BackendChanged:
    """A backend has new versions of some objects: a hint, from whoever it was heard.

    Attributes:
        provider: Which backend, as classes name it.
        sources: The objects, in the provider's canonical form (`fetcher.provider.Secret.source`); empty means all of
            them, as after a gap in the events.
        changed_at_ms: When, Unix milliseconds.
        event_id: The backend's own id of the event; the same event is acted upon once.
    """

    provider: str
    sources: tuple[str, ...]
    changed_at_ms: int
    event_id: str

    def to_bytes(self) -> bytes:
        """The payload."""
        changed = pb.BackendChanged(
            provider=self.provider, sources=self.sources, changed_at_ms=self.changed_at_ms, event_id=self.event_id
        )
        return pb.ChangeEvent(backend_changed=changed).SerializeToString()


@dataclass(frozen=True, slots=True)
class RefreshRequested:
    """Somebody annotated a class with ``keyferry.io/refresh-requested-at``."""

    namespace: str
    secret_provider_class: str
    requested_at_ms: int

    def to_bytes(self) -> bytes:
        """The payload."""
        requested = pb.RefreshRequested(
            namespace=self.namespace,
            secret_provider_class=self.secret_provider_class,
            requested_at_ms=self.requested_at_ms,
        )
        return pb.ChangeEvent(refresh_requested=requested).SerializeToString()


@dataclass(frozen=True, slots=True)
class PodFinished:
    """A pod has succeeded or failed: its volumes stay mounted until kubelet cleans up, and nobody reads them."""

    pod: Pod

    def to_bytes(self) -> bytes:
        """The payload."""
        return pb.ChangeEvent(pod_finished=pb.PodFinished(pod=pod_to(self.pod))).SerializeToString()


ChangeEvent = BackendChanged | RefreshRequested | PodFinished


def change_event(payload: bytes) -> ChangeEvent:
    """What changed.

    Raises:
        UntrustedMessage: none of the events.
    """
    event = parse(pb.ChangeEvent, payload)
    kind = event.WhichOneof("event")
    if kind == "backend_changed":
        changed = event.backend_changed
        return BackendChanged(changed.provider, tuple(changed.sources), changed.changed_at_ms, changed.event_id)
    if kind == "refresh_requested":
        wish = event.refresh_requested
        return RefreshRequested(wish.namespace, wish.secret_provider_class, wish.requested_at_ms)
    if kind == "pod_finished":
        return PodFinished(pod_from(event.pod_finished.pod))
    raise UntrustedMessage("a change event says none of backend_changed, refresh_requested and pod_finished")


@dataclass(frozen=True, slots=True)
class Due:
    """A content that volumes of a node shall ask for again.

    Attributes:
        content_key: Which.
        not_before_ms: Take nothing that was fetched before this, Unix milliseconds.
        volume_ids: Which volumes; empty for all of the node's with this content.
        spread_ms: Each of them waits for a random part of this first, so that mounts find gaps between many refreshes.
    """

    content_key: str
    not_before_ms: int
    volume_ids: tuple[str, ...] = ()
    spread_ms: int = 0


@dataclass(frozen=True, slots=True)
class RefreshVolumes:
    """The rotator's hint to one node. Losing it costs time, never correctness."""

    due: tuple[Due, ...]

    def to_bytes(self) -> bytes:
        """The payload."""
        due = [
            pb.Due(
                content_key=each.content_key,
                not_before_ms=each.not_before_ms,
                volume_ids=each.volume_ids,
                spread_ms=each.spread_ms,
            )
            for each in self.due
        ]
        return pb.RefreshVolumes(due=due).SerializeToString()

    @classmethod
    def from_bytes(cls, payload: bytes) -> RefreshVolumes:
        """From a payload.

        Raises:
            UntrustedMessage: no such message.
        """
        message = parse(pb.RefreshVolumes, payload)
        return cls(tuple(Due(d.content_key, d.not_before_ms, tuple(d.volume_ids), d.spread_ms) for d in message.due))


@dataclass(frozen=True, slots=True)
class EndContent:
    """The last volume with a content is gone: its lease shall be revoked, and what is kept of it forgotten.

    Attributes:
        content_key: Which.
        fetched_before_ms: A content that was fetched later is in use again, and stays.
    """

    content_key: str
    fetched_before_ms: int

    def to_bytes(self) -> bytes:
        """The payload."""
        return pb.EndContent(content_key=self.content_key, fetched_before_ms=self.fetched_before_ms).SerializeToString()

    @classmethod
    def from_bytes(cls, payload: bytes) -> EndContent:
        """From a payload.

        Raises:
            UntrustedMessage: no such message.
        """
        message = parse(pb.EndContent, payload)
        return cls(message.content_key, message.fetched_before_ms)
