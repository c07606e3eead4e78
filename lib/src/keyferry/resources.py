"""The nouns that all services share: pods, volumes, files and what is known of a content."""

from __future__ import annotations

from dataclasses import dataclass, field

DRIVER_NAME = "secrets-store.csi.k8s.io"
TOKEN_AUDIENCE = "keyferry"  # noqa: S105 - an audience, not a token
SYNCER_NODE = "keyferry-syncer"
"""In place of a node's name, where syncers ask for a service account that no pod speaks for."""
MAX_CONTENT_BYTES = 4 * 1024 * 1024
DEFAULT_FILE_MODE = 0o644


@dataclass(frozen=True, slots=True)
class Pod:
    """Who a volume is for, as kubelet tells it (CSIDriver ``podInfoOnMount``)."""

    namespace: str
    name: str
    uid: str
    service_account: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """Which version of a backend's object a volume holds; an id and a version, never a value."""

    id: str
    version: str


@dataclass(frozen=True, slots=True)
class File:
    """One file of a volume.

    Attributes:
        path: Relative, ``/`` as separator.
        contents: The secret itself; hidden from repr.
        mode: Permission bits, 0 to 0o777.
    """

    path: str
    contents: bytes = field(repr=False)
    mode: int = DEFAULT_FILE_MODE


@dataclass(frozen=True, slots=True)
class Content:
    """What a fetch yielded: the same for every pod that the backend would have given the same answer.

    Attributes:
        provider: Which backend, as the class names it.
        content_key: Keyed MAC over all that decides the answer; stands for the content in events and schedules.
        digest: Keyed MAC over paths, modes and contents; equal digests need no write.
        fetched_at_ms: When the backend was asked, Unix milliseconds; contents only move forward in this.
        versions: The objects and their versions.
        files: None when the receiver is known to have this digest already.
        sources: What change events call the objects, in each provider's own canonical form.
        left_out: Ids of ``optional`` objects that the backend does not have.
        rotation_ms: How often its class wants it asked for again; 0 never, None as often as the rotator is set to.
        refresh_by_ms: When it must be asked for again whatever the interval (a lease ends), Unix milliseconds; 0 never.
        stale_since_ms: When the backend first failed to confirm it, Unix milliseconds; 0 if the backend did.
    """

    provider: str
    content_key: str
    digest: bytes
    fetched_at_ms: int
    versions: tuple[ObjectVersion, ...]
    files: tuple[File, ...] | None
    sources: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    rotation_ms: int | None = None
    refresh_by_ms: int = 0
    stale_since_ms: int = 0


@dataclass(frozen=True, slots=True)
class SecretProviderClass:
    """A ``secretproviderclasses.secrets-store.csi.x-k8s.io`` object, as far as fetching needs it."""

    namespace: str
    name: str
    provider: str
    parameters: dict[str, str]
    annotations: dict[str, str]
    syncs: bool

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
