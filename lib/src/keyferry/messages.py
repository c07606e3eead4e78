"""Requests and replies: our types on one side, the protobuf of ``proto/keyferry/v1/bus.proto`` on the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from keyferry.errors import KeyferryError, ProviderError, UntrustedMessage, from_failure
from keyferry.proto.keyferry.v1 import bus_pb2 as pb
from keyferry.resources import Content, File, ObjectVersion, Pod
from keyferry.sealing import Binding, OpeningKey, Recipient, Sealed, SigningKey
from keyferry.subjects import is_token

ASK, FILES, REPLY = "ask", "files", "reply"

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a node asks for on behalf of a pod. Travels sealed to the fetchers.

    Attributes:
        pod: Who mounts.
        secret_provider_class: Name of the class, in the pod's namespace.
        attributes: ``volumeAttributes`` as the pod's author wrote them.
        node_publish_secret: Data of ``nodePublishSecretRef``.
        tokens: Audience to service-account token.
        reply_to: The node's own key; only this node can open the answer.
        known_digest: Of the content the volume has, or empty.
        not_before_ms: Take no content fetched before this; 0 for the fetcher's own window.
    """

    pod: Pod
    secret_provider_class: str
    reply_to: Recipient
    attributes: Mapping[str, str] = field(default_factory=dict)
    node_publish_secret: Mapping[str, str] = field(default_factory=dict, repr=False)
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    known_digest: bytes = b""
    not_before_ms: int = 0

    def to_bytes(self) -> bytes:
        """The plaintext to seal."""
        message = pb.Ask(
            pod=pod_to(self.pod),
            secret_provider_class=self.secret_provider_class,
            attributes=self.attributes,
            node_publish_secret=self.node_publish_secret,
            tokens=self.tokens,
            reply_key_id=self.reply_to.key_id,
            reply_key=self.reply_to.raw,
            known_digest=self.known_digest,
            not_before_ms=self.not_before_ms,
        )
        return message.SerializeToString()

    @classmethod
    def from_bytes(cls, plaintext: bytes) -> Ask:
        """From an opened seal.

        Raises:
            UntrustedMessage: not an Ask.
        """
        message = parse(pb.Ask, plaintext)
        return cls(
            pod=pod_from(message.pod),
            secret_provider_class=message.secret_provider_class,
            reply_to=Recipient.from_bytes(message.reply_key_id, message.reply_key),
            attributes=dict(message.attributes),
            node_publish_secret=dict(message.node_publish_secret),
            tokens=dict(message.tokens),
            known_digest=message.known_digest,
            not_before_ms=message.not_before_ms,
        )


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """An Ask on its way: who asks is in the clear and bound into the seal."""

    request_id: str
    node: str
    volume_id: str
    ask: Sealed

    @classmethod
    def seal(cls, ask: Ask, *, to: Recipient, request_id: str, node: str, volume_id: str) -> FetchRequest:
        """Seal an Ask to the fetchers."""
        binding = Binding(ASK, request_id, node, volume_id)
        return cls(request_id, node, volume_id, to.seal(ask.to_bytes(), binding))

    def open(self, key: OpeningKey) -> Ask:
        """The Ask inside.

        Raises:
            UntrustedMessage: the seal does not hold for this request, node and volume.
        """
        return Ask.from_bytes(key.open(self.ask, self.binding(ASK)))

    def binding(self, purpose: str) -> Binding:
        """What a message about this request is bound to."""
        return Binding(purpose, self.request_id, self.node, self.volume_id)

    def to_bytes(self) -> bytes:
        """The payload."""
        message = pb.FetchRequest(
            request_id=self.request_id, node=self.node, volume_id=self.volume_id, ask=_sealed_to(self.ask)
        )
        return message.SerializeToString()

    @classmethod
    def from_bytes(cls, payload: bytes) -> FetchRequest:
        """From a payload.

        Raises:
            UntrustedMessage: not a FetchRequest.
        """
        message = parse(pb.FetchRequest, payload)
        if not is_token(message.request_id):
            raise UntrustedMessage("a FetchRequest has no usable request_id")
        return cls(message.request_id, message.node, message.volume_id, _sealed_from(message.ask))


def fetched_reply(request: FetchRequest, content: Content, *, to: Recipient, sign: SigningKey) -> bytes:
    """The payload that answers a request with a content, or, without files, with "what you have is current"."""
    fetched = pb.Fetched(
        provider=content.provider,
        content_key=content.content_key,
        digest=content.digest,
        fetched_at_ms=content.fetched_at_ms,
        versions=versions_to(content.versions),
        sources=content.sources,
        left_out=content.left_out,
        rotation_ms=content.rotation_ms,
        refresh_by_ms=content.refresh_by_ms,
        stale_since_ms=content.stale_since_ms,
    )
    if content.files is not None:
        files = pb.Files(files=[pb.File(path=f.path, mode=f.mode, contents=f.contents) for f in content.files])
        fetched.files.CopyFrom(_sealed_to(to.seal(files.SerializeToString(), request.binding(FILES))))
    return _signed(request, sign, fetched=fetched)


def failed_reply(request: FetchRequest, error: KeyferryError, *, provider: str, sign: SigningKey) -> bytes:
    """The payload that answers a request with a failure."""
    failed = pb.Failed(code=error.code, reason=error.reason, message=error.message, provider=provider)
    if error.retry_after is not None:
        failed.retry_after_seconds = error.retry_after
    return _signed(request, sign, failed=failed)


def _signed(
    request: FetchRequest, sign: SigningKey, *, fetched: pb.Fetched | None = None, failed: pb.Failed | None = None
) -> bytes:
    reply = pb.FetchReply(
        request_id=request.request_id, node=request.node, volume_id=request.volume_id, fetched=fetched, failed=failed
    )
    body = reply.SerializeToString()
    return pb.Signed(key_id=sign.key_id, body=body, signature=sign.sign(REPLY, body)).SerializeToString()


@dataclass(frozen=True, slots=True)
class SignedReply:
    """A reply as it came in: nothing in it may be believed before ``body``'s signature has been verified."""

    key_id: str
    body: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @classmethod
    def from_bytes(cls, payload: bytes) -> SignedReply:
        """From a payload.

        Raises:
            UntrustedMessage: not a signed message.
        """
        message = parse(pb.Signed, payload)
        return cls(message.key_id, message.body, message.signature)

    def content(self, request: FetchRequest, key: OpeningKey) -> Content:
        """The content, its files opened.

        Raises:
            KeyferryError: the failure that the fetcher answered with.
            UntrustedMessage: the reply is to another request, or its seal does not hold.
        """
        reply = parse(pb.FetchReply, self.body)
        if (reply.request_id, reply.node, reply.volume_id) != (request.request_id, request.node, request.volume_id):
            raise UntrustedMessage("a reply answers another request than the one its subject names")
        if reply.HasField("failed"):
            raise _failure(reply.failed)
        if not reply.HasField("fetched"):
            raise UntrustedMessage("a reply brings neither a content nor a failure")
        fetched = reply.fetched
        return Content(
            provider=fetched.provider,
            content_key=fetched.content_key,
            digest=fetched.digest,
            fetched_at_ms=fetched.fetched_at_ms,
            versions=versions_from(fetched.versions),
            files=_open_files(fetched, request, key),
            sources=tuple(fetched.sources),
            left_out=tuple(fetched.left_out),
            rotation_ms=fetched.rotation_ms if fetched.HasField("rotation_ms") else None,
            refresh_by_ms=fetched.refresh_by_ms,
            stale_since_ms=fetched.stale_since_ms,
        )


def _failure(failed: pb.Failed) -> KeyferryError:
    retry_after = failed.retry_after_seconds if failed.HasField("retry_after_seconds") else None
    error = from_failure(failed.code, failed.reason, failed.message, retry_after)
    if isinstance(error, UntrustedMessage):
        # A fetcher refused our request, and signed that. As an UntrustedMessage the bus would take this very reply for
        # a forged one and wait on for another.
        error = ProviderError(failed.message, code=failed.code, reason=failed.reason, retry_after=retry_after)
    error.provider = failed.provider
    return error


def _open_files(fetched: pb.Fetched, request: FetchRequest, key: OpeningKey) -> tuple[File, ...] | None:
    if not fetched.HasField("files"):
        return None
    files = parse(pb.Files, key.open(_sealed_from(fetched.files), request.binding(FILES)))
    return tuple(File(f.path, f.contents, f.mode) for f in files.files)


def pod_to(pod: Pod) -> pb.Pod:
    """For the wire."""
    return pb.Pod(namespace=pod.namespace, name=pod.name, uid=pod.uid, service_account=pod.service_account)


def pod_from(message: pb.Pod) -> Pod:
    """From the wire."""
    return Pod(message.namespace, message.name, message.uid, message.service_account)


def versions_to(versions: Iterable[ObjectVersion]) -> list[pb.ObjectVersion]:
    """For the wire."""
    return [pb.ObjectVersion(id=v.id, version=v.version) for v in versions]


def versions_from(versions: Iterable[pb.ObjectVersion]) -> tuple[ObjectVersion, ...]:
    """From the wire."""
    return tuple(ObjectVersion(v.id, v.version) for v in versions)


def _sealed_to(sealed: Sealed) -> pb.Sealed:
    return pb.Sealed(key_id=sealed.key_id, ciphertext=sealed.ciphertext)


def _sealed_from(message: pb.Sealed) -> Sealed:
    return Sealed(message.key_id, message.ciphertext)


def parse(kind: type[M], payload: bytes) -> M:
    """A protobuf message from foreign bytes.

    Raises:
        UntrustedMessage: not such a message.
    """
    try:
        return kind.FromString(payload)
    except DecodeError:
        raise UntrustedMessage(f"{len(payload)} bytes are no {kind.__name__}") from None
