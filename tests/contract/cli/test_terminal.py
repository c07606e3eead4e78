"""The live view, on a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.contract.cli.conftest import Site

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


def read_until(terminal: int, text: bytes, times: int = 1) -> bytes:
    """What is written until a text has come so often, or the program has ended."""
    written = b""
    while written.count(text) < times:
        try:
            written += os.read(terminal, 65536)
        except OSError:  # EIO: nobody has the other end any more
            break
    return written


def test_top_draws_again_until_it_is_interrupted(site: Site) -> None:
    """It takes the whole screen, fills it anew, and gives the screen back at Ctrl-C."""
    ours, its = pty.openpty()
    env = os.environ | {"KEYFERRY_NATS_URL": site.url("cli"), "KEYFERRY_REDIS_URL": site.store_url, "TERM": "xterm"}
    # Where tests run in the background of a shell, Ctrl-C is ignored, and that is inherited.
    argv = ["env", "--default-signal=INT", sys.executable, "-m", "keyferry", "top", "--interval", "0.1"]
    with subprocess.Popen(argv, stdin=its, stdout=its, stderr=its, env=env) as process:
        os.close(its)
        drawn = read_until(ours, b"fetch-mount", times=3)
        process.send_signal(signal.SIGINT)
        drawn += read_until(ours, LEAVE)
    os.close(ours)

    assert process.returncode == 130
    assert (ENTER in drawn, LEAVE in drawn, b"Traceback" in drawn) == (True, True, False)
