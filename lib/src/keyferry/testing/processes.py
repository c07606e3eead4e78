"""Real servers as child processes: started, waited for, broken on purpose, and never left behind."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

# PR_SET_PDEATHSIG fires when the *thread* that started the child ends, not the process (prctl(2)). Every server is
# therefore started by this one thread, which lives as long as the interpreter: a caller in a short-lived worker thread
# (`asyncio.to_thread`) would otherwise take its servers with it.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="server-spawner")

_LOG_LINES_SHOWN = 30


class ServerError(RuntimeError):
    """A server did not come up; the message shows the end of its log."""


class Server:
    """A server process in its own process group, with its output in one log file.

    Not tied to an event loop: a session-wide server serves tests that each have a loop of their own. `start`, `stop`
    and `restart` block the caller for as long as the server takes (milliseconds for NATS and Valkey, about a second for
    OpenBao and AWS); from a coroutine that must keep running, use `await asyncio.to_thread(server.restart)`.
    """

    def __init__(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        name: str,
        log: Path,
        ready: "Ready",
        env: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> None:
        self.name = name
        self.log = log
        # setpriv instead of a preexec_fn: forking a Python that runs gRPC's threads can deadlock, vfork + exec cannot.
        self._argv = ["setpriv", "--pdeathsig", "KILL", "--", *(os.fspath(word) for word in argv)]
        # A clean environment: no OTEL_*, AWS_* or proxy setting of the developer's shell reaches a server.
        self._env = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **(env or {})}
        self._ready = ready
        self._timeout = timeout
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<{self.name}, {f'pid {self.pid}' if self.is_running else 'down'}>"

    @property
    def pid(self) -> int:
        """Process id of the server, which is also its process group.

        Raises:
            RuntimeError: If it was stopped or killed.
        """
        return self._started.pid

    @property
    def is_running(self) -> bool:
        """Whether the process exists, paused or not."""
        return self._process is not None and self._process.poll() is None

    def output(self) -> str:
        """What the server has logged since it was last started."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def start(self) -> None:
        """Start the server and return when it is ready.

        Raises:
            ServerError: If it exits or is not ready in time; it is not left running.
            RuntimeError: If it runs already.
        """
        if self.is_running:
            raise RuntimeError(f"{self.name} is already running")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = _spawner.submit(
                subprocess.Popen,
                self._argv,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            ).result()
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self, *, grace: float = 5.0) -> None:
        """Ask the server to end (SIGTERM) and kill it after `grace` seconds; a server that is down is left so."""
        if self.is_running:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # a paused process would not see the SIGTERM
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._started.wait(grace)
        self.kill()  # also what it may have started and left behind

    def restart(self) -> None:
        """Stop the server if it runs, then start it with the same command line."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """Kill the server and everything it started (SIGKILL); returns when it is gone."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None  # its process id may be another's from here on

    def pause(self) -> None:
        """Freeze the server (SIGSTOP): its sockets stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._started.pid, number)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._timeout
        while not self._ready(self):
            status = self._started.poll()
            if status is not None:
                raise self._failure(f"ended with status {status} before it was ready")
            if time.monotonic() > deadline:
                raise self._failure(f"was not ready within {self._timeout:g} s")
            time.sleep(0.01)

    def _failure(self, what: str) -> ServerError:
        tail = "\n".join(self.output().splitlines()[-_LOG_LINES_SHOWN:])
        return ServerError(f"{self.name} {what}; the end of {self.log}:\n{tail}")


Ready = Callable[[Server], bool]
"""Says whether a server that was just started can be used."""


@contextmanager
def server(
    argv: Sequence[str | os.PathLike[str]],
    *,
    name: str,
    log: Path,
    ready: Ready,
    env: Mapping[str, str] | None = None,
    timeout: float = 30.0,
) -> Iterator[Server]:
    """Run a server for the length of a `with` block.

    Args:
        argv: Command line; the first item is found on PATH unless it is a path.
        name: What error messages call the server.
        log: File that receives its standard output and error, appended over restarts.
        ready: Says when the server can be used: `logged(...)`, `answers(...)` or a function of one's own.
        env: Its whole environment besides PATH and LANG.
        timeout: Seconds it may take to become ready.

    Raises:
        ServerError: If it does not come up; shows the last 30 lines of its log.
    """
    running = Server(argv, name=name, log=log, ready=ready, env=env, timeout=timeout)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def logged(text: str) -> Ready:
    """Ready once `text` stands in the log of this start; surer than `answers`, which another server might do."""
    return lambda running: text in running.output()


def answers(url: str) -> Ready:
    """Ready once a GET of the http `url` is answered with a 2xx status."""
    # No proxy from the environment may stand between a test and its own server.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ready(_: Server) -> bool:
        try:
            opener.open(url, timeout=5).close()
        except (OSError, http.client.HTTPException, urllib.error.HTTPError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            return False
        return True

    return ready


def installed(name: str) -> Path:
    """Find an executable that a package of the `testing` extra put beside the interpreter.

    Raises:
        FileNotFoundError: If it is not there; says what to install.
    """
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: install keyferry[testing] into this environment (uv sync)")
    return path
