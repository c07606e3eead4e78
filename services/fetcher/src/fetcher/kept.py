"""A content as fetchers keep it for each other: with what a provider needs to confirm, renew or revoke it later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fetcher.provider import Lease, Secret
from keyferry.messages import parse
from keyferry.proto.keyferry.v1 import bus_pb2 as pb
from keyferry.resources import DEFAULT_FILE_MODE, Content, File, ObjectVersion


@dataclass(frozen=True, slots=True)
class Kept:
    """A content and where it came from.

    Attributes:
        content: As a node gets it, but for what its own class says.
        secrets: Its files as the provider gave them, in the class's order.
        lease: What the files live by, if anything.
    """

    content: Content
    secrets: tuple[Secret, ...] = field(repr=False)
    lease: Lease | None = None

    @property
    def fetched_at_ms(self) -> int:
        """When the backend last confirmed it, Unix milliseconds."""
        return self.content.fetched_at_ms

    def by_object(self) -> Mapping[str, tuple[Secret, ...]]:
        """The files of each object, for `ProviderRequest.held`; without a lease none of those that lived by one."""
        found: dict[str, tuple[Secret, ...]] = {}
        for secret in self.secrets:
            if secret.is_leased and self.lease is None:
                continue
            found[secret.object_id] = (*found.get(secret.object_id, ()), secret)
        return found

    @property
    def is_mixed(self) -> bool:
        """Whether some of its files live by the lease and others do not; no older version told them apart."""
        return self.lease is not None and len({secret.is_leased for secret in self.secrets}) > 1

    @property
    def leased(self) -> Kept:
        """What lives by the lease alone."""
        return replace(self, secrets=tuple(secret for secret in self.secrets if secret.is_leased))

    def confirmed(self, fetched_at_ms: int, lease: Lease | None) -> Kept:
        """The same, still true at this time."""
        content = replace(self.content, fetched_at_ms=fetched_at_ms, refresh_by_ms=refresh_by_ms(lease))
        return Kept(content, self.secrets, lease)

    def to_bytes(self) -> bytes:
        """The plaintext to seal."""
        versions = {version.id: version.version for version in self.content.versions}
        held = pb.Held(
            provider=self.content.provider,
            content_key=self.content.content_key,
            digest=self.content.digest,
            fetched_at_ms=self.content.fetched_at_ms,
            files=[_file_to(secret, versions[secret.object_id]) for secret in self.secrets],
            left_out=self.content.left_out,
            lease=_lease_to(self.lease) if self.lease else None,
        )
        return held.SerializeToString()

    @classmethod
    def from_bytes(cls, plaintext: bytes) -> Kept:
        """From an opened box.

        Raises:
            UntrustedMessage: no such message.
        """
        held = parse(pb.Held, plaintext)
        lease = None
        if held.HasField("lease"):
            lease = Lease(held.lease.renew_at_ms / 1000, held.lease.expires_at_ms / 1000, held.lease.handle)
        return assemble(
            [_file_from(file) for file in held.files],
            {file.object_id: file.version for file in reversed(held.files)},
            Content(held.provider, held.content_key, held.digest, held.fetched_at_ms, (), None),
            left_out=held.left_out,
            lease=lease,
        )


def assemble(
    secrets: Sequence[Secret],
    versions: Mapping[str, str],
    about: Content,
    *,
    left_out: Sequence[str],
    lease: Lease | None,
) -> Kept:
    """A kept content from its files.

    Args:
        secrets: With their modes.
        versions: By object id.
        about: Provider, key, digest and time.
        left_out: Ids of optional objects that there are not.
        lease: What the files live by.
    """
    content = replace(
        about,
        versions=tuple(ObjectVersion(name, versions[name]) for name in sorted(versions)),
        files=tuple(File(s.path, s.contents, DEFAULT_FILE_MODE if s.mode is None else s.mode) for s in secrets),
        sources=tuple(sorted({s.source for s in secrets if s.source})),
        left_out=tuple(left_out),
        refresh_by_ms=refresh_by_ms(lease),
    )
    return Kept(content, tuple(secrets), lease)


def refresh_by_ms(lease: Lease | None) -> int:
    """When a content must be asked for again, Unix milliseconds; 0 if it lives by no lease."""
    return _ms(lease.renew_at) if lease else 0


def _lease_to(lease: Lease) -> pb.Lease:
    return pb.Lease(renew_at_ms=_ms(lease.renew_at), expires_at_ms=_ms(lease.expires_at), handle=lease.handle)


def _file_to(secret: Secret, version: str) -> pb.HeldFile:
    return pb.HeldFile(
        object_id=secret.object_id,
        version=version if secret.version is None else secret.version,
        versioned=secret.version is not None,
        source=secret.source,
        path=secret.path,
        mode=DEFAULT_FILE_MODE if secret.mode is None else secret.mode,
        contents=secret.contents,
        leased=secret.is_leased,
    )


def _file_from(file: pb.HeldFile) -> Secret:
    version = file.version if file.versioned else None
    return Secret(file.path, file.contents, file.object_id, version, file.mode, file.source, file.leased)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
