"""One demo has the folder at a time, and leaves it as it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyferry.testing.demo.failure import Failure
from keyferry.testing.demo.folder import claimed, holder, short


def end_with(error: BaseException, folder: Path) -> None:
    with claimed(folder):
        (folder / "nats").mkdir()
        (folder / "nats" / "nats.log").write_text("why")
        raise error


def test_is_empty_at_first_and_gone_at_last(tmp_path: Path) -> None:
    """What a crashed run left is cleared away, and nothing is left behind."""
    folder = tmp_path / ".demo"
    (folder / "nats").mkdir(parents=True)
    (folder / "nats" / "nats.log").write_text("old")
    with claimed(folder):
        assert [each.name for each in folder.iterdir()] == ["pid"]
        (folder / "logs").mkdir()
    assert not folder.exists()


def test_one_at_a_time(tmp_path: Path) -> None:
    """A second demo is refused with the way out, and the first one's process is known."""
    folder = tmp_path / ".demo"
    with claimed(folder):
        pid = int((folder / "pid").read_text())
        assert holder(folder) == pid
        with pytest.raises(Failure, match=rf"process {pid}; end it with: make demo-stop"), claimed(folder):
            pass
        assert (folder / "pid").exists()
    assert holder(folder) is None


def test_failure_keeps_logs(tmp_path: Path) -> None:
    """After a failure the logs of all servers are in one place, which the message names."""
    folder = tmp_path / ".demo"
    with pytest.raises(Failure) as failed:
        end_with(Failure("NATS", "does not start"), folder)
    assert (folder / "logs" / "nats.log").read_text() == "why"
    assert failed.value.__notes__ == ["All logs: .demo/logs"]


def test_interrupt_keeps_nothing(tmp_path: Path) -> None:
    """Ctrl-C is no failure: nobody asks for logs."""
    folder = tmp_path / ".demo"
    with pytest.raises(KeyboardInterrupt):
        end_with(KeyboardInterrupt(), folder)
    assert not folder.exists()


def test_short_path(tmp_path: Path) -> None:
    """A folder deep down is reached by a path that leaves room for sockets, for as long as it is needed."""
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    with short(deep) as path:
        assert len(str(path)) < 50
        assert path.resolve() == deep
    assert not path.is_symlink()


def test_short_enough(tmp_path: Path) -> None:
    """A short path is used as it is."""
    with short(Path("/srv/keyferry/.demo")) as path:
        assert path == Path("/srv/keyferry/.demo")
    assert list(tmp_path.iterdir()) == []
