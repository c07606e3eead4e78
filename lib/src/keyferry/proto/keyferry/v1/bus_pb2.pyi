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
    __slots__ = ("provider", "content_key", "digest", "fetched_at_ms", "versions", "files")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    CONTENT_KEY_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    FETCHED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    provider: str
    content_key: str
    digest: bytes
    fetched_at_ms: int
    versions: _containers.RepeatedCompositeFieldContainer[ObjectVersion]
    files: Sealed
    def __init__(self, provider: _Optional[str] = ..., content_key: _Optional[str] = ..., digest: _Optional[bytes] = ..., fetched_at_ms: _Optional[int] = ..., versions: _Optional[_Iterable[_Union[ObjectVersion, _Mapping]]] = ..., files: _Optional[_Union[Sealed, _Mapping]] = ...) -> None: ...

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
    __slots__ = ("published", "unpublished")
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    UNPUBLISHED_FIELD_NUMBER: _ClassVar[int]
    published: VolumePublished
    unpublished: VolumeUnpublished
    def __init__(self, published: _Optional[_Union[VolumePublished, _Mapping]] = ..., unpublished: _Optional[_Union[VolumeUnpublished, _Mapping]] = ...) -> None: ...

class VolumePublished(_message.Message):
    __slots__ = ("volume_id", "node", "pod", "secret_provider_class", "target_path", "provider", "content_key", "digest", "fetched_at_ms", "versions")
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
    def __init__(self, volume_id: _Optional[str] = ..., node: _Optional[str] = ..., pod: _Optional[_Union[Pod, _Mapping]] = ..., secret_provider_class: _Optional[str] = ..., target_path: _Optional[str] = ..., provider: _Optional[str] = ..., content_key: _Optional[str] = ..., digest: _Optional[bytes] = ..., fetched_at_ms: _Optional[int] = ..., versions: _Optional[_Iterable[_Union[ObjectVersion, _Mapping]]] = ...) -> None: ...

class VolumeUnpublished(_message.Message):
    __slots__ = ("volume_id", "node")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    volume_id: str
    node: str
    def __init__(self, volume_id: _Optional[str] = ..., node: _Optional[str] = ...) -> None: ...
