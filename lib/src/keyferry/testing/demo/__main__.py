"""`python -m keyferry.testing.demo [--keep | --stop]`, which `make demo` and `make demo-stop` run."""

from __future__ import annotations

import argparse
import asyncio
import io
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from rich.text import Text

from keyferry.testing.demo.background import detach, keep, stop
from keyferry.testing.demo.failure import Failure
from keyferry.testing.demo.folder import FOLDER, claimed, short
from keyferry.testing.demo.mounted import require_mounts
from keyferry.testing.demo.progress import Progress, Terminal
from keyferry.testing.demo.story import tell

_INTERRUPTED = 130

_NEXT = (
    ("make demo KEEP=1", "leave it running and look around: . .demo/env"),
    ("docs/running.md", "run the services against a cluster of your own"),
    ("make bench-mount", "the figures, on this machine"),
)


def main() -> int:
    """Do what the command line says; the exit status is 0, or 1 after a failure, or 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m keyferry.testing.demo", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--keep", action="store_true", help="leave everything running")
    what.add_argument("--stop", action="store_true", help="end what was left running")
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)  # of the process that goes on running
    told = parser.parse_args()
    if told.keep and told.ready_fd is None:
        return detach()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # whatever the locale says: bars and ticks are no ASCII
    progress = Progress(Terminal())
    try:
        if told.stop:
            stop(FOLDER, progress)
        else:
            _run(FOLDER, progress, told.ready_fd)
    except Failure as failure:
        progress.explain(failure)
        return 1
    except asyncio.CancelledError:
        progress.say("Interrupted; everything is stopped, nothing is left.", indent=0)
        return _INTERRUPTED
    return 0


def _run(folder: Path, progress: Progress, ready_fd: int | None) -> None:
    with claimed(folder), short(folder) as directory:
        require_mounts(folder)
        stay = keep(folder, progress, ready_fd) if ready_fd is not None else None
        asyncio.run(_until_signalled(tell(directory, progress, keep=stay)))
    if ready_fd is None:
        rows = (Text.assemble((f"{name:<19}", "cyan"), (text, "dim")) for name, text in _NEXT)
        progress.say(" ")
        progress.say(Text("\n").join(rows), indent=0)


async def _until_signalled(work: Coroutine[Any, Any, None]) -> None:
    """Let SIGINT and SIGTERM cancel the work, so that it stops what it started."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await task


if __name__ == "__main__":
    sys.exit(main())
