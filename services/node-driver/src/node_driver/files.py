"""Puts files into a volume all at once: readers see the old content or the new, never a mixture.

The layout is that of kubelet's AtomicWriter, so that whatever reads ConfigMap and Secret volumes reads ours::

    ..2026_05_01_10_00_00.1234567890/user       the files, never changed once visible
    ..data -> ..2026_05_01_10_00_00.1234567890  replaced by rename(2): this is the switch
    user -> ..data/user                         what the pod opens; touched when what it reads has changed

Everything happens relative to open directories and no symlink is followed, so that nothing in a volume, whoever put it
there, can lead a write outside. Nothing is synced to disk: a tmpfs has none.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import time
from collections.abc import Iterable

from keyferry.errors import FileWriteError
from keyferry.resources import File
from node_driver import trees
from node_driver.paths import Tree, arrange
from node_driver.touch import touch

log = logging.getLogger(__name__)

_DATA, _DATA_TMP, _LINK_TMP = "..data", "..data_tmp", "..link_tmp"
_VERSION = re.compile(r"\.\.\d{4}(_\d{2}){5}\.\d+")


def validate(files: Iterable[File]) -> None:
    """Check that a volume can hold these files.

    Raises:
        InvalidSecretProviderClass: naming the file and the fix.
    """
    arrange(files)


def write(target: str, files: Iterable[File], *, gid: int | None = None) -> bool:
    """Make a volume hold exactly these files, with exactly these modes whatever the umask.

    On failure the old content is in place, whole. What a crash left half-written is removed by the next write.

    Args:
        target: The volume's directory, mounted.
        files: All of its files; none makes an empty volume.
        gid: fsGroup, the group that all files and directories get and may read by; None leaves groups alone.

    Returns:
        Whether names, contents, modes or group changed. If not, nothing was touched.

    Raises:
        InvalidSecretProviderClass: for files that no volume can hold.
        FileWriteError: with the path, the kernel's reason and the fix.
    """
    tree = arrange(files)
    try:
        root = os.open(target, trees.DIRECTORY)
    except OSError as error:
        raise FileWriteError(f"cannot open the volume {target}: {error.strerror}") from None
    try:
        return _write(root, target, tree, gid)
    except OSError as error:
        raise FileWriteError(_explained(root, target, gid, error)) from None
    finally:
        os.close(root)


def _write(root: int, target: str, tree: Tree, gid: int | None) -> bool:
    given = gid is not None and trees.give(root, gid)
    names = os.listdir(root)
    current = _current(root, names)
    for name in names:
        if name.startswith("..") and name not in (_DATA, current):
            trees.remove(root, name)  # a crash left it; before the write, which may need its space
    same = (
        current is not None and trees.holds(root, current, tree, gid) and all(_is_linked(root, name) for name in tree)
    )
    if not same:
        _switch(root, tree, gid)
        if current is not None:
            _tell_watchers(root, current, tree, gid)
    stale = [name for name in names if name not in tree and not name.startswith("..")]
    _tidy(root, target, stale, None if same else current)
    return given or not same


def _current(root: int, names: list[str]) -> str | None:
    """The directory that ``..data`` points at; None when there is none, or none that a writer of ours made."""
    if _DATA not in names:
        return None
    try:
        current = os.readlink(_DATA, dir_fd=root)
    except OSError:  # no symlink
        return None
    return current if current in names and _VERSION.fullmatch(current) else None


def _switch(root: int, tree: Tree, gid: int | None) -> None:
    """Write a new version beside the current one and switch to it; all or nothing."""
    version = time.strftime("..%Y_%m_%d_%H_%M_%S.", time.gmtime()) + str(int.from_bytes(os.urandom(4), "big"))
    made = [version]
    try:
        trees.make(root, version, tree, gid)
        # Links to new names dangle until the switch. kubelet makes them after it, but then a full tmpfs could leave new
        # content in place with a name missing.
        for name in tree:
            if _link(root, name):
                made.append(name)  # noqa: PERF401 - one by one, so that a failure finds all that was made before it
        os.symlink(version, _DATA_TMP, dir_fd=root)
        os.rename(_DATA_TMP, _DATA, src_dir_fd=root, dst_dir_fd=root)
    except Exception:
        for name in (_DATA_TMP, *made):
            with contextlib.suppress(OSError):  # the first failure is the one to tell; the next write cleans up
                trees.remove(root, name)
        raise


def _tell_watchers(root: int, old: str, tree: Tree, gid: int | None) -> None:
    """Report the names that read differently since the switch; who watches the directory has seen the switch itself."""
    with contextlib.suppress(OSError):  # the content is in place all the same
        for name in trees.differing(root, old, tree, gid):
            touch(root, name)


def _link(root: int, name: str) -> bool:
    """Make the symlink that pods open.

    Returns:
        Whether there was nothing of this name before.
    """
    try:
        os.symlink(f"{_DATA}/{name}", name, dir_fd=root)
    except FileExistsError:
        if not _is_linked(root, name):
            os.symlink(f"{_DATA}/{name}", _LINK_TMP, dir_fd=root)
            os.rename(_LINK_TMP, name, src_dir_fd=root, dst_dir_fd=root)
        return False
    return True


def _is_linked(root: int, name: str) -> bool:
    try:
        return os.readlink(name, dir_fd=root) == f"{_DATA}/{name}"
    except OSError:  # nothing there, or no symlink
        return False


def _tidy(root: int, target: str, stale: list[str], old: str | None) -> None:
    """Remove what the switch made useless; the content is in place, so a failure here is no failure of the write.

    Files that are no links of ours stay: a container runtime may have put mount points there.
    """
    try:
        for name in stale:
            if _is_linked(root, name):
                os.unlink(name, dir_fd=root)
        if old is not None:
            trees.remove(root, old)
    except OSError as error:
        log.warning("stale files stay until the next write", extra={"target_path": target, "error": error.strerror})


def _explained(root: int, target: str, gid: int | None, error: OSError) -> str:
    """What went wrong, and what to change."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        limits = os.fstatvfs(root)
        return (
            f"the volume {target} is full: it holds at most {limits.f_blocks * limits.f_frsize} bytes and "
            f"{limits.f_files} files, old and new content together while one replaces the other: mount fewer or "
            f"smaller objects, or raise KEYFERRY_VOLUME_SIZE or KEYFERRY_VOLUME_INODES"
        )
    if gid is not None and error.errno in (errno.EPERM, errno.EINVAL):
        return f"cannot give the files in {target} to fsGroup {gid}: {error.strerror}: use a group that this node maps"
    return f"cannot write files in {target}: {error.strerror} ({errno.errorcode.get(error.errno or 0, error.errno)})"
