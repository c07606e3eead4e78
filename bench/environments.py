"""Environments as the images have them: without what only the tests need, and compiled, for both show in memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment(service: str) -> str:
    """Install a service as its image would be, from the sources as they are now.

    Args:
        service: Its project, such as ``node-driver``.

    Returns:
        The interpreter.

    Raises:
        FileNotFoundError: there is no uv.
        subprocess.CalledProcessError: uv fails; it has said why.
    """
    home = ROOT / ".bench" / service
    argv = [_uv(), "sync", "--quiet", "--package", service, "--no-dev", "--frozen", "--no-editable"]
    argv += ["--compile-bytecode", "--python", sys.executable]
    for ours in ("keyferry", service):  # uv keeps what it has built unless the version changes
        argv += ["--reinstall-package", ours]
    env = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(home)}
    env.pop("VIRTUAL_ENV", None)
    subprocess.run(argv, cwd=ROOT, env=env, check=True)  # noqa: S603 - our own arguments
    python = str(home / "bin" / "python")
    # For PYTHONOPTIMIZE=2 as well: what is not compiled costs memory and time at each start.
    subprocess.run([python, "-OO", "-m", "compileall", "-q", str(home / "lib")], check=True)  # noqa: S603 - as above
    return python


def _uv() -> str:
    found = os.environ.get("UV") or shutil.which(str(ROOT / ".tools" / "bin" / "uv")) or shutil.which("uv")
    if not found:
        raise FileNotFoundError("uv is not on PATH: `make bench-mount` installs one")
    return found
