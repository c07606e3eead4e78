"""Remembers on the node's disk which volumes are published, so that a restarted driver adopts them.

A record holds identifiers, versions and a keyed digest; by its type it cannot hold a secret or a token. Losing one is
harmless (the next republish fetches and finds nothing to change), so nothing here fails a mount, and nothing is synced
to disk: after a power loss the volumes' tmpfs are gone as well, and an fsync can take longer than a whole mount.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyferry.resources import ObjectVersion, Pod

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """What must be known of a published volume to go on with it.

    Attributes:
        volume_id: Kubelet's.
        target_path: Where it is mounted, as kubelet said.
        pod: Who mounts it.
        secret_provider_class: Name of the class.
        provider: Which backend.
        content_key: Which content, as the fetcher names it.
        digest: Keyed MAC over the content that is in place.
        fetched_at_ms: When the backend was asked for it, Unix milliseconds.
        versions: The objects and their versions.
        sources, left_out, rotation_ms, refresh_by_ms, stale_since_ms: See `keyferry.resources.Content`.
    """

    volume_id: str
    target_path: str
    pod: Pod
    secret_provider_class: str
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


class Records:
    """A directory with one small file per published volume."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        """Open the directory, making it if it is missing, for the driver's own user only.

        Raises:
            OSError: when that is not possible.
        """
        self._directory = Path(directory)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)

    def save(self, record: Record) -> None:
        """Keep a record, in place of the volume's earlier one; a disk that refuses is logged, no more."""
        path = self._path(record.volume_id)
        fresh = path + ".tmp"
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                text = _encoded(record)
                if os.write(descriptor, text) != len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(descriptor)
            os.rename(fresh, path)  # noqa: PTH104 - half the cost of pathlib's
        except OSError as error:
            log.warning(
                "volume record not saved: the volume is fetched once more after a restart",
                extra={"volume_id": record.volume_id, "error": error.strerror},
            )

    def forget(self, volume_id: str) -> None:
        """Drop a volume's record; there being none is success."""
        try:
            os.unlink(self._path(volume_id))  # noqa: PTH108 - half the cost of pathlib's
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("volume record not removed", extra={"volume_id": volume_id, "error": error.strerror})

    def load_all(self) -> list[Record]:
        """All records; a file that is none is logged and moved aside to ``*.bad``, for somebody to look at."""
        found = (self._load(path) for path in sorted(self._directory.iterdir()) if path.suffix != ".bad")
        return [record for record in found if record is not None]

    def _load(self, path: Path) -> Record | None:
        try:
            if path.suffix == ".tmp":  # a save that a crash cut short
                path.unlink()
                return None
            record = _decoded(path.read_bytes())
            if self._path(record.volume_id) != str(path):
                raise ValueError("the file's name is not its volume's")
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            log.warning("not a volume record, moved aside", extra={"path": str(path), "error": type(error).__name__})
            with contextlib.suppress(OSError):  # it is logged; what cannot even be moved must not keep the driver down
                path.rename(path.with_name(path.name + ".bad"))
            return None
        return record

    def _path(self, volume_id: str) -> str:
        return f"{self._directory}/{hashlib.sha256(volume_id.encode()).hexdigest()}.json"


def _encoded(record: Record) -> bytes:
    pod = record.pod
    written = {
        "volume_id": record.volume_id,
        "target_path": record.target_path,
        "pod": {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid, "service_account": pod.service_account},
        "secret_provider_class": record.secret_provider_class,
        "provider": record.provider,
        "content_key": record.content_key,
        "digest": record.digest.hex(),
        "fetched_at_ms": record.fetched_at_ms,
        "versions": [{"id": version.id, "version": version.version} for version in record.versions],
        "sources": record.sources,
        "left_out": record.left_out,
        "rotation_ms": record.rotation_ms,
        "refresh_by_ms": record.refresh_by_ms,
        "stale_since_ms": record.stale_since_ms,
    }
    return json.dumps(written).encode()


def _decoded(text: bytes) -> Record:
    """A record from its file; what the first version of the driver did not write yet has its default.

    Raises:
        ValueError, TypeError, KeyError, RecursionError: for anything that `_encoded` does not write.
    """
    written: Any = json.loads(text)
    if not isinstance(written, dict):
        raise TypeError("not an object")
    rotation_ms = written.get("rotation_ms")
    return Record(
        **_strings(written, "volume_id", "target_path", "secret_provider_class", "provider", "content_key"),
        pod=Pod(**_strings(written["pod"], "namespace", "name", "uid", "service_account")),
        digest=bytes.fromhex(written["digest"]),
        fetched_at_ms=_number(written["fetched_at_ms"]),
        versions=tuple(ObjectVersion(**_strings(version, "id", "version")) for version in written["versions"]),
        sources=_texts(written.get("sources", ())),
        left_out=_texts(written.get("left_out", ())),
        rotation_ms=None if rotation_ms is None else _number(rotation_ms),
        refresh_by_ms=_number(written.get("refresh_by_ms", 0)),
        stale_since_ms=_number(written.get("stale_since_ms", 0)),
    )


def _strings(written: Mapping[str, Any], *names: str) -> dict[str, str]:
    values = {name: written[name] for name in names}
    if not all(isinstance(value, str) for value in values.values()):
        raise TypeError("not a string")
    return values


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("not a number")
    return value


def _texts(values: Iterable[object]) -> tuple[str, ...]:
    texts = tuple(value for value in values if isinstance(value, str))
    if isinstance(values, str) or len(texts) != len(tuple(values)):
        raise TypeError("not a list of strings")
    return texts
