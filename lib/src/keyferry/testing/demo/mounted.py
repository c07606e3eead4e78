"""What the kernel has mounted below a folder, and how to be rid of it when nobody else can be."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from keyferry.testing.demo.failure import Failure

_ESCAPED = re.compile(r"\\([0-7]{3})")


def mounted_below(folder: Path, mountinfo: str | None = None) -> list[Path]:
    """Mount points below a folder, the innermost first.

    Args:
        folder: Absolute and free of symlinks.
        mountinfo: The text of /proc/self/mountinfo; read now by default.
    """
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    points = [Path(_unescaped(line.split()[4])) for line in text.splitlines()]
    return [point for point in reversed(points) if point != folder and point.is_relative_to(folder)]


def unmount_below(folder: Path) -> None:
    """Unmount everything below a folder, whoever holds it open."""
    for point in mounted_below(folder):
        # Lazily, as the node-driver does: a shell that stands in the volume must not keep it.
        subprocess.run(["umount", "--lazy", str(point)], check=False, capture_output=True)  # noqa: S607 - found on PATH


def require_mounts(folder: Path) -> None:
    """Make sure that we may mount, before anything is started that needs it.

    Raises:
        Failure: saying how to get the right.
    """
    place = folder / "mount-probe"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(place)]
    said = subprocess.run(mount, check=False, capture_output=True, text=True)
    unmount_below(place.parent)
    place.rmdir()
    if said.returncode:
        raise Failure(
            "mounting",
            f"{said.stderr.strip()}\nMounting needs root with CAP_SYS_ADMIN (a container: --privileged), or a user "
            "namespace: unshare -Urm, as `make demo` does without root.",
        )


def _unescaped(path: str) -> str:
    """Blanks and the like stand as octal numbers there (proc_pid_mountinfo(5))."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), path)
