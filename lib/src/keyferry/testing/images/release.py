"""One archive with every image that the chart runs, in a minute or two at first and from a cache folder afterwards."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from keyferry.testing.images import debian
from keyferry.testing.images.archive import Image, Layer, known, layer, write
from keyferry.testing.images.build import DOCKERFILE, REPOSITORY, build, send
from keyferry.testing.images.debian import ImagesMissing
from keyferry.testing.images.dockerfile import Config, stages
from keyferry.testing.processes import installed

SERVICES = ("node-driver", "fetcher", "rotator", "syncer")
PYTHON = ("bookworm", ("python3.11", "ca-certificates", "netbase", "tzdata"))
VALKEY = ("trixie", ("valkey-server",))  # the build that other tests run has no TLS
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keyferry-test" / "images"


def archive(target: IO[bytes], names: Mapping[str, str], cache: Path = CACHE) -> dict[str, Image]:
    """Write an archive for `ctr images import`.

    Args:
        target: Where it goes: a file, or the standard input of ``ctr images import -``.
        names: Each image's full name, such as ``ghcr.io/keyferry/fetcher:0.1.0``, by its short one: a service's,
            ``nats`` or ``valkey``.
        cache: Where layers are kept: one base that all services share, and one layer above it for each.

    Returns:
        The images by their full names.

    Raises:
        ImagesMissing: something cannot be made on this machine; says what.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two test runs, one makes them; and none is removed while it is read
        made = {full: _image(short, cache) for short, full in names.items()}
        write(target, made)
    return made


def _image(name: str, cache: Path) -> Image:
    match name:
        case "nats":
            return Image((_nats(cache),), Config(entrypoint=("/nats-server",)))
        case "valkey":
            return Image((_base(cache, *VALKEY)[1],), Config(env={"PATH": "/usr/bin:/bin"}))
        case _:
            base, lowest = _base(cache, *PYTHON)
            return Image((lowest, _service(name, cache, base)), stages(DOCKERFILE)[-1].config)


def _base(cache: Path, suite: str, packages: tuple[str, ...]) -> tuple[Path, Layer]:
    """A Debian and its layer; Python is where the Dockerfile's base has it."""
    root = debian.root(cache, suite, packages)
    link = root / "usr/local/bin/python3.11"
    if packages == PYTHON[1] and not link.is_symlink():
        link.symlink_to("/usr/bin/python3.11")
    return root, _kept(cache / f"base-{root.name}.tar", root)


def _service(name: str, cache: Path, base: Path) -> Layer:
    """A service's layer, made again when anything that the builder sees has changed."""
    with tempfile.TemporaryDirectory(dir=cache, prefix="making-") as made:
        work = Path(made)
        send(work / "seen")
        path = cache / f"{name}-{_digest(DOCKERFILE, work / 'seen', base.name)}.tar"
        if not path.exists():
            for old in cache.glob(f"{name}-*.tar"):
                old.unlink()
            (work / "build").mkdir()
            files = build(work / "build", name, base=base, uv=_uv(), cache=_uv_cache())
            _kept(path, files)
    return known(path)


def _nats(cache: Path) -> Layer:
    """Like the official image, a static program and nothing else."""
    program = installed("nats-server")
    path = cache / f"nats-{hashlib.sha256(program.read_bytes()).hexdigest()[:12]}.tar"
    with tempfile.TemporaryDirectory(dir=cache, prefix="making-") as made:
        shutil.copy(program, Path(made) / "nats-server")
        return _kept(path, Path(made))


def _kept(path: Path, folder: Path) -> Layer:
    """The layer of a folder, written if it is not there."""
    if not path.exists():
        layer(folder, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
    return known(path)


def _digest(dockerfile: Path, seen: Path, base: str) -> str:
    told = hashlib.sha256(dockerfile.read_bytes() + base.encode())
    for path in sorted(seen.rglob("*")):
        told.update(str(path.relative_to(seen)).encode())
        told.update(path.read_bytes() if path.is_file() else b"")
    return told.hexdigest()[:12]


def _uv() -> Path:
    """The program uv: `make setup` puts it below .tools."""
    found = shutil.which(REPOSITORY / ".tools" / "bin" / "uv") or shutil.which("uv")
    if found is None:
        raise ImagesMissing("uv makes the services' environments, and is not here: run `make setup`")
    return Path(found)


def _uv_cache() -> Path:
    folder = Path(os.environ.get("UV_CACHE_DIR") or Path.home() / ".cache" / "uv")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
