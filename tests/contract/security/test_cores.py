"""What becomes of a process's memory when it dies."""

from __future__ import annotations

import subprocess
import sys

_PROBE = """
import ctypes, resource
from keyferry import cores
cores.forbid()
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


def test_no_cores() -> None:
    """No core is written, by the limit and by the kernel's own flag (PR_GET_DUMPABLE)."""
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(0, 0) 0"
