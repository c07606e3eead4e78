from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Sealed(_message.Message):
    __slots__ = ("key_id", "ciphertext")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    ciphertext: bytes
    def __init__(self, key_id: _Optional[str] = ..., ciphertext: _Optional[bytes] = ...) -> None: ...

class Signed(_message.Message):
    __slots__ = ("key_id", "body", "signature")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    body: bytes
    signature: bytes
    def __init__(self, key_id: _Optional[str] = ..., body: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Pod(_message.Message):
    __slots__ = ("namespace", "name", "uid", "service_account")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    uid: str
    service_account: str
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[str] = ..., service_account: _Optional[str] = ...) -> None: ...

class ObjectVersion(_message.Message):
    __slots__ = ("id", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    version: str
    def __init__(self, id: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class File(_message.Message):
    __slots__ = ("path", "mode", "contents")
    PATH_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    CONTENTS_FIELD_NUMBER: _ClassVar[int]
    path: str
    mode: int
    contents: bytes
    def __init__(self, path: _Optional[str] = ..., mode: _Optional[int] = ..., contents: _Optional[bytes] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("request_id", "node", "volume_id", "ask")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    ASK_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    node: str
    volume_id: str
    ask: Sealed
    def __init__(self, request_id: _Optional[str] = ..., node: _Optional[str] = ..., volume_id: _Optional[str] = ..., ask: _Optional[_Union[Sealed, _Mapping]] = ...) -> None: ...

class Ask(_message.Message):
    __slots__ = ("pod", "secret_provider_class", "attributes", "node_publish_secret", "tokens", "reply_key_id", "reply_key", "known_digest", "not_before_ms")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class NodePublishSecretEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class TokensEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    POD_FIELD_NUMBER: _ClassVar[int]
    SECRET_PROVIDER_CLASS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    NODE_PUBLISH_SECRET_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    REPLY_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    REPLY_KEY_FIELD_NUMBER: _ClassVar[int]
    KNOWN_DIGEST_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_MS_FIELD_NUMBER: _ClassVar[int]
    pod: Pod
    secret_provider_class: str
    attributes: _containers.ScalarMap[str, str]
    node_publish_secret: _containers.ScalarMap[str, str]
    tokens: _containers.ScalarMap[str, str]
    reply_key_id: str
    reply_key: bytes
    known_digest: bytes
    not_before_ms: int
    def __init__(self, pod: _Optional[_Union[Pod, _Mapping]] = ..., secret_provider_class: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ..., node_publish_secret: _Optional[_Mapping[str, str]] = ..., tokens: _Optional[_Mapping[str, str]] = ..., reply_key_id: _Optional[str] = ..., reply_key: _Optional[bytes] = ..., known_digest: _Optional[bytes] = ..., not_before_ms: _Optional[int] = ...) -> None: ...

class FetchReply(_message.Message):
    __slots__ = ("request_id", "node", "volume_id", "fetched", "failed")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    FETCHED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    node: str
    volume_id: str
    fetched: Fetched
    failed: Failed
    def __init__(self, request_id: _Optional[str] = ..., node: _Optional[str] = ..., volume_id: _Optional[str] = ..., fetched: _Optional[_Union[Fetched, _Mapping]] = ..., failed: _Optional[_Union[Failed, _Mapping]] = ...) -> None: ...

class Fetched(_message.Message):
    __slots__ = ("provider", "content_key", "digest", "fetched_at_ms", "versions", "files", "sources", "left_out", "rotation_ms", "refresh_by_ms", "stale_since_ms")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    CONTENT_KEY_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    FETCHED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    ROTATION_MS_FIELD_NUMBER: _ClassVar[int]
    REFRESH_BY_MS_FIELD_NUMBER: _ClassVar[int]
    STALE_SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    provider: str
    content_key: str
    digest: bytes
    fetched_at_ms: int
    versions: _containers.RepeatedCompositeFieldContainer[ObjectVersion]
    files: Sealed
    sources: _containers.RepeatedScalarFieldContainer[str]
    left_out: _containers.RepeatedScalarFieldContainer[str]
    rotation_ms: int
    refresh_by_ms: int
    stale_since_ms: int
    def __init__(self, provider: _Optional[str] = ..., content_key: _Optional[str] = ..., digest: _Optional[bytes] = ..., fetched_at_ms: _Optional[int] = ..., versions: _Optional[_Iterable[_Union[ObjectVersion, _Mapping]]] = ..., files: _Optional[_Union[Sealed, _Mapping]] = ..., sources: _Optional[_Iterable[str]] = ..., left_out: _Optional[_Iterable[str]] = ..., rotation_ms: _Optional[int] = ..., refresh_by_ms: _Optional[int] = ..., stale_since_ms: _Optional[int] = ...) -> None: ...

class Files(_message.Message):
    __slots__ = ("files",)
    FILES_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[File]
    def __init__(self, files: _Optional[_Iterable[_Union[File, _Mapping]]] = ...) -> None: ...

class Failed(_message.Message):
    __slots__ = ("code", "reason", "message", "retry_after_seconds", "provider")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    code: str
    reason: str
    message: str
    retry_after_seconds: float
    provider: str
    def __init__(self, code: _Optional[str] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., retry_after_seconds: _Optional[float] = ..., provider: _Optional[str] = ...) -> None: ...

class VolumeEvent(_message.Message):
    __slots__ = ("published", "unpublished", "refreshed", "refresh_failed")
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    UNPUBLISHED_FIELD_NUMBER: _ClassVar[int]
    REFRESHED_FIELD_NUMBER: _ClassVar[int]
    REFRESH_FAILED_FIELD_NUMBER: _ClassVar[int]
    published: VolumePublished
    unpublished: VolumeUnpublished
    refreshed: VolumeRefreshed
    refresh_failed: RefreshFailed
    def __init__(self, published: _Optional[_Union[VolumePublished, _Mapping]] = ..., unpublished: _Optional[_Union[VolumeUnpublished, _Mapping]] = ..., refreshed: _Optional[_Union[VolumeRefreshed, _Mapping]] = ..., refresh_failed: _Optional[_Union[RefreshFailed, _Mapping]] = ...) -> None: ...

class VolumePublished(_message.Message):
    __slots__ = ("volume_id", "node", "pod", "secret_provider_class", "target_path", "provider", "content_key", "digest", "fetched_at_ms", "versions", "sources", "left_out", "rotation_ms", "refresh_by_ms", "stale_since_ms")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    SECRET_PROVIDER_CLASS_FIELD_NUMBER: _ClassVar[int]
    TARGET_PATH_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    CONTENT_KEY_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    FETCHED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    ROTATION_MS_FIELD_NUMBER: _ClassVar[int]
    REFRESH_BY_MS_FIELD_NUMBER: _ClassVar[int]
    STALE_SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    volume_id: str
    node: str
    pod: Pod
    secret_provider_class: str
    target_path: str
    provider: str
    content_key: str
    digest: bytes
    fetched_at_ms: int
    versions: _containers.RepeatedCompositeFieldContainer[ObjectVersion]
    sources: _containers.RepeatedScalarFieldContainer[str]
    left_out: _containers.RepeatedScalarFieldContainer[str]
    rotation_ms: int
    refresh_by_ms: int
    stale_since_ms: int
    def __init__(self, volume_id: _Optional[str] = ..., node: _Optional[str] = ..., pod: _Optional[_Union[Pod, _Mapping]] = ..., secret_provider_class: _Optional[str] = ..., target_path: _Optional[str] = ..., provider: _Optional[str] = ..., content_key: _Optional[str] = ..., digest: _Optional[bytes] = ..., fetched_at_ms: _Optional[int] = ..., versions: _Optional[_Iterable[_Union[ObjectVersion, _Mapping]]] = ..., sources: _Optional[_Iterable[str]] = ..., left_out: _Optional[_Iterable[str]] = ..., rotation_ms: _Optional[int] = ..., refresh_by_ms: _Optional[int] = ..., stale_since_ms: _Optional[int] = ...) -> None: ...

class VolumeRefreshed(_message.Message):
    __slots__ = ("volume", "changed")
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    volume: VolumePublished
    changed: bool
    def __init__(self, volume: _Optional[_Union[VolumePublished, _Mapping]] = ..., changed: _Optional[bool] = ...) -> None: ...

class RefreshFailed(_message.Message):
    __slots__ = ("volume", "asked_for_ms", "code", "reason", "message")
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    ASKED_FOR_MS_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    volume: VolumePublished
    asked_for_ms: int
    code: str
    reason: str
    message: str
    def __init__(self, volume: _Optional[_Union[VolumePublished, _Mapping]] = ..., asked_for_ms: _Optional[int] = ..., code: _Optional[str] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class VolumeUnpublished(_message.Message):
    __slots__ = ("volume_id", "node")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    volume_id: str
    node: str
    def __init__(self, volume_id: _Optional[str] = ..., node: _Optional[str] = ...) -> None: ...

class RefreshVolumes(_message.Message):
    __slots__ = ("due",)
    DUE_FIELD_NUMBER: _ClassVar[int]
    due: _containers.RepeatedCompositeFieldContainer[Due]
    def __init__(self, due: _Optional[_Iterable[_Union[Due, _Mapping]]] = ...) -> None: ...

class Due(_message.Message):
    __slots__ = ("content_key", "not_before_ms", "volume_ids", "spread_ms")
    CONTENT_KEY_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_MS_FIELD_NUMBER: _ClassVar[int]
    VOLUME_IDS_FIELD_NUMBER: _ClassVar[int]
    SPREAD_MS_FIELD_NUMBER: _ClassVar[int]
    content_key: str
    not_before_ms: int
    volume_ids: _containers.RepeatedScalarFieldContainer[str]
    spread_ms: int
    def __init__(self, content_key: _Optional[str] = ..., not_before_ms: _Optional[int] = ..., volume_ids: _Optional[_Iterable[str]] = ..., spread_ms: _Optional[int] = ...) -> None: ...

class ChangeEvent(_message.Message):
    __slots__ = ("backend_changed", "refresh_requested", "pod_finished")
    BACKEND_CHANGED_FIELD_NUMBER: _ClassVar[int]
    REFRESH_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    POD_FINISHED_FIELD_NUMBER: _ClassVar[int]
    backend_changed: BackendChanged
    refresh_requested: RefreshRequested
    pod_finished: PodFinished
    def __init__(self, backend_changed: _Optional[_Union[BackendChanged, _Mapping]] = ..., refresh_requested: _Optional[_Union[RefreshRequested, _Mapping]] = ..., pod_finished: _Optional[_Union[PodFinished, _Mapping]] = ...) -> None: ...

class BackendChanged(_message.Message):
    __slots__ = ("provider", "sources", "changed_at_ms", "event_id")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    provider: str
    sources: _containers.RepeatedScalarFieldContainer[str]
    changed_at_ms: int
    event_id: str
    def __init__(self, provider: _Optional[str] = ..., sources: _Optional[_Iterable[str]] = ..., changed_at_ms: _Optional[int] = ..., event_id: _Optional[str] = ...) -> None: ...

class RefreshRequested(_message.Message):
    __slots__ = ("namespace", "secret_provider_class", "requested_at_ms")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SECRET_PROVIDER_CLASS_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    secret_provider_class: str
    requested_at_ms: int
    def __init__(self, namespace: _Optional[str] = ..., secret_provider_class: _Optional[str] = ..., requested_at_ms: _Optional[int] = ...) -> None: ...

class PodFinished(_message.Message):
    __slots__ = ("pod",)
    POD_FIELD_NUMBER: _ClassVar[int]
    pod: Pod
    def __init__(self, pod: _Optional[_Union[Pod, _Mapping]] = ...) -> None: ...

class EndContent(_message.Message):
    __slots__ = ("content_key", "fetched_before_ms")
    CONTENT_KEY_FIELD_NUMBER: _ClassVar[int]
    FETCHED_BEFORE_MS_FIELD_NUMBER: _ClassVar[int]
    content_key: str
    fetched_before_ms: int
    def __init__(self, content_key: _Optional[str] = ..., fetched_before_ms: _Optional[int] = ...) -> None: ...

class SecretsFetched(_message.Message):
    __slots__ = ("namespace", "content_key", "provider", "digest", "fetched_at_ms", "versions", "files")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_KEY_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    FETCHED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    content_key: str
    provider: str
    digest: bytes
    fetched_at_ms: int
    versions: _containers.RepeatedCompositeFieldContainer[ObjectVersion]
    files: Sealed
    def __init__(self, namespace: _Optional[str] = ..., content_key: _Optional[str] = ..., provider: _Optional[str] = ..., digest: _Optional[bytes] = ..., fetched_at_ms: _Optional[int] = ..., versions: _Optional[_Iterable[_Union[ObjectVersion, _Mapping]]] = ..., files: _Optional[_Union[Sealed, _Mapping]] = ...) -> None: ...

class Held(_message.Message):
    __slots__ = ("provider", "content_key", "digest", "fetched_at_ms", "files", "left_out", "lease")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    CONTENT_KEY_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    FETCHED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    provider: str
    content_key: str
    digest: bytes
    fetched_at_ms: int
    files: _containers.RepeatedCompositeFieldContainer[HeldFile]
    left_out: _containers.RepeatedScalarFieldContainer[str]
    lease: Lease
    def __init__(self, provider: _Optional[str] = ..., content_key: _Optional[str] = ..., digest: _Optional[bytes] = ..., fetched_at_ms: _Optional[int] = ..., files: _Optional[_Iterable[_Union[HeldFile, _Mapping]]] = ..., left_out: _Optional[_Iterable[str]] = ..., lease: _Optional[_Union[Lease, _Mapping]] = ...) -> None: ...

class HeldFile(_message.Message):
    __slots__ = ("object_id", "version", "versioned", "source", "path", "mode", "contents", "leased")
    OBJECT_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSIONED_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    CONTENTS_FIELD_NUMBER: _ClassVar[int]
    LEASED_FIELD_NUMBER: _ClassVar[int]
    object_id: str
    version: str
    versioned: bool
    source: str
    path: str
    mode: int
    contents: bytes
    leased: bool
    def __init__(self, object_id: _Optional[str] = ..., version: _Optional[str] = ..., versioned: _Optional[bool] = ..., source: _Optional[str] = ..., path: _Optional[str] = ..., mode: _Optional[int] = ..., contents: _Optional[bytes] = ..., leased: _Optional[bool] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("renew_at_ms", "expires_at_ms", "handle")
    RENEW_AT_MS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    renew_at_ms: int
    expires_at_ms: int
    handle: bytes
    def __init__(self, renew_at_ms: _Optional[int] = ..., expires_at_ms: _Optional[int] = ..., handle: _Optional[bytes] = ...) -> None: ...
