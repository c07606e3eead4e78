"""The folder that holds all of a demo, and which one demo at a time has for itself."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from keyferry.testing.demo.failure import Failure
from keyferry.testing.demo.mounted import unmount_below
from keyferry.testing.stack import CRDS

FOLDER = CRDS.parents[1] / ".demo"
LOGS = "logs"
_PID = "pid"
_LONGEST_SOCKET = 107  # bytes; sun_path of unix(7) has 108 with the zero at its end
_DEEPEST = "node-a/plugins_registry/secrets-store.csi.k8s.io-reg.sock"


@contextmanager
def claimed(folder: Path) -> Iterator[Path]:
    """Have the folder alone and empty, without what a crashed run left; afterwards nothing is mounted below it.

    It is removed in the end unless the block fails: then its logs are below `logs`.

    Raises:
        Failure: another demo has it, or it cannot be emptied.
    """
    descriptor = _lock(folder)
    try:
        empty(folder)
        (folder / _PID).write_text(f"{os.getpid()}\n")
        try:
            yield folder
        except Failure as failure:
            unmount_below(folder)
            if link_logs(folder):
                failure.add_note(f"All logs: {folder.name}/{LOGS}")
            else:
                _remove(folder)
            raise
        except BaseException:
            _remove(folder)
            raise
        _remove(folder)
    finally:
        os.close(descriptor)


def _lock(folder: Path) -> int:
    while True:
        folder.mkdir(exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have removed it in between: then what we hold is not what others see.
            if os.path.samestat(os.fstat(descriptor), folder.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            where = f"in process {holder(folder)}"
            raise Failure(
                folder.name, f"a demo is running here already, {where}; end it with: make demo-stop"
            ) from None
        except FileNotFoundError:
            pass
        os.close(descriptor)


def holder(folder: Path) -> int | None:
    """The process of the demo that has the folder; None where none has."""
    with suppress(FileNotFoundError, ValueError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return int((folder / _PID).read_text())
        finally:
            os.close(descriptor)
    return None


def empty(folder: Path) -> None:
    """Unmount and delete everything in a folder.

    Raises:
        Failure: it belongs to another user.
    """
    unmount_below(folder)
    try:
        for each in folder.iterdir():
            shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
    except OSError as error:
        raise Failure(folder.name, f"what an earlier run left cannot be deleted ({error}): remove {folder}") from error


def _remove(folder: Path) -> None:
    empty(folder)
    folder.rmdir()


def link_logs(folder: Path) -> bool:
    """Show all logs in one place as well; whether there are any."""
    logs = folder / LOGS
    logs.mkdir(exist_ok=True)
    for log in [*folder.glob("*.log"), *folder.glob("*/*.log")]:
        with suppress(FileExistsError):
            (logs / log.name).hardlink_to(log)
    return any(logs.iterdir())


@contextmanager
def short(folder: Path) -> Iterator[Path]:
    """A path of the folder with room for the names of sockets below it: its own, or that of a symlink in /tmp."""
    if len(os.fsencode(folder / _DEEPEST)) <= _LONGEST_SOCKET:
        yield folder
        return
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]
    link = Path(tempfile.gettempdir()) / f"keyferry-{digest}"
    link.unlink(missing_ok=True)
    link.symlink_to(folder)
    try:
        yield link
    finally:
        link.unlink()
