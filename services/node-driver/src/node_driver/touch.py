"""Tells who watches a single file of a volume that it reads differently now.

A switch of ``..data`` changes no link that pods open, so that a watcher of ``db-password`` would hear nothing:
inotify(7) reports what happens to a name, not to what its link leads to. A new modification time, and that alone, is
reported as IN_MODIFY of the name, which is what watchers of files wait for. With the access time it would be IN_ATTRIB.
"""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)

# linux/fcntl.h and linux/stat.h; Python's os.utime cannot leave a time alone.
_AT_SYMLINK_NOFOLLOW = 0x100
_UTIME_NOW, _UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


_TIMES = (_Timespec * 2)(_Timespec(0, _UTIME_OMIT), _Timespec(0, _UTIME_NOW))


def touch(directory: int, name: str) -> None:
    """Report a name in an open directory as modified, whatever it is; a symlink is not followed.

    Raises:
        OSError: there is no such name, or the kernel refuses.
    """
    if _libc.utimensat(directory, os.fsencode(name), _TIMES, _AT_SYMLINK_NOFOLLOW):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
