"""A demo that is left running: a process of its own that outlives the command, and the command that ends it."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from rich.text import Text

from keyferry.testing.demo import environment
from keyferry.testing.demo.cluster import Base, Keyferry
from keyferry.testing.demo.folder import LOGS, claimed, holder, link_logs
from keyferry.testing.demo.progress import Progress
from keyferry.testing.demo.story import Keep

_STOP_SECONDS = 30


def detach() -> int:
    """Start the demo in a session of its own, and return when it is ready, having shown what it told.

    Its servers die with the process that started them (processes.py), so it cannot be this one.

    Returns:
        The exit status: 0 if it runs.
    """
    reading, writing = os.pipe()
    argv = [sys.executable, "-m", "keyferry.testing.demo", "--keep", f"--ready-fd={writing}"]
    child = subprocess.Popen(argv, pass_fds=[writing], start_new_session=True, stdin=subprocess.DEVNULL)
    os.close(writing)
    while True:
        try:
            return 0 if os.read(reading, 1) else child.wait()
        except KeyboardInterrupt:
            child.terminate()  # it tidies up and closes the pipe, on which we go on waiting


def keep(folder: Path, progress: Progress, ready_fd: int) -> Keep:
    """What to do once all is up: say how to reach it, let the waiting command go, and wait for SIGTERM.

    Args:
        folder: Of the demo.
        progress: Where it is told.
        ready_fd: Pipe that `detach` reads.
    """

    async def stay(base: Base, services: Keyferry) -> None:
        environment.write(folder, base, services)
        link_logs(folder)
        progress.step("Everything goes on running")
        progress.say(_how_to_use(folder))
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        _let_go(folder / LOGS / "demo.log", ready_fd)
        await stopped.wait()

    return stay


def _how_to_use(folder: Path) -> Text:
    path = f"{folder.name}/{environment.FILE}"
    enter = f"nsenter -U -m --preserve-credentials -t {os.getpid()}"
    rows = [(f". {path}", "CSI_ENDPOINT, KUBECONFIG, VAULT_ADDR and the rest"), ("make demo-stop", "end it")]
    if environment.in_user_namespace():
        rows.insert(1, (enter, "see its mounts"))
    width = max(len(command) for command, _ in rows)
    return Text("\n").join(
        Text.assemble((f"{command:<{width}}", "cyan"), (f"   {what}", "dim")) for command, what in rows
    )


def _let_go(log: Path, ready_fd: int) -> None:
    """From here on we write to a log: the terminal, or the pipe that someone reads to its end, is not ours any more."""
    sys.stdout.flush()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for output in (1, 2):
        os.dup2(descriptor, output)
    os.close(descriptor)
    os.write(ready_fd, b"+")
    os.close(ready_fd)


def stop(folder: Path, progress: Progress) -> None:
    """End the demo that runs, and clear away what a crashed one left.

    Raises:
        Failure: what is left cannot be deleted.
    """
    pid = holder(folder) if folder.exists() else None
    if pid is not None:
        with progress.item("the demo") as item:
            graceful = _end(pid)
            item.detail = f"process {pid}, " + ("unmounted and stopped" if graceful else "had to be killed")
    if folder.exists():
        with progress.item(f"what was left in {folder.name}"), claimed(folder):
            pass
    elif pid is None:
        progress.say("No demo is running.")


def _end(pid: int) -> bool:
    """SIGTERM, and SIGKILL if it has not ended in time; its servers die with it."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        waiting = select.poll()
        waiting.register(process, select.POLLIN)
        if waiting.poll(_STOP_SECONDS * 1000):
            return True
        signal.pidfd_send_signal(process, signal.SIGKILL)
        waiting.poll(_STOP_SECONDS * 1000)
        return False
    finally:
        os.close(process)
