"""A real API server from the binaries in KUBEBUILDER_ASSETS: etcd, kube-apiserver, and a controller manager if there.

Its one purpose is to be what the emulator is compared with. Written for Kubernetes 1.20 and newer; tried with 1.20.
"""

import json
import re
import secrets
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from keyferry.testing.kube import tls
from keyferry.testing.ports import free_port
from keyferry.testing.processes import Ready, Server, answers, server

Json = dict[str, Any]

ISSUER = "https://kubernetes.default.svc.cluster.local"
_SERVICES, _ADVERTISED = "10.96.0.0/16", "10.96.0.1"
_FIRST_WITHOUT_PORT_FLAG = 24
_START_SECONDS = 60.0


@dataclass(frozen=True)
class RealKube:
    """A running cluster of control plane processes.

    Attributes:
        kubeconfig: Path of a kubeconfig file for the administrator.
        etcd_url: Where its etcd listens, without TLS.
        minor: The 20 of Kubernetes 1.20.
        has_controllers: Whether a controller manager runs, and so garbage collection and default service accounts.
    """

    kubeconfig: Path
    etcd_url: str
    minor: int
    has_controllers: bool


@contextmanager
def real_kube(assets: Path, folder: Path) -> Iterator[RealKube]:
    """Runs the control plane for the length of the block.

    Args:
        assets: Folder of the binaries.
        folder: Where certificates, data and logs go.

    Raises:
        ServerError: One of the processes does not come up; the message shows its log.
    """
    minor = _minor(assets)
    token, url = secrets.token_hex(16), f"https://127.0.0.1:{free_port()}"
    etcd_url = f"http://127.0.0.1:{free_port()}"
    ca_pem = _write_secrets(folder, token)
    kubeconfig = _write_kubeconfig(folder, url, ca_pem, token)
    with ExitStack() as stack:
        stack.enter_context(_run(assets, folder, _etcd(folder, etcd_url), answers(f"{etcd_url}/health")))
        ready = _reached(f"{url}/readyz", ca_pem, token)
        stack.enter_context(_run(assets, folder, _apiserver(folder, url, etcd_url), ready))
        has_controllers = (assets / "kube-controller-manager").exists()
        if has_controllers:
            ready = _reached(f"{url}/api/v1/namespaces/default/serviceaccounts/default", ca_pem, token)
            stack.enter_context(_run(assets, folder, _controllers(folder, kubeconfig, minor), ready))
        yield RealKube(kubeconfig, etcd_url, minor, has_controllers)


def _minor(assets: Path) -> int:
    done = subprocess.run([assets / "kube-apiserver", "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"v1\.(\d+)", done.stdout)
    if not found:
        raise ValueError(f"{assets}/kube-apiserver --version says {done.stdout!r}, which is no Kubernetes 1.x")
    return int(found[1])


def _run(assets: Path, folder: Path, command: list[str], ready: Ready) -> Any:
    name = command[0]
    argv = [str(assets / name), *command[1:]]
    return server(argv, name=name, log=folder / f"{name}.log", ready=ready, timeout=_START_SECONDS)


def _etcd(folder: Path, url: str) -> list[str]:
    peer = f"http://127.0.0.1:{free_port()}"
    return [
        "etcd",
        f"--data-dir={folder}/etcd",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
    ]


def _apiserver(folder: Path, url: str, etcd_url: str) -> list[str]:
    return [
        "kube-apiserver",
        "--bind-address=127.0.0.1",
        f"--secure-port={url.rpartition(':')[2]}",
        f"--advertise-address={_ADVERTISED}",
        "--endpoint-reconciler-type=none",
        f"--service-cluster-ip-range={_SERVICES}",
        f"--tls-cert-file={folder}/tls.crt",
        f"--tls-private-key-file={folder}/tls.key",
        f"--token-auth-file={folder}/tokens.csv",
        f"--etcd-servers={etcd_url}",
        "--authorization-mode=RBAC",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={folder}/sa.pub",
        f"--service-account-signing-key-file={folder}/sa.key",
    ]


def _controllers(folder: Path, kubeconfig: Path, minor: int) -> list[str]:
    return [
        "kube-controller-manager",
        f"--kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={free_port()}",
        f"--service-account-private-key-file={folder}/sa.key",
        f"--root-ca-file={folder}/ca.crt",
        "--kube-api-qps=200",  # the default of 20 makes each start, and each deletion, seconds slower
        "--kube-api-burst=300",
        *(["--port=0"] if minor < _FIRST_WITHOUT_PORT_FLAG else []),
    ]


def _write_secrets(folder: Path, token: str) -> str:
    """The server's certificate, the administrator's token, the accounts' key; returns the authority's PEM."""
    certificates = tls.issue()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    texts = {
        "ca.crt": certificates.ca_pem,
        "tls.crt": certificates.certificate,
        "tls.key": certificates.key,
        "tokens.csv": f'{token},admin,admin,"system:masters"\n',
        "sa.key": key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode(),
        "sa.pub": key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    }
    for name, text in texts.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text)
    return certificates.ca_pem


def _write_kubeconfig(folder: Path, url: str, ca_pem: str, token: str) -> Path:
    path = folder / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(tls.kubeconfig(url, ca_pem, token)))
    return path


def _reached(url: str, ca_pem: str, token: str) -> Ready:
    """Ready once the administrator gets an answer at `url`."""
    context = ssl.create_default_context(cadata=ca_pem)
    handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    opener = urllib.request.build_opener(*handlers)
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - loopback https

    def ready(_: Server) -> bool:
        try:
            opener.open(request, timeout=5).close()
        except OSError:
            return False
        return True

    return ready
