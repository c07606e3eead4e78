"""A real Prometheus, to scrape our services and to evaluate what dashboards and alerts ask; and promtool.

No package of Python's registry has it, but Debian does. `make test` must work on a machine where nothing was installed
by hand and nobody is root, so Debian's package is fetched and unpacked into a cache folder: apt checks its signature as
for every other package, needs no rights for lists of its own, and nothing of the system is changed. Once it is there no
network is needed. What is on PATH goes first, for machines without apt.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyferry.testing.ports import free_port
from keyferry.testing.processes import Server, answers, server

_NAMES = ("prometheus", "promtool")
_APT_SECONDS = 300


class PrometheusMissing(RuntimeError):
    """Prometheus can neither be found nor fetched; the text says what was tried and what helps."""


@dataclass(frozen=True)
class Binaries:
    """The server and its tool."""

    prometheus: Path
    promtool: Path


def binaries(cache: Path | None = None, path: str | None = None) -> Binaries:
    """Prometheus of this machine: on PATH, or in the cache, or fetched into it now.

    Args:
        cache: Where fetched ones are kept; below ``$XDG_CACHE_HOME`` or ``~/.cache`` by default.
        path: Folders to look in before; PATH by default.

    Raises:
        PrometheusMissing: none of these.
    """
    found = [shutil.which(name, path=path) for name in _NAMES]
    if all(found):
        return Binaries(*(Path(str(each)) for each in found))
    if cache is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keyferry-test"
    folder = cache / "prometheus"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two test runs, one fetches
        if not all(_works(folder / name) for name in _NAMES):
            _fetch(folder)
    return Binaries(*(folder / name for name in _NAMES))


def _works(binary: Path) -> bool:
    if not binary.exists():
        return False
    return subprocess.run([binary, "--version"], capture_output=True, check=False).returncode == 0


def _fetch(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as made:
        work = Path(made)
        for name in ("lists/partial", "archives/partial"):
            (work / name).mkdir(parents=True)
        apt = ["apt-get", "-qq", "-o", f"Dir::State::Lists={work}/lists", "-o", f"Dir::Cache={work}"]
        # In a user namespace, which `make test` gives, root may not become the user that apt would download as.
        apt += ["-o", "APT::Sandbox::User=root"]
        _run([*apt, "update"], work)
        _run([*apt, "download", "prometheus"], work)
        _run(["dpkg-deb", "-x", *map(str, work.glob("prometheus_*.deb")), "unpacked"], work)
        for name in _NAMES:
            (work / "unpacked" / "usr" / "bin" / name).replace(folder / name)
            if not _works(folder / name):
                raise PrometheusMissing(f"{folder / name} was fetched and does not run on this machine: {_HELP}")


_HELP = "put prometheus and promtool on PATH (Debian: apt-get install prometheus), 2.40 or later"


def _run(argv: Sequence[str], folder: Path) -> None:
    try:
        subprocess.run(argv, cwd=folder, check=True, capture_output=True, text=True, timeout=_APT_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", "") or error).strip()
        raise PrometheusMissing(
            f"prometheus is not on PATH, and `{argv[0]}` does not get it: {said}: {_HELP}"
        ) from None


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    process: Server
    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query, as the API has it.

        Raises:
            ValueError: it cannot be evaluated; says why.
        """
        data = self.get("query", query=expression)
        result = data["result"]
        return result if data["resultType"] in ("vector", "matrix") else [{"metric": {}, "value": result}]

    def get(self, what: str, **parameters: str) -> Any:
        """What the API (``/api/v1/…``) answers.

        Raises:
            ValueError: it refuses; says why.
        """
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(json.load(error)["error"]) from None


@contextmanager
def prometheus_server(
    directory: Path, jobs: Mapping[str, Sequence[str]], *, rules: Sequence[Path] = (), interval: str = "1s"
) -> Iterator[Prometheus]:
    """Run Prometheus on loopback.

    Args:
        directory: Holds its configuration, log and data.
        jobs: Name of each scrape job to the targets in it, ``host:port``.
        rules: Rule files.
        interval: Between two scrapes, and between two evaluations of the rules.

    Raises:
        PrometheusMissing: there is none on this machine, and none can be fetched.
        ServerError: it does not come up.
    """
    port, found = free_port(), binaries()
    directory.mkdir(parents=True, exist_ok=True)
    config = {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [str(each.resolve()) for each in rules],
        "scrape_configs": [
            {"job_name": name, "static_configs": [{"targets": list(targets)}]} for name, targets in jobs.items()
        ],
    }
    (directory / "prometheus.yml").write_text(json.dumps(config))  # which is YAML
    argv = [str(found.prometheus), f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
    argv += [f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage"]
    url = f"http://127.0.0.1:{port}"
    ready = answers(f"{url}/-/ready")
    with server(argv, name="prometheus", log=directory / "prometheus.log", ready=ready) as process:
        yield Prometheus(process, url)
