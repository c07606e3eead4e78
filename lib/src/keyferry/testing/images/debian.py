"""Root file systems of Debian for images, made by debootstrap from signed packages and kept in a cache folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

MIRROR = "http://deb.debian.org/debian"
_SECONDS = 900
_DROPPED = ("var/cache/apt", "var/lib/apt/lists", "var/log", "usr/share/doc", "usr/share/man", "usr/share/locale")
"""What the slim images leave out as well."""


class ImagesMissing(RuntimeError):
    """An image cannot be made on this machine; the text says what failed and what helps."""


def run(argv: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a program that makes a part of an image, and return what it prints.

    Raises:
        ImagesMissing: it failed; has the end of what it said.
    """
    try:
        done = subprocess.run(
            argv, cwd=cwd, env=env, check=True, text=True, timeout=_SECONDS, stdout=-1, stderr=subprocess.STDOUT
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stdout", "") or error).strip()[-2000:]
        raise ImagesMissing(f"no image is made: `{argv[0]}` failed: {said}") from None
    return done.stdout


def root(cache: Path, suite: str, packages: Sequence[str]) -> Path:
    """The root file system of a minimal Debian with these packages, from the cache or made now.

    Args:
        cache: Where it is kept.
        suite: Such as ``bookworm``.
        packages: Beside the essential ones.

    Raises:
        ImagesMissing: without root, or without Debian's mirror.
    """
    told = hashlib.sha256("\n".join([suite, *packages, *_DROPPED]).encode()).hexdigest()[:12]
    kept = cache / f"{suite}-{told}"
    if kept.is_dir():
        return kept
    with tempfile.TemporaryDirectory(dir=cache, prefix="making-") as made:
        work = Path(made)
        program, env = _debootstrap(work)
        # In a mount namespace of its own: what it mounts goes with it, however it ends.
        argv = ["unshare", "--mount", program, "--variant=minbase", f"--include={','.join(packages)}", suite, "root"]
        run([*argv, MIRROR], cwd=work, env=env)
        for each in _DROPPED:
            shutil.rmtree(work / "root" / each, ignore_errors=True)
        for each in ("etc/hostname", "etc/resolv.conf"):  # this machine's
            (work / "root" / each).unlink(missing_ok=True)
        (work / "root").chmod(0o755)
        (work / "root").rename(kept)
    return kept


def _debootstrap(work: Path) -> tuple[str, dict[str, str]]:
    """The program, and its environment: the machine's, else a fetched one that is not installed."""
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **{k: v for k, v in os.environ.items() if k.endswith("_proxy")}}
    if found := shutil.which("debootstrap", path=env["PATH"]):
        return found, env
    for name in ("lists/partial", "archives/partial"):
        (work / name).mkdir(parents=True)
    apt = ["apt-get", "-qq", "-o", f"Dir::State::Lists={work}/lists", "-o", f"Dir::Cache={work}"]
    apt += ["-o", "APT::Sandbox::User=root"]
    run([*apt, "update"], cwd=work)
    run([*apt, "download", "debootstrap"], cwd=work)
    run(["dpkg-deb", "-x", *map(str, work.glob("debootstrap_*.deb")), "fetched"], cwd=work)
    return str(work / "fetched/usr/sbin/debootstrap"), {
        **env,
        "DEBOOTSTRAP_DIR": f"{work}/fetched/usr/share/debootstrap",
    }
