"""Image archives as the OCI lays them out (image-spec 1.1, image-layout.md), which `ctr images import` takes."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from keyferry.testing.images.dockerfile import Config

_MEDIA = "application/vnd.oci.image"
_PIECE = 1 << 20


@dataclass(frozen=True)
class Layer:
    """A layer: a tar that is not compressed.

    Attributes:
        path: The tar.
        digest: ``sha256:…`` of it.
        size: In bytes.
    """

    path: Path
    digest: str
    size: int


@dataclass(frozen=True)
class Image:
    """An image: its layers, the lowest first, and how it is run."""

    layers: tuple[Layer, ...]
    config: Config


def layer(folder: Path, path: Path) -> Layer:
    """Write a folder as a layer: the same files give the same bytes, whenever they were made."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for each in sorted(folder.rglob("*")):
            tar.add(each, arcname=str(each.relative_to(folder)), recursive=False, filter=_plain)
    return known(path)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    entry.mtime, entry.uname, entry.gname = 0, "", ""
    return None if entry.isdev() else entry


def known(path: Path) -> Layer:
    """A layer that was written before."""
    digest = hashlib.sha256()
    with path.open("rb") as tar:
        while piece := tar.read(_PIECE):
            digest.update(piece)
    return Layer(path, f"sha256:{digest.hexdigest()}", path.stat().st_size)


def write(target: IO[bytes], images: Mapping[str, Image]) -> None:
    """Write an archive of images by their full names; layers that several have are in it once."""
    with tarfile.open(fileobj=target, mode="w|") as tar:
        layers = {each.digest: each for image in images.values() for each in image.layers}
        for each in layers.values():
            tar.add(each.path, arcname=_blob(each.digest))
        manifests = [_manifest(tar, name, image) for name, image in images.items()]
        _add(tar, "index.json", _json({"schemaVersion": 2, "manifests": manifests}))
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))


def _manifest(tar: tarfile.TarFile, name: str, image: Image) -> dict[str, Any]:
    """Add an image's manifest and configuration; returns what the index says of it."""
    config = _described(tar, f"{_MEDIA}.config.v1+json", _configuration(image))
    layers = [{"mediaType": f"{_MEDIA}.layer.v1.tar", "digest": x.digest, "size": x.size} for x in image.layers]
    manifest = {"schemaVersion": 2, "mediaType": f"{_MEDIA}.manifest.v1+json", "config": config, "layers": layers}
    described = _described(tar, f"{_MEDIA}.manifest.v1+json", manifest)
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    return {**described, "annotations": names}


def _configuration(image: Image) -> dict[str, Any]:
    told = image.config
    how = {
        "Env": [f"{name}={value}" for name, value in told.env.items()],
        "User": told.user,
        "Entrypoint": list(told.entrypoint),
        "Cmd": list(told.cmd),
        "ExposedPorts": {port: {} for port in told.ports},
    }
    diffs = [each.digest for each in image.layers]
    return {
        "architecture": "amd64",
        "os": "linux",
        "config": {name: value for name, value in how.items() if value},
        "rootfs": {"type": "layers", "diff_ids": diffs},
    }


def _described(tar: tarfile.TarFile, media: str, what: dict[str, Any]) -> dict[str, Any]:
    body = _json(what)
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    _add(tar, _blob(digest), body)
    return {"mediaType": media, "digest": digest, "size": len(body)}


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _json(what: dict[str, Any]) -> bytes:
    return json.dumps(what, sort_keys=True).encode()


def _add(tar: tarfile.TarFile, name: str, body: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(body)
    tar.addfile(entry, io.BytesIO(body))
