"""Turns kubelet's requests into what the rest of the driver works with, or refuses them with what must be fixed."""

from __future__ import annotations

import contextlib
import json
import math
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from keyferry.errors import InvalidArgument
from keyferry.proto.csi.v1 import csi_pb2
from keyferry.resources import Pod

KUBELET_PREFIX = "csi.storage.k8s.io/"
TOKENS_KEY = KUBELET_PREFIX + "serviceAccount.tokens"
EPHEMERAL_KEY = KUBELET_PREFIX + "ephemeral"
CLASS_KEY = "secretProviderClass"

MAX_VOLUME_ID_BYTES = 128  # CSI spec, "Size Limits"
MAX_PATH_BYTES = 4095  # PATH_MAX counts the final NUL
MAX_GID = 2**32 - 2  # the highest value means "leave it alone" to chown(2)
_MAX_LABEL, _MAX_NAME = 63, 253

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_UID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_GID = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class Volume:
    """One volume of one pod, as kubelet asks for it.

    Attributes:
        volume_id: Printable, without ``/`` and ``..``, at most 128 bytes.
        target_path: Where kubelet wants it; absolute and normalised.
        pod: Who mounts it.
        secret_provider_class: Name of the class, in the pod's namespace.
        attributes: ``volumeAttributes`` as the pod's author wrote them; they override nothing (docs/adr/0005). Hidden
            from repr, for nobody knows what people write there.
        group: fsGroup (CSI ``volume_mount_group``), or None.
    """

    volume_id: str
    target_path: str
    pod: Pod
    secret_provider_class: str
    attributes: Mapping[str, str] = field(repr=False)
    group: int | None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a pod proves itself with; kept out of `Volume` so that no event and no record can hold it.

    Attributes:
        tokens: Audience to service-account token.
        node_publish_secret: The Secret of ``nodePublishSecretRef``.
        expires_at: When the first of the tokens expires, Unix seconds; infinity where kubelet says nothing of it.
    """

    tokens: Mapping[str, str] = field(repr=False)
    node_publish_secret: Mapping[str, str] = field(repr=False)
    expires_at: float = math.inf


def parse_publish(request: csi_pb2.NodePublishVolumeRequest) -> tuple[Volume, Credentials]:
    """A publish request, checked in the order that csi-sanity and upstream's users see.

    Raises:
        InvalidArgument: naming the field and the fix; upstream's texts where upstream has one.
    """
    volume_id, target_path = _volume_id(request.volume_id), _target_path(request.target_path)
    if not request.HasField("volume_capability"):
        raise InvalidArgument("Volume capability missing in request")
    if request.volume_capability.HasField("block"):
        raise InvalidArgument(
            "Volume capability asks for block access: secrets are mounted as files, remove volumeMode"
        )
    context = dict(request.volume_context)
    if not context:
        raise InvalidArgument("Volume attributes missing in request")
    if not request.readonly:
        raise InvalidArgument("Readonly is not true in request: set readOnly: true on the pod's csi volume")
    _require_ephemeral(context)
    class_name = context.get(CLASS_KEY, "")
    if not class_name:
        raise InvalidArgument("secretProviderClass is not set: name a class in the csi volume's volumeAttributes")
    _plausible(CLASS_KEY, class_name, _NAME, _MAX_NAME)
    volume = Volume(
        volume_id=volume_id,
        target_path=target_path,
        pod=_pod(context),
        secret_provider_class=class_name,
        attributes={key: value for key, value in context.items() if not key.startswith(KUBELET_PREFIX)},
        group=_group(request.volume_capability.mount.volume_mount_group),
    )
    return volume, _credentials(request.secrets, context)


def parse_unpublish(request: csi_pb2.NodeUnpublishVolumeRequest) -> tuple[str, str]:
    """The volume id and target path to unpublish.

    Raises:
        InvalidArgument: naming the field and the fix.
    """
    return _volume_id(request.volume_id), _target_path(request.target_path)


def _volume_id(value: str) -> str:
    if not value:
        raise InvalidArgument("Volume ID missing in request")
    if len(value.encode()) > MAX_VOLUME_ID_BYTES:
        raise InvalidArgument(f"Volume ID in request is longer than {MAX_VOLUME_ID_BYTES} bytes")
    # Kubelet's are csi-<64 hex digits>; others are welcome as long as they cannot change a path's meaning.
    if "/" in value or ".." in value or not value.isprintable():
        raise InvalidArgument('Volume ID in request holds "/", ".." or an unprintable character')
    return value


def _target_path(value: str) -> str:
    if not value:
        raise InvalidArgument("Target path missing in request")
    if not value.startswith("/"):
        raise InvalidArgument("Target path in request is not absolute")
    if "\0" in value or len(value.encode()) > MAX_PATH_BYTES:
        raise InvalidArgument(f"Target path in request holds a NUL or is longer than {MAX_PATH_BYTES} bytes")
    # normpath keeps a second leading slash, which POSIX gives a meaning of its own.
    if value in ("/", "//") or value.startswith("//") or posixpath.normpath(value) != value:
        raise InvalidArgument(
            'Target path in request is not a plain directory path: it holds "..", "." or empty elements'
        )
    return value


def _require_ephemeral(context: Mapping[str, str]) -> None:
    ephemeral = context.get(EPHEMERAL_KEY)
    if ephemeral is None:
        raise InvalidArgument(
            f"{EPHEMERAL_KEY} missing in volume attributes: the CSIDriver object must have podInfoOnMount: true"
        )
    if ephemeral != "true":
        raise InvalidArgument("Persistent volumes are not supported: use a csi volume inline in the pod's spec")


def _pod(context: Mapping[str, str]) -> Pod:
    return Pod(
        namespace=_pod_info(context, "pod.namespace", _LABEL, _MAX_LABEL),
        name=_pod_info(context, "pod.name", _NAME, _MAX_NAME),
        uid=_pod_info(context, "pod.uid", _UID, _MAX_NAME),
        service_account=_pod_info(context, "serviceAccount.name", _NAME, _MAX_NAME),
    )


def _pod_info(context: Mapping[str, str], key: str, pattern: re.Pattern[str], longest: int) -> str:
    value = context.get(KUBELET_PREFIX + key, "")
    if not value:
        raise InvalidArgument(
            f"{KUBELET_PREFIX}{key} missing in volume attributes: the CSIDriver object must have podInfoOnMount: true"
        )
    return _plausible(KUBELET_PREFIX + key, value, pattern, longest)


def _plausible(key: str, value: str, pattern: re.Pattern[str], longest: int) -> str:
    """A value that can be the name of a Kubernetes object: it will stand in paths, subjects and logs."""
    if len(value) > longest or not pattern.fullmatch(value):
        raise InvalidArgument(f"{key} in volume attributes is not a valid name ({len(value)} characters)")
    return value


def _group(value: str) -> int | None:
    if not value:
        return None
    if not _GID.fullmatch(value) or int(value) > MAX_GID:
        raise InvalidArgument(f"volume_mount_group in request is not a group id between 0 and {MAX_GID}")
    return int(value)


def _credentials(secrets: Mapping[str, str], context: Mapping[str, str]) -> Credentials:
    """Tokens from the secrets (Kubernetes 1.35 with ``serviceAccountTokenInSecrets``), else from the attributes."""
    if TOKENS_KEY in secrets:
        where, text = "secrets", secrets[TOKENS_KEY]
    else:
        where, text = "volume attributes", context.get(TOKENS_KEY, "")
    tokens, expires_at = _tokens(text, where)
    return Credentials(
        tokens=tokens,
        expires_at=expires_at,
        node_publish_secret={key: value for key, value in secrets.items() if key != TOKENS_KEY},
    )


def _tokens(text: str, where: str) -> tuple[dict[str, str], float]:
    """Audience to token, and the first one's end, from kubelet's ``{"aud": {"token": …, "expirationTimestamp": …}}``.

    Raises:
        InvalidArgument: naming the key only; the text is secret, and so is what a JSON error quotes of it.
    """
    if not text:
        return {}, math.inf
    refused = InvalidArgument(f"{TOKENS_KEY} in {where} is not kubelet's JSON of audiences and tokens")
    entries = None
    with contextlib.suppress(ValueError, RecursionError):  # raised outside: a JSON error carries the whole text along
        entries = json.loads(text)
    if not isinstance(entries, dict):
        raise refused
    tokens, expires_at = {}, math.inf
    for audience, entry in entries.items():
        token = entry.get("token") if isinstance(entry, dict) else None
        # A JSON escape can smuggle in what neither UTF-8 nor an HTTP header can carry.
        if not (
            isinstance(token, str) and token and token.isascii() and token.isprintable() and audience.isprintable()
        ):
            raise refused
        tokens[audience] = token
        expires_at = min(expires_at, _expiry(entry.get("expirationTimestamp")))
    return tokens, expires_at


def _expiry(timestamp: object) -> float:
    """Unix seconds from RFC 3339; infinity from anything else, for then the fetcher is the one to refuse a token."""
    try:
        return datetime.fromisoformat(str(timestamp)).timestamp()
    except (ValueError, OverflowError):
        return math.inf
