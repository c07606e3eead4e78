"""A real node: a throw-away cluster with kubelet and containerd, from the scripts `kube-assets` and `kube-up`."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keyferry.testing.processes import ServerError, answers, server

REPOSITORY = Path(__file__).parents[5]
TOOLS = "KEYFERRY_KUBE_TOOLS"
ASSETS = "KUBEBUILDER_ASSETS"

# The cluster hangs on a pipe: it is stopped when the pipe closes, which it does however its owner ends, by SIGKILL too.
_KEEPER = '"$1" start "$2" --with-kubelet --assets "$3" && echo up >&3 && read -r _; "$1" stop "$2" && rm -rf "$2"*'
_STOP_SECONDS = 120.0


class ToolsMissing(RuntimeError):
    """What a real node is made of is not on this machine; the message says what and where it was looked for."""


@dataclass(frozen=True)
class RealNode:
    """A running cluster of one node.

    Attributes:
        directory: Everything of the cluster; its `logs` and `pids` are there.
        env: What the cluster's own tools are run with: KUBECONFIG, CONTAINERD_ADDRESS, PATH and others.
        restarted: Holds what replaced a process of the cluster, until the cluster ends.
    """

    directory: Path
    env: Mapping[str, str]
    restarted: ExitStack = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """The node's name."""
        return self.env["NODE_NAME"]

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return Path(self.env["KUBECONFIG"])

    @property
    def url(self) -> str:
        """Of the API server, on loopback."""
        return self.env["KUBE_APISERVER"]

    @property
    def ca_pem(self) -> str:
        """Who signed the API server's certificate."""
        return base64.b64decode(self._cluster["certificate-authority-data"]).decode()

    @property
    def kubelet_root(self) -> Path:
        """What is /var/lib/kubelet elsewhere."""
        return Path(self.env["KUBELET_ROOT"])

    @property
    def driver_settings(self) -> dict[str, str]:
        """The settings of a node-driver whose kubelet this is."""
        own = self.kubelet_root / "plugins" / "csi-secrets-store"
        return {
            "KEYFERRY_CSI_ENDPOINT": f"unix://{own}/csi.sock",
            "KEYFERRY_PLUGINS_REGISTRY": self.env["PLUGINS_REGISTRY"],
            "KEYFERRY_STATE_DIR": f"{own}/volumes",
        }

    @property
    def _cluster(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.kubeconfig.read_text())["clusters"][0]["cluster"]
        return found

    async def kubectl(self, *argv: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl as the administrator and return what it prints.

        Args:
            argv: Its arguments.
            stdin: What it reads, for ``-f -``.
            check: Whether a failure raises; else its message is returned like any output.

        Raises:
            subprocess.CalledProcessError: it failed; the notes have its message.
        """
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            f"{self.env[ASSETS]}/kubectl", *argv, stdin=pipe, stdout=pipe, stderr=pipe, env=self.env
        )
        out, err = await process.communicate((stdin or "").encode())
        if process.returncode and check:
            error = subprocess.CalledProcessError(process.returncode, ["kubectl", *argv], out, err)
            error.add_note(err.decode(errors="replace"))
            raise error
        return out.decode(errors="replace") + ("" if check else err.decode(errors="replace"))

    def mounted(self, pod_uid: str = "") -> list[str]:
        """Mount points of CSI volumes that this node has, of one pod or of all."""
        places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        below = f"{self.kubelet_root}/pods/{pod_uid}"
        return [place for place in places if place.startswith(below) and "/kubernetes.io~csi/" in place]

    def records(self) -> list[str]:
        """Names of the node-driver's records, one a published volume."""
        return [path.name for path in Path(self.driver_settings["KEYFERRY_STATE_DIR"]).iterdir()]

    def restart_kubelet(self) -> None:
        """Kill kubelet, containers staying, and start it again as it was; returns when it says that it is healthy.

        Raises:
            ServerError: it does not come back.
        """
        pids = dict(line.split()[:2] for line in (self.directory / "pids").read_text().splitlines())
        process = Path("/proc") / pids["kubelet"]
        argv, env = _words(process / "cmdline"), dict(word.split("=", 1) for word in _words(process / "environ"))
        config = json.loads(Path(_flag(argv, "--config")).read_text())
        os.kill(int(pids["kubelet"]), 9)
        # containerd lives in the same kind of mount namespace: what both see below /run and /var/log is the cluster's.
        argv = ["nsenter", f"--mount=/proc/{pids['containerd']}/ns/mnt", "--wd=/", "--", *argv]
        ready = answers(f"http://127.0.0.1:{config['healthzPort']}/healthz")
        log = self.directory / "logs" / "kubelet.log"
        running = self.restarted.enter_context(
            server(argv, name="kubelet", log=log, ready=ready, env=env, timeout=90.0)
        )
        with (self.directory / "pids").open("a") as noted:
            noted.write(f"kubelet {running.pid} {_began(running.pid)}\n")


@contextmanager
def real_node() -> Iterator[RealNode]:
    """Run a cluster with one node for the length of the block; afterwards nothing of it is left.

    Raises:
        ToolsMissing: the scripts or the binaries are not there.
        ServerError: the cluster does not come up; the message is kube-up's.
    """
    kube_up, assets = _tools()
    directory = Path(tempfile.mkdtemp(prefix="kf-", dir="/tmp"))  # sockets lie below it: a short name
    said = directory.with_suffix(".log")
    with said.open("wb") as log, ExitStack() as restarted:
        argv = ["sh", "-c", f"{{ {_KEEPER}; }} 3>&1 >&2", "keeper", str(kube_up), str(directory), str(assets)]
        keeper = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
        try:
            assert keeper.stdout is not None
            if keeper.stdout.readline() != b"up\n":
                raise ServerError(f"the cluster does not come up: {said.read_text()}")
            yield RealNode(directory, _environment(directory / "env"), restarted)
        finally:
            restarted.close()
            with suppress(BrokenPipeError):
                keeper.communicate(timeout=_STOP_SECONDS)
            assert not directory.exists(), said.read_text()


def _tools() -> tuple[Path, Path]:
    """Where kube-up and the binaries are."""
    tools = Path(os.environ.get(TOOLS) or REPOSITORY.parent / "shared" / "tools")
    assets = Path(os.environ.get(ASSETS) or Path.home() / ".cache" / "kube-assets" / "1.20.2")
    if not (tools / "kube-up").is_file():
        raise ToolsMissing(f"{tools} has no kube-up: set {TOOLS} to the folder of kube-up and kube-assets")
    if not (assets / "kubelet").is_file():
        raise ToolsMissing(f"{assets} has no kubelet: run {tools}/kube-assets, or set {ASSETS}")
    if os.geteuid() != 0:
        raise ToolsMissing("a kubelet needs root")
    if shutil.which("nsenter") is None:
        raise ToolsMissing("nsenter is missing: apt-get install util-linux")
    return tools / "kube-up", assets


def _environment(file: Path) -> dict[str, str]:
    """The variables of kube-up's `env`, a shell script of exports."""
    words = [shlex.split(line)[1].split("=", 1) for line in file.read_text().splitlines()]
    told = dict(words)
    return {**told, "PATH": told["PATH"].replace("$PATH", os.environ.get("PATH", os.defpath)), "HOME": str(file.parent)}


def _words(file: Path) -> list[str]:
    return [word.decode() for word in file.read_bytes().split(b"\0") if word]


def _flag(argv: list[str], name: str) -> str:
    (found,) = [word.partition("=")[2] for word in argv if word.startswith(f"{name}=")]
    return found


def _began(pid: int) -> str:
    """When a process began, as kube-up notes it to tell a process from the next owner of its id."""
    fields: list[Any] = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return str(fields[19])
