"""Where records of who got what are written."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from keyferry import audit
from keyferry.errors import AccessDenied


def refuse() -> None:
    audit.Record("node-a", "csi-1", "r-1").refuse(AccessDenied("no"))


def test_a_file_of_their_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Records that are sent to a file are JSON there, one a line, and not among the logs."""
    path = tmp_path / "audit.log"
    path.write_text('{"message": "of an earlier run"}\n')
    with audit.written_to(str(path), "fetcher"):
        refuse()
        refuse()

    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["message"] for line in lines] == ["of an earlier run", "content refused", "content refused"]
    assert caplog.records == []


def test_a_file_that_is_moved_away(tmp_path: Path) -> None:
    """What rotates the file need not tell us: the next record begins a new one."""
    path = tmp_path / "audit.log"
    with audit.written_to(str(path), "fetcher"):
        refuse()
        path.rename(tmp_path / "audit.log.1")
        refuse()

    assert [len(each.read_text().splitlines()) for each in (path, tmp_path / "audit.log.1")] == [1, 1]


def test_among_the_logs_whatever_their_level(caplog: pytest.LogCaptureFixture) -> None:
    """An operator who wants fewer logs does not lose the audit by it."""
    logging.getLogger("keyferry").setLevel(logging.ERROR)
    try:
        with audit.written_to(audit.LOGS, "fetcher"):
            refuse()
    finally:
        logging.getLogger("keyferry").setLevel(logging.NOTSET)

    assert [record.getMessage() for record in caplog.records] == ["content refused"]


def test_off(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is written where nothing is wanted, and only for so long."""
    with audit.written_to(audit.OFF, "fetcher"):
        refuse()
    refuse()

    assert [record.getMessage() for record in caplog.records] == ["content refused"]


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """A service that could not keep its records does not start."""
    with pytest.raises(IsADirectoryError), audit.written_to(str(tmp_path), "fetcher"):
        pass
