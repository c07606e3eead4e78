import json
import logging
import stat
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyferry.resources import ObjectVersion, Pod
from node_driver import mounts
from node_driver.records import Record, Records

RECORD = Record(
    volume_id="csi-1",
    target_path="/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/v/mount",
    pod=Pod("shop", "web-0", "u-1", "web"),
    secret_provider_class="vault-db",
    provider="vault",
    content_key="k1",
    digest=b"\x00\xff",
    fetched_at_ms=1_777_000_000_000,
    versions=(ObjectVersion("secret/db", "3"),),
    sources=("secret/data/db",),
    left_out=("optional",),
    rotation_ms=30_000,
    refresh_by_ms=1_777_000_060_000,
    stale_since_ms=1_777_000_001_000,
)


def only_file(directory: Path) -> Path:
    (found,) = directory.iterdir()
    return found


def test_records_survive_the_process(tmp_path: Path) -> None:
    """What one driver saved the next one finds, field for field, the last save of each volume."""
    Records(tmp_path).save(replace(RECORD, provider="aws"))
    Records(tmp_path).save(RECORD)
    Records(tmp_path).save(replace(RECORD, volume_id="csi-2", versions=()))

    found = sorted(Records(tmp_path).load_all(), key=lambda record: record.volume_id)
    assert found == [RECORD, replace(RECORD, volume_id="csi-2", versions=())]


def test_a_forgotten_record_is_gone(tmp_path: Path) -> None:
    """Forgetting removes the file, and forgetting twice is success."""
    records = Records(tmp_path)
    records.save(RECORD)
    records.forget("csi-1")
    records.forget("csi-1")

    assert list(tmp_path.iterdir()) == []


def test_records_are_for_the_driver_alone(tmp_path: Path) -> None:
    """Directory and files are closed to others, also where the directory was open before."""
    (tmp_path / "open").mkdir(mode=0o755)
    Records(tmp_path / "open").save(RECORD)

    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o700
    assert stat.S_IMODE(only_file(tmp_path / "open").stat().st_mode) == 0o600


def test_a_record_has_no_place_for_a_secret() -> None:
    """What a record can hold is a closed list of identifiers, without attributes, tokens or files."""
    assert [field.name for field in fields(Record)] == [
        "volume_id",
        "target_path",
        "pod",
        "secret_provider_class",
        "provider",
        "content_key",
        "digest",
        "fetched_at_ms",
        "versions",
        "sources",
        "left_out",
        "rotation_ms",
        "refresh_by_ms",
        "stale_since_ms",
    ]


def test_a_record_of_the_first_version_is_loaded(tmp_path: Path) -> None:
    """A record without what later versions added is a record, and the missing has its default."""
    Records(tmp_path).save(RECORD)
    written = json.loads(only_file(tmp_path).read_bytes())
    for name in ("sources", "left_out", "rotation_ms", "refresh_by_ms", "stale_since_ms"):
        del written[name]
    only_file(tmp_path).write_text(json.dumps(written))

    first = replace(RECORD, sources=(), left_out=(), rotation_ms=None, refresh_by_ms=0, stale_since_ms=0)
    assert Records(tmp_path).load_all() == [first]


@pytest.mark.parametrize("rotation_ms", [None, 0, 1])
def test_never_is_not_nothing(tmp_path: Path, rotation_ms: int | None) -> None:
    """A class that wants no rotation and a class that says nothing stay two things."""
    Records(tmp_path).save(replace(RECORD, rotation_ms=rotation_ms))

    assert [record.rotation_ms for record in Records(tmp_path).load_all()] == [rotation_ms]


@given(volume_id=st.text(min_size=1, max_size=128), digest=st.binary(max_size=64), fetched_at_ms=st.integers())
def test_any_record_comes_back(
    tmp_path_factory: pytest.TempPathFactory, volume_id: str, digest: bytes, fetched_at_ms: int
) -> None:
    """A record comes back whatever its volume id, which never decides where the file is written."""
    directory = tmp_path_factory.mktemp("records")
    record = replace(RECORD, volume_id=volume_id, digest=digest, fetched_at_ms=fetched_at_ms)
    Records(directory).save(record)

    assert Records(directory).load_all() == [record]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"volume_id": "csi-1"}',
        json.dumps("text").encode(),
        b'{"volume_id": "csi-1", "pod": null, "target_path": 1}',
    ],
)
def test_a_corrupt_file_is_moved_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture, text: bytes) -> None:
    """A file that is no record is logged once and put away, and the other records are loaded."""
    Records(tmp_path).save(RECORD)
    (tmp_path / "broken.json").write_bytes(text)
    with caplog.at_level(logging.WARNING):
        first, second = Records(tmp_path).load_all(), Records(tmp_path).load_all()

    assert first == second == [RECORD]
    assert (tmp_path / "broken.json.bad").read_bytes() == text
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "xyz"},
        {"digest": None},
        {"fetched_at_ms": "1"},
        {"fetched_at_ms": float("inf")},
        {"versions": None},
        {"versions": ["secret/db"]},
        {"pod": {"namespace": "shop"}},
        {"pod": {"namespace": 1, "name": "n", "uid": "u", "service_account": "s"}},
        {"provider": None},
        {"volume_id": "\ud800"},
        {"volume_id": "csi-2"},
        {"sources": "text"},
        {"sources": [1]},
        {"left_out": None},
        {"rotation_ms": "2m"},
        {"refresh_by_ms": 1.5},
        {"stale_since_ms": None},
    ],
)
def test_a_record_with_a_wrong_field_is_moved_aside(tmp_path: Path, change: dict[str, object]) -> None:
    """Each field is checked, and so is that the file belongs to the volume it names."""
    Records(tmp_path).save(RECORD)
    path = only_file(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    assert Records(tmp_path).load_all() == []
    assert only_file(tmp_path).name == f"{path.name}.bad"


def test_what_is_no_file_is_not_fatal(tmp_path: Path) -> None:
    """Directories, even where one cannot be moved, do not keep the driver from starting."""
    Records(tmp_path).save(RECORD)
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory.bad" / "inside").mkdir(parents=True)
    (tmp_path / "odd.tmp").mkdir()

    assert Records(tmp_path).load_all() == [RECORD]


def test_a_save_cut_short_by_a_crash_is_no_record(tmp_path: Path) -> None:
    """A temporary file is removed at the next start, and the record that it should have replaced still holds."""
    Records(tmp_path).save(RECORD)
    (tmp_path / f"{only_file(tmp_path).name}.tmp").write_bytes(b'{"volume_id": "cs')

    assert Records(tmp_path).load_all() == [RECORD]
    assert only_file(tmp_path).suffix == ".json"


def test_a_disk_that_refuses_fails_no_mount(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A record that cannot be written or removed is logged, and the caller goes on."""
    records = Records(tmp_path / "records")
    (tmp_path / "records").rmdir()
    (tmp_path / "records").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        records.save(RECORD)
        records.forget("csi-1")

    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


@pytest.mark.root
def test_a_full_disk_leaves_the_earlier_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A record that does not fit any more never replaces a whole one by a part."""
    mounts.mount_tmpfs(str(tmp_path), size_bytes=8192, inodes=16, mode=0o700)
    try:
        Records(tmp_path).save(RECORD)
        Records(tmp_path).save(replace(RECORD, versions=RECORD.versions * 200))

        assert Records(tmp_path).load_all() == [RECORD]
        assert [record.levelname for record in caplog.records] == ["WARNING"]
    finally:
        mounts.unmount(str(tmp_path))
