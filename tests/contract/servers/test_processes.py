import asyncio
import os
import select
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from keyferry.testing.ports import free_port
from keyferry.testing.processes import Server, ServerError, answers, logged, server

PYTHON = (sys.executable, "-u", "-c")
SLEEPER = (*PYTHON, "import time; print('up'); time.sleep(600)")


def state(pid: int) -> str:
    """One letter of proc(5): T is stopped by a signal."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def exits(pidfd: int) -> bool:
    """Whether the process ends within five seconds."""
    return bool(select.select([pidfd], [], [], 5.0)[0])


def test_a_server_that_ends_early_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    """The error names the server, its exit status and the last 30 lines, not more."""
    argv = (*PYTHON, "print(*(f'line {n:02}' for n in range(40)), sep='\\n'); raise SystemExit(3)")

    with (
        pytest.raises(ServerError, match="broken ended with status 3") as failure,
        server(argv, name="broken", log=tmp_path / "log", ready=logged("never")),
    ):
        pass

    assert [f"line {n:02}" for n in range(10, 40)] == str(failure.value).splitlines()[1:]


def test_a_server_that_is_not_ready_in_time_is_not_left_running(tmp_path: Path) -> None:
    """Giving up kills what was started."""
    late = Server(SLEEPER, name="late", log=tmp_path / "log", ready=logged("never"), timeout=0.3)

    with pytest.raises(ServerError, match=r"late was not ready within 0\.3 s"):
        late.start()

    assert not late.is_running


def test_a_missing_executable_is_reported(tmp_path: Path) -> None:
    """A typo in the command line is not mistaken for a slow server."""
    absent = Server(["/no/such/server"], name="absent", log=tmp_path / "log", ready=logged("up"))

    with pytest.raises(ServerError, match="/no/such/server"):
        absent.start()


def test_a_server_gets_no_environment_of_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's AWS or OTEL settings must not change what a test server does."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    argv = (*PYTHON, "import os, time; print(sorted(os.environ), 'up'); time.sleep(600)")

    with server(argv, name="clean", log=tmp_path / "log", ready=logged("up"), env={"GIVEN": "1"}) as running:
        assert "GIVEN" in running.output()
        assert "OTEL" not in running.output()


def test_restart_is_a_new_process_and_its_log_is_its_own(tmp_path: Path) -> None:
    """What an earlier process logged must not make the next one look ready."""
    argv = (*PYTHON, "import os, time; print('up', os.getpid()); time.sleep(600)")

    with server(argv, name="again", log=tmp_path / "log", ready=logged("up")) as running:
        first = running.pid
        running.restart()

        assert running.pid != first
        assert running.output() == f"up {running.pid}\n"
        assert f"up {first}\n" in running.log.read_text()


def test_a_paused_server_stands_still_until_it_is_resumed(tmp_path: Path) -> None:
    """Pausing freezes the process itself, and it still counts as running."""
    with server(SLEEPER, name="frozen", log=tmp_path / "log", ready=logged("up")) as running:
        running.pause()
        os.waitid(os.P_PID, running.pid, os.WSTOPPED | os.WNOWAIT)
        assert state(running.pid) == "T"
        assert running.is_running

        running.resume()
        os.waitid(os.P_PID, running.pid, os.WCONTINUED | os.WNOWAIT)
        assert state(running.pid) != "T"


def test_a_paused_server_can_be_stopped(tmp_path: Path) -> None:
    """A fault test that fails in between leaves a server that still ends in good order."""
    argv = (*PYTHON, "import signal, time; signal.signal(15, lambda *_: exit('bye')); print('up'); time.sleep(600)")

    with server(argv, name="frozen", log=tmp_path / "log", ready=logged("up")) as running:
        running.pause()
        running.stop()

        assert not running.is_running
        assert running.output() == "up\nbye\n"


def test_a_server_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    """Stopping always ends."""
    argv = (*PYTHON, "import signal, time; signal.signal(15, lambda *_: print('no')); print('up'); time.sleep(600)")

    with server(argv, name="stubborn", log=tmp_path / "log", ready=logged("up")) as running:
        running.stop(grace=0.3)

        assert not running.is_running
        assert running.output() == "up\nno\n"


def test_what_a_server_started_ends_with_it(tmp_path: Path) -> None:
    """Children that a server leaves behind hold ports; the whole process group is killed."""
    spawn = (
        "import subprocess, sys, time; c = subprocess.Popen(['sleep', '600']); print('child', c.pid); time.sleep(600)"
    )

    with server((*PYTHON, spawn), name="parent", log=tmp_path / "log", ready=logged("child")) as running:
        pidfd = os.pidfd_open(int(running.output().split()[1]))

    assert exits(pidfd)
    os.close(pidfd)


def test_a_killed_server_can_be_started_again(tmp_path: Path) -> None:
    """A crash is followed by a start, and a server that is down says so."""
    with server(SLEEPER, name="crashed", log=tmp_path / "log", ready=logged("up")) as running:
        running.kill()
        assert not running.is_running
        with pytest.raises(RuntimeError, match="crashed is not running"):
            running.pause()

        running.start()
        assert running.is_running


def test_a_running_server_is_not_started_twice(tmp_path: Path) -> None:
    """The first process would be lost and outlive the block."""
    with (
        server(SLEEPER, name="single", log=tmp_path / "log", ready=logged("up")) as running,
        pytest.raises(RuntimeError, match="single is already running"),
    ):
        running.start()


def test_a_health_page_can_say_when_a_server_is_ready(tmp_path: Path) -> None:
    """Until the page answers 2xx the server counts as starting."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    argv = (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", tmp_path)
    healthy = Server(argv, name="web", log=tmp_path / "log", ready=answers(url))
    sick = Server(argv, name="web", log=tmp_path / "log", ready=answers(f"{url}/absent"), timeout=0.5)

    healthy.start()
    healthy.stop()

    assert 'GET / HTTP/1.1" 200' in healthy.output()
    with pytest.raises(ServerError, match="was not ready"):
        sick.start()


def test_no_server_outlives_a_killed_test_run(tmp_path: Path) -> None:
    """Even SIGKILL of the test run, which no clean-up survives, ends its servers."""
    run = f"""
from pathlib import Path; import time
from keyferry.testing.processes import server, logged
with server({SLEEPER!r}, name="s", log=Path({str(tmp_path / "log")!r}), ready=logged("up")) as running:
    print(running.pid, flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([*PYTHON, run], stdout=subprocess.PIPE, text=True) as tests:  # the code above
        assert tests.stdout is not None
        pidfd = os.pidfd_open(int(tests.stdout.readline()))
        tests.send_signal(signal.SIGKILL)

    assert exits(pidfd)
    os.close(pidfd)


def test_a_server_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    """A restart from a worker thread of an event loop must survive that loop."""
    with server(SLEEPER, name="shared", log=tmp_path / "log", ready=logged("up")) as running:
        asyncio.run(asyncio.to_thread(running.restart))
        pidfd = os.pidfd_open(running.pid)

        assert not select.select([pidfd], [], [], 0.3)[0]
    os.close(pidfd)


def test_free_ports_are_never_given_twice() -> None:
    """Two servers of one run must not be told the same port before either of them listens."""
    ports = [free_port() for _ in range(200)]

    assert len(set(ports)) == 200


def test_neighbouring_ports_stay_together() -> None:
    """A run of ports belongs to one server, up to its last one."""
    firsts = sorted(free_port(run=3) for _ in range(100))

    assert all(after - before >= 3 for before, after in pairwise(firsts))
