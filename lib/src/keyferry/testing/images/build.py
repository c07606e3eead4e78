"""Does what the Dockerfile says, in overlays on a Debian, by unshare and chroot instead of a container engine."""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from keyferry.testing.images.debian import ImagesMissing, run
from keyferry.testing.images.dockerfile import stages, variables

REPOSITORY = Path(__file__).parents[5]
DOCKERFILE = REPOSITORY / "deploy" / "docker" / "Dockerfile"
CACHE_DIR = "/var/cache/uv"

DIFFERENCES = (
    "The base is Debian 12 with its own Python 3.11, linked to /usr/local/bin, not docker.io/library/python.",
    "uv is this machine's, not ghcr.io/astral-sh/uv; what it installs is what uv.lock says, by hash, in both.",
    "uv has this machine's cache instead of --no-cache, so that a second build downloads nothing.",
)
"""What an engine does otherwise than this."""

# What a build needs of this machine is mounted over the root file system, and is not in any layer.
_ENTER = """
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" "$4"
mount -t proc proc "$4/proc"
for each in /dev /etc/resolv.conf /etc/ssl/certs; do mount --bind "$each" "$4$each"; done
mount --bind "$5" "$4$6"
exec chroot "$4" /bin/sh -euc "cd $7 && $8"
"""
_PASSED = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "UV_DEFAULT_INDEX", "UV_INDEX_URL")


@dataclass
class _Tree:
    """The files of a stage, above those of its base; and what its steps have said so far."""

    work: Path
    base: Path
    environ: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"})
    folder: str = "/"

    @property
    def files(self) -> Path:
        return self.work / "files"

    def place(self, path: str) -> Path:
        """Where a path of the image lies, relative ones from its work folder."""
        return self.files / os.path.normpath(f"{self.folder}/{path}" if path[0] != "/" else path).lstrip("/")


def build(work: Path, service: str, *, base: Path, uv: Path, cache: Path) -> Path:
    """Build a service.

    Args:
        work: An empty folder to work in.
        service: What the Dockerfile's ``SERVICE`` is.
        base: The root file system that ``PYTHON`` stands for.
        uv: The program that ``UV`` stands for.
        cache: Of uv.

    Returns:
        The folder of what the image has above its base.

    Raises:
        ImagesMissing: a step failed.
    """
    context = work / "context"
    send(context)
    bin_uv = work / "uv"
    bin_uv.mkdir()
    shutil.copy(uv, bin_uv / "uv")
    trees = {"uv": bin_uv}
    for number, stage in enumerate(stages(DOCKERFILE)):
        if stage.name == "uv":
            continue
        tree = _Tree(work / f"stage-{number}", base)
        tree.files.mkdir(parents=True)
        for step in stage.steps:
            _do(tree, *step, trees={**trees, "": context}, arguments={"SERVICE": service}, cache=cache)
        trees[stage.name] = tree.files
    return trees[""]


def send(folder: Path) -> None:
    """Copy what the builder sees of the repository: what Dockerfile.dockerignore lets through."""
    rules = [
        line for line in (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines() if line[0] != "#"
    ]
    left_out = [rule for rule in rules if rule != "*" and rule[0] != "!"]

    def ignored(parent: str, names: list[str]) -> set[str]:
        below = Path(parent).relative_to(REPOSITORY)
        return {name for name in names if any(_matches(str(below / name), rule) for rule in left_out)}

    folder.mkdir()
    for name in (rule[1:] for rule in rules if rule[0] == "!"):
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
        else:
            shutil.copy(REPOSITORY / name, folder / name)


def _matches(path: str, rule: str) -> bool:
    return fnmatch.fnmatch(f"/{path}", rule.replace("**", "*")) or path == rule


def _do(
    tree: _Tree, word: str, rest: str, *, trees: Mapping[str, Path], arguments: Mapping[str, str], cache: Path
) -> None:
    match word:
        case "WORKDIR":
            tree.folder = rest
            tree.place(rest).mkdir(parents=True, exist_ok=True)
        case "ENV":
            tree.environ |= variables(rest)
        case "ARG":
            tree.environ[rest] = arguments[rest]
        case "COPY":
            _copy(tree, rest.split(), trees)
        case "RUN":
            _run(tree, rest, cache)


def _copy(tree: _Tree, words: list[str], trees: Mapping[str, Path]) -> None:
    stage = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else ""
    *sources, target = words
    for source in (trees[stage] / each.lstrip("/") for each in sources):
        place = tree.place(target)
        if source.is_dir():
            shutil.copytree(source, place, symlinks=True, dirs_exist_ok=True)
        else:
            place = place / source.name if target.endswith("/") else place
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place)


def _run(tree: _Tree, command: str, cache: Path) -> None:
    if "--no-cache" not in command:
        raise ImagesMissing(
            "the Dockerfile's RUN has no --no-cache any more: say in keyferry.testing.images what to cache"
        )
    merged, inner = tree.work / "merged", tree.work / "overlay"
    for folder in (merged, inner, tree.files / "etc", tree.files / CACHE_DIR[1:]):
        folder.mkdir(parents=True, exist_ok=True)
    (tree.files / "etc/resolv.conf").touch()
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    command = command.replace("--no-cache", f"--cache-dir {CACHE_DIR}")
    argv: list[str | Path] = [
        "unshare",
        "--mount",
        "sh",
        "-euc",
        _ENTER,
        "enter",
        tree.base,
        tree.files,
        inner,
        merged,
        cache,
        CACHE_DIR,
    ]
    run([*argv, tree.folder, command], cwd=tree.work, env={**passed, **tree.environ})
