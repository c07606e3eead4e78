import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyferry.errors import FailedToMount
from node_driver import mounts

pytestmark = pytest.mark.root

SIZE, INODES = 1024 * 1024, 32


@pytest.fixture
def target(tmp_path: Path) -> Iterator[str]:
    place = tmp_path / "mount"
    place.mkdir()
    yield str(place)
    mounts.unmount(str(place))


def mount(target: str, **changed: int) -> None:
    mounts.mount_tmpfs(target, **{"size_bytes": SIZE, "inodes": INODES, "mode": 0o755, **changed})


def options_of(target: str) -> set[str]:
    """Options of the mount and of its file system, as the kernel tells them (proc(5), mountinfo)."""
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    (fields,) = [fields for fields in lines if fields[4] == target]
    return {*fields[5].split(","), *fields[-1].split(",")}


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_mount_is_a_bounded_tmpfs_that_runs_nothing(target: str) -> None:
    """The tmpfs has the limits asked for, and neither setuid, devices nor programs work on it."""
    mount(target)

    assert {"rw", "nosuid", "nodev", "noexec", "size=1024k", "nr_inodes=32", "mode=755"} <= options_of(target)
    assert os.statvfs(target).f_blocks * os.statvfs(target).f_frsize == SIZE


def test_secrets_stay_out_of_swap_where_the_kernel_lets_us(target: str) -> None:
    """The option noswap is there exactly if the kernel takes it from us, and a mount works either way."""
    mount(target)

    assert ("noswap" in options_of(target)) == mounts.takes_noswap()


def test_swap_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever runs on a kernel without noswap is told so, once and not at every mount."""
    mounts.takes_noswap.cache_clear()
    with caplog.at_level(logging.WARNING):
        first, second = mounts.takes_noswap(), mounts.takes_noswap()

    assert first == second
    assert [record.levelname for record in caplog.records] == ["WARNING"] * (not first)


def test_mode_and_group_are_those_of_the_root_directory(target: str) -> None:
    """A volume with an fsGroup starts with a setgid root of that group."""
    mount(target, mode=0o2755, gid=os.getgid())

    at = Path(target).stat()
    assert (stat.S_IMODE(at.st_mode), at.st_gid) == (0o2755, os.getgid())


def test_a_full_volume_takes_no_more(target: str) -> None:
    """The size is a limit, not a hint."""
    mount(target)

    with pytest.raises(OSError, match="No space left"):
        Path(target, "large").write_bytes(b"x" * (SIZE + 1))


def test_a_mount_is_recognised(target: str) -> None:
    """A directory counts as mounted from the mount to the unmount, and not a moment longer."""
    before = mounts.is_tmpfs_mount(target)
    mount(target)
    between = mounts.is_tmpfs_mount(target)
    mounts.unmount(target)

    assert (before, between, mounts.is_tmpfs_mount(target)) == (False, True, False)


def test_what_lies_inside_a_mount_is_not_a_mount(target: str) -> None:
    """A directory on a tmpfs is not itself mounted, though its file system is one."""
    mount(target)
    inside = Path(target, "inside")
    inside.mkdir()

    assert not mounts.is_tmpfs_mount(str(inside))


def test_another_file_system_is_not_ours() -> None:
    """A mount of another kind is not taken for a volume."""
    assert not mounts.is_tmpfs_mount("/proc")


def test_nothing_is_not_a_mount(tmp_path: Path) -> None:
    """A path that does not exist, or leads through a file, is not mounted, and that is no error."""
    (tmp_path / "file").write_bytes(b"")

    assert not mounts.is_tmpfs_mount(str(tmp_path / "missing"))
    assert not mounts.is_tmpfs_mount(str(tmp_path / "file"))
    assert not mounts.is_tmpfs_mount(str(tmp_path / "file" / "below"))


def test_a_symlink_to_a_mount_is_not_a_mount(target: str, tmp_path: Path) -> None:
    """Only the path itself counts, not what it points at."""
    mount(target)
    (tmp_path / "link").symlink_to(target)

    assert not mounts.is_tmpfs_mount(str(tmp_path / "link"))


def test_a_symlink_is_never_mounted_on(target: str, tmp_path: Path) -> None:
    """A symlink in the target's place cannot lead a mount elsewhere."""
    (tmp_path / "link").symlink_to(target)

    with pytest.raises(FailedToMount, match=r"link: Not a directory \(ENOTDIR\)"):
        mount(str(tmp_path / "link"))
    assert not mounts.is_tmpfs_mount(target)


def test_unmounting_does_not_follow_a_symlink(target: str, tmp_path: Path) -> None:
    """Unpublishing through a symlink leaves the mount that it points at alone."""
    mount(target)
    (tmp_path / "link").symlink_to(target)
    mounts.unmount(str(tmp_path / "link"))

    assert mounts.is_tmpfs_mount(target)


def test_unmounting_takes_everything_away(target: str) -> None:
    """Two mounts on top of each other, as a crash may leave them, are both gone after one unmount."""
    mount(target)
    mount(target)
    mounts.unmount(target)

    assert not mounts.is_tmpfs_mount(target)


def test_unmounting_is_idempotent(target: str, tmp_path: Path) -> None:
    """Unmounting what is not mounted, or not there at all, is success: kubelet repeats itself."""
    mounts.unmount(target)
    mounts.unmount(str(tmp_path / "missing"))


def test_a_busy_volume_is_unmounted(target: str) -> None:
    """A reader with an open file neither holds the unmount up nor loses what it reads."""
    mount(target)
    Path(target, "file").write_bytes(b"old")
    with Path(target, "file").open("rb") as reader:
        mounts.unmount(target)

        assert not mounts.is_tmpfs_mount(target)
        assert reader.read() == b"old"


def test_a_missing_target_is_named(tmp_path: Path) -> None:
    """The error names the path and the kernel's reason."""
    with pytest.raises(FailedToMount, match=r"missing: No such file or directory \(ENOENT\): the target directory"):
        mount(str(tmp_path / "missing"))


def test_a_refused_option_is_explained(target: str) -> None:
    """What the kernel calls an invalid argument is reported with a guess at which one."""
    with pytest.raises(FailedToMount, match=r"\(EINVAL\): the kernel refuses an option"):
        mount(target, gid=2**32 - 1)
    assert not mounts.is_tmpfs_mount(target)


def test_no_descriptor_is_left_open(target: str) -> None:
    """A driver that mounts for months does not run out of descriptors, whether mounts succeed or fail."""
    mounts.takes_noswap()
    before = open_descriptors()
    mount(target)
    with pytest.raises(FailedToMount):
        mount(target, gid=2**32 - 1)

    assert open_descriptors() == before
