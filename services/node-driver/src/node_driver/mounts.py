"""Mounts and unmounts a volume's tmpfs by the kernel's own calls: a subprocess would cost a hundred times more."""

from __future__ import annotations

import ctypes
import errno
import functools
import logging
import os
import stat

from keyferry.errors import FailedToMount

log = logging.getLogger(__name__)

_libc = ctypes.CDLL(None, use_errno=True)

# linux/mount.h and linux/magic.h; the same on every architecture.
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_FLAGS = ctypes.c_ulong(_MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_TMPFS_MAGIC = 0x01021994
_SYS_FSOPEN, _SYS_FSCONFIG, _FSOPEN_CLOEXEC, _FSCONFIG_SET_FLAG = 430, 431, 1, 0
_STATFS_BYTES = 256  # struct statfs is 120 at most; its first word is the file system's type

_HINTS = {
    errno.EPERM: "the node-driver must run privileged",
    errno.EACCES: "the node-driver must run privileged",
    errno.ENOENT: "the target directory does not exist",
    errno.ENOTDIR: "the target is not a directory, or is a symlink",
    errno.EINVAL: "the kernel refuses an option, such as a gid that this user namespace does not map",
    errno.ENOSPC: "the limit fs.mount-max of mounts per namespace is reached",
    errno.ENOMEM: "the node is out of memory",
}


def mount_tmpfs(target: str, *, size_bytes: int, inodes: int, mode: int, gid: int | None = None) -> None:
    """Mount an empty tmpfs on an existing directory: nosuid, nodev, noexec, and out of swap's reach where Linux can.

    Args:
        target: Directory, absolute; a symlink in its place is refused.
        size_bytes: The most that all files together may take; above 0, for 0 would mean no limit (tmpfs(5)).
        inodes: The most files, directories and symlinks it may hold; above 0 likewise.
        mode: Permission bits of its root directory, setgid included.
        gid: Group of its root directory; None for the process's own.

    Raises:
        FailedToMount: with the path and the kernel's reason.
    """
    options = f"size={size_bytes},nr_inodes={inodes},mode={mode:o}"
    if gid is not None:
        options += f",gid={gid}"
    if takes_noswap():
        options += ",noswap"
    try:
        # mount(2) follows symlinks; through a descriptor it mounts exactly what was looked at.
        directory = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _failure("mount a tmpfs on", target, error.errno) from None
    try:
        place = b"/proc/self/fd/%d" % directory
        if _libc.mount(b"tmpfs", place, b"tmpfs", _FLAGS, options.encode()) != 0:
            raise _failure("mount a tmpfs on", target, ctypes.get_errno())
    finally:
        os.close(directory)


def unmount(target: str) -> None:
    """Take away everything that is mounted on a path; nothing mounted, or no such path, is success.

    Lazily (MNT_DETACH), because a reader that still holds a file open (a container about to die, an agent on the host)
    would otherwise keep the pod in Terminating: the path is free at once and the kernel drops the content with the last
    reader. Nothing is lost by it, since a tmpfs has nothing to flush.

    Raises:
        FailedToMount: with the path and the kernel's reason.
    """
    place = os.fsencode(target)
    while _libc.umount2(place, _MNT_DETACH | _UMOUNT_NOFOLLOW) == 0:
        pass  # once more: a crash between two publishes may have left one mount on top of another
    error = ctypes.get_errno()
    if error == errno.ENOENT or (error == errno.EINVAL and not _crosses_devices(target)):
        return
    raise _failure("unmount", target, error)


def is_tmpfs_mount(target: str) -> bool:
    """Whether a tmpfs is mounted on exactly this directory; three system calls, since every republish asks.

    Raises:
        FailedToMount: when the path cannot be looked at.
    """
    if not _crosses_devices(target):
        return False
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.statfs(os.fsencode(target), buffer) != 0:
        raise _failure("look at", target, ctypes.get_errno())
    return ctypes.c_long.from_buffer(buffer).value == _TMPFS_MAGIC


@functools.cache
def takes_noswap() -> bool:
    """Whether the kernel takes tmpfs's ``noswap`` from us; asked once, of a file system that is never mounted.

    Linux before 6.4 does not know the option, and no user namespace but the first may set it (mm/shmem.c).
    """
    descriptor = _libc.syscall(_SYS_FSOPEN, b"tmpfs", _FSOPEN_CLOEXEC)
    if descriptor < 0:
        taken = False
    else:
        taken = _libc.syscall(_SYS_FSCONFIG, descriptor, _FSCONFIG_SET_FLAG, b"noswap", None, 0) == 0
        os.close(descriptor)
    if not taken:
        log.warning("tmpfs cannot be kept out of swap: it takes Linux 6.4; disable swap on this node or encrypt it")
    return taken


def _crosses_devices(target: str) -> bool:
    """Whether a directory is of another file system than its parent, as the root of a tmpfs always is."""
    try:
        at, above = os.lstat(target), os.lstat(os.path.dirname(target))  # noqa: PTH120 - pathlib costs more than the call
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _failure("look at", target, error.errno) from None
    return stat.S_ISDIR(at.st_mode) and at.st_dev != above.st_dev


def _failure(action: str, target: str, number: int | None) -> FailedToMount:
    number = number or 0
    hint = _HINTS.get(number)
    name = errno.errorcode.get(number, str(number))
    return FailedToMount(f"cannot {action} {target}: {os.strerror(number)} ({name})" + (f": {hint}" if hint else ""))
