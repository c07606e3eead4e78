"""Everything a mount needs, as real processes on free ports: bus, backends, a Kubernetes API, our services."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from keyferry.testing import services
from keyferry.testing.aws import Aws, aws_server
from keyferry.testing.nats import Nats, nats_server
from keyferry.testing.openbao import OpenBao, openbao_server
from keyferry.testing.processes import Server, logged, server
from keyferry.testing.valkey import Valkey, valkey_server

CRDS = Path(__file__).parents[4] / "deploy" / "crds"


@dataclass(frozen=True)
class KubeProcess:
    """The Kubernetes API of `keyferry.testing.kube` as a process.

    Attributes:
        process: Restarting it makes an empty one.
        url: Where it listens.
        kubeconfig: The administrator's.
        ca_pem: Its authority, for OpenBao's kubernetes auth.
    """

    process: Server
    url: str
    kubeconfig: Path
    ca_pem: str


@contextmanager
def kube_api(directory: Path, *, crds: Path = CRDS) -> Iterator[KubeProcess]:
    """Run a Kubernetes API with Keyferry's CRDs.

    Args:
        directory: Holds its log and kubeconfig.
        crds: Folder of the CRDs.

    Raises:
        ServerError: it does not come up.
    """
    directory.mkdir(parents=True, exist_ok=True)
    kubeconfig = directory / "kubeconfig"
    argv = [sys.executable, "-m", "keyferry.testing.kube", "--kubeconfig", str(kubeconfig), "--crds", str(crds)]
    with server(argv, name="kubernetes", log=directory / "kubernetes.log", ready=logged('"kubeconfig"')) as process:
        cluster = json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]
        ca_pem = base64.b64decode(cluster["certificate-authority-data"]).decode()
        yield KubeProcess(process, cluster["server"], kubeconfig, ca_pem)


@dataclass(frozen=True)
class Stack:
    """The servers that Keyferry stands on; services are started on top of it."""

    directory: Path
    nats: Nats
    valkey: Valkey
    openbao: OpenBao
    aws: Aws
    kube: KubeProcess

    @property
    def keys_dir(self) -> Path:
        """Where the key sets are."""
        return self.directory / "keys"

    @contextmanager
    def fetcher(self, **env: str) -> Iterator[services.Service]:
        """A fetcher that reaches all of it, and shares with the others what it fetches."""
        with services.fetcher(
            self.directory,
            nats_url=self.nats.url,
            keys_dir=self.keys_dir,
            kubeconfig=self.kube.kubeconfig,
            env={"AWS_ENDPOINT_URL": self.aws.endpoint_url, "KEYFERRY_REDIS_URL": self.valkey.url, **env},
        ) as running:
            yield running

    @contextmanager
    def rotator(self, **env: str) -> Iterator[services.Service]:
        """A rotator; its schedule has one place in a Valkey, which no other bus may share."""
        with services.rotator(self.directory, nats_url=self.nats.url, redis_url=self.valkey.url, env=env) as running:
            yield running

    @contextmanager
    def node_driver(self, node: str = "node-a", **env: str) -> Iterator[services.NodeDriver]:
        """A node-driver on a node of this name."""
        with services.node_driver(
            self.directory, nats_url=self.nats.url, keys_dir=self.keys_dir, node=node, env=env
        ) as running:
            yield running

    @contextmanager
    def syncer(self, **env: str) -> Iterator[services.Service]:
        """A syncer."""
        with services.syncer(
            self.directory,
            nats_url=self.nats.url,
            keys_dir=self.keys_dir,
            kubeconfig=self.kube.kubeconfig,
            env=env,
        ) as running:
            yield running


@contextmanager
def stack(directory: Path, *, aws_auth: bool = False) -> Iterator[Stack]:
    """Start all servers, create streams and keys, and stop everything in reverse order at the end.

    Args:
        directory: Holds logs, keys and stores; short, since sockets lie below it.
        aws_auth: Whether the AWS emulator enforces trust and IAM policies.

    Raises:
        ServerError: one of them does not come up; the message names it and shows its log.
    """
    with ExitStack() as running:
        nats = running.enter_context(nats_server(directory / "nats"))
        valkey = running.enter_context(valkey_server(directory / "valkey"))
        openbao = running.enter_context(openbao_server(directory / "openbao"))
        aws = running.enter_context(aws_server(directory / "aws", auth=aws_auth))
        kube = running.enter_context(kube_api(directory / "kube"))
        services.prepare(nats.url, directory / "keys")
        yield Stack(directory, nats, valkey, openbao, aws, kube)
