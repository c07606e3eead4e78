import errno
import logging
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyferry.errors import FileWriteError, InvalidSecretProviderClass
from keyferry.resources import File
from node_driver import files, mounts, trees

GID = os.getgid()  # a group that even an unprivileged test may give files to
OLD = (File("user", b"old user"), File("password", b"old password"))
VERSION = re.compile(r"\.\.\d{4}_\d\d_\d\d_\d\d_\d\d_\d\d\.\d+")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A real volume of 64 KiB and 24 files."""
    mounts.mount_tmpfs(str(tmp_path), size_bytes=64 * 1024, inodes=24, mode=0o755)
    yield tmp_path
    mounts.unmount(str(tmp_path))


def write(volume: Path, *wanted: File, gid: int | None = None) -> bool:
    return files.write(str(volume), wanted, gid=gid)


def content(volume: Path) -> dict[str, bytes]:
    """What a pod sees: everything that the visible names lead to."""
    tops = [path for path in volume.iterdir() if not path.name.startswith("..")]
    found = [path for top in tops for path in (top, *top.rglob("*")) if path.is_file()]
    return {str(path.relative_to(volume)): path.read_bytes() for path in found}


def state(volume: Path) -> dict[str, tuple[int, ...]]:
    """Identity, mode and times of every entry: equal states mean that nothing was touched."""
    return {
        str(path): (at.st_ino, at.st_mode, at.st_gid, at.st_mtime_ns, at.st_ctime_ns)
        for path in (volume, *volume.rglob("*"))
        for at in [path.lstat()]
    }


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# The layout


def test_files_are_laid_out_as_kubelet_does(tmp_path: Path) -> None:
    """A name in the volume is a symlink through ..data into a directory named for the time."""
    assert write(tmp_path, File("user", b"me"), File("tls/deep/cert", b"pem"))

    version = str((tmp_path / "..data").readlink())
    assert VERSION.fullmatch(version)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["..data", version, "user", "tls"])
    assert (str((tmp_path / "user").readlink()), str((tmp_path / "tls").readlink())) == ("..data/user", "..data/tls")
    assert content(tmp_path) == {"user": b"me", "tls/deep/cert": b"pem"}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_modes_are_exact_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Files get the mode asked for and directories 0755, under any umask."""
    before = os.umask(umask)
    try:
        write(tmp_path, File("a", b"", 0o777), File("b", b"", 0o400), File("c", b"", 0), File("d/e", b"", 0o644))
    finally:
        os.umask(before)

    data = (tmp_path / "..data").resolve()
    assert [mode(data / name) for name in ("a", "b", "c", "d/e", "d", ".")] == [0o777, 0o400, 0, 0o644, 0o755, 0o755]


def test_an_empty_volume_is_a_volume(tmp_path: Path) -> None:
    """No files at all make an empty version, not an error, and replace what was there."""
    write(tmp_path, *OLD)

    assert write(tmp_path)
    assert content(tmp_path) == {}
    assert not write(tmp_path)


def test_a_large_file_arrives_whole(tmp_path: Path) -> None:
    """Contents are not cut, whatever one write(2) takes."""
    large = os.urandom(3 * 1024 * 1024 + 17)
    write(tmp_path, File("large", large))

    assert (tmp_path / "large").read_bytes() == large
    assert not write(tmp_path, File("large", large))


# Replacing


def test_new_content_replaces_all_of_the_old(tmp_path: Path) -> None:
    """After a write only its files are there: vanished names and the former version are gone."""
    write(tmp_path, *OLD, File("dir/gone", b"x"))
    former = str((tmp_path / "..data").readlink())

    assert write(tmp_path, File("user", b"new user"), File("key", b"new key"))
    assert content(tmp_path) == {"user": b"new user", "key": b"new key"}
    assert not (tmp_path / former).exists()
    assert len(list(tmp_path.iterdir())) == 4


def test_a_reader_keeps_the_version_it_opened(tmp_path: Path) -> None:
    """Whoever has the old directory open reads the old content to the end, not a mixture."""
    write(tmp_path, *OLD)
    with (tmp_path / "user").open("rb") as reader:
        write(tmp_path, File("user", b"new user"))

        assert reader.read() == b"old user"


def test_the_same_content_touches_nothing(tmp_path: Path) -> None:
    """Writing what is there already changes no inode, mode or time, in whatever order the files come."""
    write(tmp_path, *OLD, File("dir/a", b"1"), gid=GID)
    before = state(tmp_path)

    assert not write(tmp_path, File("dir/a", b"1"), *reversed(OLD), gid=GID)
    assert state(tmp_path) == before


@pytest.mark.parametrize(
    "changed",
    [
        (File("user", b"new user"), OLD[1]),
        (File("user", b"old user", 0o600), OLD[1]),
        (File("users", b"old user"), OLD[1]),
        (File("user/name", b"old user"), OLD[1]),
        OLD[:1],
        (*OLD, File("key", b"")),
    ],
    ids=["contents", "mode", "name", "file becomes directory", "fewer", "more"],
)
def test_every_difference_is_written(tmp_path: Path, changed: tuple[File, ...]) -> None:
    """Contents, mode, name and number of files each count as a change."""
    write(tmp_path, *OLD)

    assert write(tmp_path, *changed)
    assert content(tmp_path) == {file.path: file.contents for file in changed}
    assert [mode(tmp_path / "..data" / file.path) for file in changed] == [file.mode for file in changed]


def test_what_somebody_changed_in_place_is_put_right(tmp_path: Path) -> None:
    """A file altered behind our back counts as different, though its size is the same."""
    write(tmp_path, *OLD)
    (tmp_path / "user").write_bytes(b"bad user")

    assert write(tmp_path, *OLD)
    assert content(tmp_path)["user"] == b"old user"


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["a", "b", "c/d", "c/e", "f/g/h"]),
            st.tuples(st.binary(max_size=4), st.sampled_from([0o400, 0o644])),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_a_volume_ends_as_the_last_write_said(
    tmp_path_factory: pytest.TempPathFactory, history: list[dict[str, tuple[bytes, int]]]
) -> None:
    """Whatever was written before, the volume holds the last content, and writing it again changes nothing."""
    volume = tmp_path_factory.mktemp("volume")
    for wanted in history:
        last = [File(path, contents, bits) for path, (contents, bits) in wanted.items()]
        write(volume, *last)

    assert content(volume) == {file.path: file.contents for file in last}
    assert not write(volume, *last)


# Groups


def test_a_group_may_read_everything(tmp_path: Path) -> None:
    """With an fsGroup all belongs to it, readable, and directories pass it on, as in kubelet's read-only volumes."""
    write(tmp_path, File("a", b"", 0o600), File("dir/b", b"", 0o004), gid=GID)

    data = (tmp_path / "..data").resolve()
    assert [mode(data / name) for name in ("a", "dir/b", "dir", ".")] == [0o640, 0o444, 0o2755, 0o2755]
    assert mode(tmp_path) & 0o2550 == 0o2550
    assert {path.stat().st_gid for path in (tmp_path, *tmp_path.rglob("*"))} == {GID}


def test_a_group_that_is_missing_is_a_change(tmp_path: Path) -> None:
    """Content that is right but not yet the group's is given to it."""
    write(tmp_path, *OLD)

    assert write(tmp_path, *OLD, gid=GID)
    assert not write(tmp_path, *OLD, gid=GID)


def test_files_of_another_group_are_not_what_is_wanted(tmp_path: Path) -> None:
    """Modes alone do not make a file readable by a group: it must be this group's."""
    root = os.open(tmp_path, trees.DIRECTORY)
    try:
        trees.make(root, "top", {"a": File("a", b"")}, GID)

        assert trees.holds(root, "top", {"a": File("a", b"")}, GID)
        assert not trees.holds(root, "top", {"a": File("a", b"")}, GID + 1)
    finally:
        os.close(root)


def test_a_group_that_the_kernel_refuses_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gid that cannot be given (a user namespace maps few) is an error that names it, and the old content stays."""
    write(tmp_path, *OLD)
    monkeypatch.setattr(os, "fchown", refuse)

    with pytest.raises(FileWriteError, match="to fsGroup 4242: Operation not permitted"):
        write(tmp_path, File("user", b"new"), gid=4242)
    assert content(tmp_path) == {file.path: file.contents for file in OLD}


# What is refused


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("..", r'".."'),
        ("../host", r'".."'),
        ("a/../../host", r'".."'),
        ("a/..", r'".."'),
        ("..data", "begin with"),
        ("..data/user", "begin with"),
        ("..2026_05_01_10_00_00.1/user", "begin with"),
        ("...", "begin with"),
        (".", "plain relative path"),
        ("./a", "plain relative path"),
        ("a/./b", "plain relative path"),
        ("a//b", "plain relative path"),
        ("a/", "plain relative path"),
        ("nul\0byte", "control characters"),
        ("new\nline", "control characters"),
        ("delete\x7f", "control characters"),
        ("c1\x9b", "control characters"),
        ("surrogate\ud800", "Unicode"),
        ("x" * 256, "255 bytes"),
        ("é" * 128, "255 bytes"),
        ("/".join(["x" * 250] * 17), "4095 bytes"),
        ("/".join(["d"] * 65), "64"),
    ],
)
def test_a_bad_path_is_refused_before_anything_is_written(tmp_path: Path, path: str, why: str) -> None:
    """A path that could leave the volume, meet the layout's own names or exceed Linux's limits is refused with why."""
    write(tmp_path, *OLD)
    before = state(tmp_path)

    with pytest.raises(InvalidSecretProviderClass, match=why) as raised:
        write(tmp_path, File("good", b"canary"), File(path, b"canary"))
    assert state(tmp_path) == before
    assert raised.value.message.isprintable()
    assert "canary" not in raised.value.message


@pytest.mark.parametrize("path", ["a", ".hidden", "a..b", "a/..b", "back\\slash", "sp ace", "é" * 127, "a/" * 63 + "b"])
def test_an_unusual_path_is_written(tmp_path: Path, path: str) -> None:
    """Names that are legal on Linux and stay inside are legal here."""
    write(tmp_path, File(path, b"x"))

    assert content(tmp_path) == {path: b"x"}


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (["a", "a"], "two objects have this name"),
        (["d/a", "d/a"], "two objects have this name"),
        (["a", "a/b"], "'a' is a file already"),
        (["a/b", "a"], "name of a directory"),
    ],
)
def test_paths_that_exclude_each_other_are_refused(paths: list[str], why: str) -> None:
    """Two files of one name, or a file where another needs a directory, are refused with both in view."""
    with pytest.raises(InvalidSecretProviderClass, match=why):
        files.validate([File(path, b"same") for path in paths])


@pytest.mark.parametrize("bits", [-1, 0o1000, 0o4755])
def test_modes_beyond_permissions_are_refused(bits: int) -> None:
    """Only permission bits are modes: neither setuid nor anything above."""
    with pytest.raises(InvalidSecretProviderClass, match="within 0 to 0o777"):
        files.validate([File("a", b"", bits)])


@given(st.lists(st.text(alphabet=st.sampled_from("a./\\\0\n\u2024\ud800é"), max_size=8), max_size=4))
def test_no_path_leads_outside(tmp_path_factory: pytest.TempPathFactory, paths: list[str]) -> None:
    """Whatever the paths, a write either refuses all or adds nothing outside its volume."""
    outside = tmp_path_factory.mktemp("outside")
    volume = outside / "volume"
    volume.mkdir()
    before = state(outside).keys()
    outcome = refusal_of(volume, paths)

    added = state(outside).keys() - before
    assert all(path.startswith(f"{volume}/") for path in added)
    assert not (outcome and added)


def refusal_of(volume: Path, paths: list[str]) -> InvalidSecretProviderClass | None:
    try:
        write(volume, *(File(path, b"x") for path in paths))
    except InvalidSecretProviderClass as error:
        return error
    return None


# Symlinks


@pytest.mark.parametrize("name", ["..data", "..data_tmp", "..link_tmp", "user"])
def test_no_symlink_leads_a_write_outside(tmp_path: Path, name: str) -> None:
    """A symlink planted in the volume is replaced, and what it points at stays as it is."""
    outside, volume = tmp_path / "outside", tmp_path / "volume"
    outside.mkdir()
    volume.mkdir()
    (outside / "user").write_bytes(b"precious")
    (volume / name).symlink_to(outside)
    before = state(outside)

    assert write(volume, *OLD)
    assert state(outside) == before
    assert content(volume) == {file.path: file.contents for file in OLD}


def test_no_symlink_inside_a_version_is_followed(tmp_path: Path) -> None:
    """A directory of the current version swapped for a symlink is rebuilt, not written or cleaned through."""
    outside, volume = tmp_path / "outside", tmp_path / "volume"
    outside.mkdir()
    volume.mkdir()
    wanted = File("dir/user", b"same")
    write(volume, wanted)
    (outside / "user").write_bytes(b"same")
    shutil.rmtree(volume / "..data" / "dir")
    (volume / "..data" / "dir").symlink_to(outside)
    before = state(outside)

    assert write(volume, wanted)
    assert not (volume / "..data" / "dir").is_symlink()
    assert content(volume) == {"dir/user": b"same"}
    assert state(outside) == before


def test_a_symlink_is_no_volume(tmp_path: Path) -> None:
    """The target itself must be a directory, not a symlink to one."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    with pytest.raises(FileWriteError, match="cannot open the volume"):
        write(tmp_path / "link", *OLD)
    assert list((tmp_path / "real").iterdir()) == []


@pytest.mark.parametrize("current", ["..", "..data", "../outside", "user", "..2026_05_01_10_00_00.1/../.."])
def test_a_foreign_data_link_is_replaced(tmp_path: Path, current: str) -> None:
    """A ..data that no writer of ours made is not taken for a version, and above all not removed as one."""
    volume = tmp_path / "volume"
    (tmp_path / "outside").mkdir()
    volume.mkdir()
    (volume / "..data").symlink_to(current)

    assert write(volume, *OLD)
    assert content(volume) == {file.path: file.contents for file in OLD}
    assert (tmp_path / "outside").is_dir()


def test_a_fifo_does_not_hang_the_driver(tmp_path: Path) -> None:
    """A FIFO in a file's place is seen as different and replaced, without waiting for a writer."""
    write(tmp_path, *OLD)
    (tmp_path / "user").resolve().unlink()
    os.mkfifo((tmp_path / "..data").resolve() / "user")

    assert write(tmp_path, *OLD)
    assert content(tmp_path)["user"] == b"old user"


# Failures and crashes


@pytest.mark.root
def test_a_full_volume_keeps_its_old_content(small: Path) -> None:
    """When new content does not fit, the old one stays whole, nothing half-written is left, and the limit is named."""
    write(small, *OLD)
    before = {path: at[:3] for path, at in state(small).items()}

    with pytest.raises(FileWriteError, match=r"at most 65536 bytes and 24 files.*KEYFERRY_VOLUME_SIZE"):
        write(small, File("user", b"new"), File("large", b"x" * 80_000))
    assert {path: at[:3] for path, at in state(small).items()} == before
    assert write(small, File("user", b"new"))


@pytest.mark.root
@pytest.mark.parametrize("count", range(8, 24))
def test_running_out_of_files_at_any_step_keeps_the_old_content(small: Path, count: int) -> None:
    """Wherever the last inode goes (a file, a visible name, the switch itself), all is as it was or all is new."""
    write(small, *OLD)
    before = {path: at[:3] for path, at in state(small).items()}
    wanted = [File(f"file-{i}", b"x") for i in range(count)]

    with pytest.raises(FileWriteError, match="24 files"):
        write(small, *wanted)
    assert {path: at[:3] for path, at in state(small).items()} == before


@pytest.mark.root
def test_a_first_write_that_fails_leaves_nothing(small: Path) -> None:
    """A new volume whose content does not fit stays empty: nothing that a retry could take for success."""
    with pytest.raises(FileWriteError):
        write(small, File("user", b"me"), File("large", b"x" * 80_000))

    assert list(small.iterdir()) == []


def test_what_a_crash_left_is_cleaned(tmp_path: Path) -> None:
    """A half-written version, a link not yet renamed and a dangling name are gone after the next write."""
    write(tmp_path, *OLD)
    orphan = tmp_path / "..2026_05_01_10_00_00.1" / "deep"
    orphan.mkdir(parents=True)
    (orphan / "half").write_bytes(b"half")
    (tmp_path / "..data_tmp").symlink_to("..2026_05_01_10_00_00.1")
    (tmp_path / "..link_tmp").symlink_to("..data/x")
    (tmp_path / "half").symlink_to("..data/half")

    assert not write(tmp_path, *OLD)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["..data", str((tmp_path / "..data").readlink()), "user", "password"]
    )


def test_a_name_that_a_crash_forgot_is_made(tmp_path: Path) -> None:
    """Content that is in place but not visible under its name counts as different."""
    write(tmp_path, *OLD)
    (tmp_path / "user").unlink()

    assert write(tmp_path, *OLD)
    assert content(tmp_path) == {file.path: file.contents for file in OLD}


def test_mount_points_of_the_runtime_are_left_alone(tmp_path: Path) -> None:
    """Directories and files that are not ours survive: a container runtime mounts on them."""
    (tmp_path / "mountpoint").mkdir()
    (tmp_path / "file").write_bytes(b"")
    write(tmp_path, *OLD)
    write(tmp_path, File("user", b"new"))

    assert (tmp_path / "mountpoint").is_dir()
    assert (tmp_path / "file").is_file()


def test_a_foreign_file_in_a_names_place_is_replaced(tmp_path: Path) -> None:
    """A plain file where a name belongs, as provider-written volumes of old had it, gives way to the name."""
    (tmp_path / "user").write_bytes(b"ancient")
    write(tmp_path, *OLD)

    assert content(tmp_path) == {file.path: file.contents for file in OLD}


def test_a_directory_in_a_names_place_is_an_error(tmp_path: Path) -> None:
    """A directory cannot be replaced at once, so the write fails, says why, and leaves the old content."""
    write(tmp_path, *OLD)
    (tmp_path / "key").mkdir()

    with pytest.raises(FileWriteError, match=r"Is a directory \(EISDIR\)"):
        write(tmp_path, File("user", b"new"), File("key", b""))
    assert content(tmp_path) == {file.path: file.contents for file in OLD}


def test_a_missing_volume_is_named(tmp_path: Path) -> None:
    """The error names the path and the kernel's reason."""
    with pytest.raises(FileWriteError, match="missing: No such file or directory"):
        write(tmp_path / "missing", *OLD)


def test_leftovers_that_stay_are_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once the switch is made the write has succeeded, even when the old version cannot be removed."""
    write(tmp_path, *OLD)
    monkeypatch.setattr(os, "rmdir", refuse)
    with caplog.at_level(logging.WARNING):
        changed = write(tmp_path, File("user", b"new"))

    assert changed
    assert content(tmp_path) == {"user": b"new"}
    assert [record.message for record in caplog.records] == ["stale files stay until the next write"]


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    """A driver that writes for months does not run out of descriptors, whether writes succeed or fail."""
    before = open_descriptors()
    write(tmp_path, *OLD, File("dir/a", b"1"))
    write(tmp_path, *OLD, File("dir/a", b"1"))
    write(tmp_path, File("user", b"new"))
    (tmp_path / "key").mkdir()
    with pytest.raises(FileWriteError):
        write(tmp_path, File("key", b""))

    assert open_descriptors() == before


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_tree_removes_what_it_made(tmp_path: Path) -> None:
    """Removing is complete however deep a tree is, and removing nothing is success."""
    root = os.open(tmp_path, trees.DIRECTORY)
    try:
        trees.make(root, "top", {"a": {"b": {"c": File("c", b"")}}, "d": File("d", b"")}, None)
        trees.remove(root, "top")
        trees.remove(root, "top")
    finally:
        os.close(root)

    assert list(tmp_path.iterdir()) == []
