"""What the Secrets of a class should be: its ``secretObjects`` and the files of a content in, Secrets out. Pure."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from syncer import tls

MANAGED_LABEL = "secrets-store.csi.k8s.io/managed"
REFUSED_TYPES = ("kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token")
"""Kubernetes answers such Secrets with credentials, or takes them for some: whoever may write a class must not be able
to have us make them."""

_TLS = "kubernetes.io/tls"
_REQUIRED = {
    _TLS: ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}
"""Keys without which the API server refuses a Secret of a type (kubernetes, pkg/apis/core/validation)."""

_LARGEST = 1024 * 1024  # bytes of all values (kubernetes, MaxSecretSize)
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9._-]{1,253}", re.ASCII)


class SyncRefused(Exception):
    """A Secret cannot be made as the class has it; the text is for an Event, and holds no value."""


@dataclass(frozen=True, slots=True)
class SecretObject:
    """One entry of ``secretObjects``, read leniently as upstream does: names are trimmed.

    Attributes:
        place: Such as ``secretObjects[0]``.
        data: File and key, in the class's order.
    """

    place: str
    name: str
    type: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    data: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Desired:
    """A Secret as it should be, but for its owners."""

    name: str
    type: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    data: Mapping[str, bytes] = field(repr=False)

    def digest(self) -> str:
        """Equal for equal Secrets; stays in this process, since a hash of a short secret gives it away."""
        mac = hashlib.sha256()
        for mapping in (self.labels, self.annotations, self.data):
            for name in sorted(mapping):
                value = mapping[name]
                for text in (name.encode(), value if isinstance(value, bytes) else value.encode()):
                    mac.update(len(text).to_bytes(8, "big") + text)
            mac.update(b"\xff" * 8)
        mac.update(self.type.encode())
        return mac.hexdigest()


def read_secret_objects(spec: Mapping[str, Any]) -> tuple[SecretObject, ...]:
    """The entries of a class's ``spec.secretObjects``; a shape that the CRD would not take counts as absent."""
    entries = spec.get("secretObjects")
    if not isinstance(entries, list):
        return ()
    return tuple(_entry(f"secretObjects[{i}]", entry) for i, entry in enumerate(entries) if isinstance(entry, dict))


def build(wanted: SecretObject, files: Mapping[str, bytes]) -> Desired:
    """The Secret of one entry.

    Args:
        wanted: The entry.
        files: Contents by path below the volume.

    Raises:
        SyncRefused: with everything that is wrong with it.
    """
    problems = _problems(wanted)
    data: dict[str, bytes] = {}
    for file, key in wanted.data:
        contents = files.get(file)
        if contents is None:
            problems.append(
                f"file matching objectName {file} not found in the pod: the class mounts {_listed(sorted(files))}"
            )
            continue
        try:
            data[key] = tls.part(key, contents) if wanted.type == _TLS and key in tls.KEYS else contents
        except tls.TlsError as error:
            problems.append(f"file {file} {error}")
    size = sum(map(len, data.values()))
    if size > _LARGEST:
        problems.append(f"its values add up to {size} bytes, {_LARGEST} are the most that a Secret holds: split it")
    if problems:
        named = f"secret {wanted.name}" if wanted.name else wanted.place
        raise SyncRefused(f"{named}: {'; '.join(problems)}")
    labels = {**wanted.labels, MANAGED_LABEL: "true"}
    return Desired(wanted.name, wanted.type, labels, dict(wanted.annotations), data)


def taken_twice(objects: Sequence[SecretObject]) -> dict[str, str]:
    """What to say of each entry, by place, whose Secret an earlier entry of the class makes already."""
    first: dict[str, str] = {}
    problems = {}
    for each in objects:
        if each.name in first:
            problems[each.place] = f"secret {each.name}: {first[each.name]} makes it already: use another secretName"
        first.setdefault(each.name, each.place)
    return problems


def _problems(wanted: SecretObject) -> list[str]:
    problems = []
    if not wanted.name:
        problems.append("secret name is empty: set secretName")
    elif not _NAME.fullmatch(wanted.name) or ".." in wanted.name:
        problems.append("secretName is no name: lower-case letters, digits, '-' and '.' make one, up to 253 of them")
    if not wanted.type:
        problems.append("secret type is empty: set type, such as Opaque")
    elif wanted.type in REFUSED_TYPES:
        problems.append(f"type {wanted.type} is refused: Kubernetes would give or take credentials for it")
    if not wanted.data:
        problems.append("data is empty: list objectName and key")
    keys = [key for _, key in wanted.data]
    if wanted.type == _TLS:
        unknown = [key for key in keys if key not in tls.KEYS]
        problems += [
            f"key '{key}' is not supported. Only 'tls.key', 'tls.crt' and 'ca.crt' are supported" for key in unknown
        ]
    problems += [
        f"key '{key}' is needed for type {wanted.type}" for key in _REQUIRED.get(wanted.type, ()) if key not in keys
    ]
    problems += [f"key '{key}' is there {count} times" for key, count in Counter(keys).items() if count > 1]
    bad = [key for key in keys if not _KEY.fullmatch(key)]
    if bad:
        problems.append(f"{len(bad)} keys are no names: letters, digits, '-', '_' and '.' make one")
    if any(not file for file, _ in wanted.data):
        problems.append("object name is empty: set objectName in data")
    return problems


def _entry(place: str, entry: Mapping[str, Any]) -> SecretObject:
    data = entry.get("data")
    items = [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []
    return SecretObject(
        place=place,
        name=_text(entry, "secretName"),
        type=_text(entry, "type"),
        labels=_texts(entry.get("labels")),
        annotations=_texts(entry.get("annotations")),
        data=tuple((_text(item, "objectName"), _text(item, "key")) for item in items),
    )


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    return value.strip() if isinstance(value, str) else ""


def _texts(mapping: Any) -> dict[str, str]:
    return {k: v for k, v in mapping.items() if isinstance(v, str)} if isinstance(mapping, dict) else {}


def _listed(names: Sequence[str]) -> str:
    shown = 10
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return (", ".join(names[:shown]) or "no file") + more
