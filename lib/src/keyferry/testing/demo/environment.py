"""`.demo/env`: how other programs reach a demo that was left running."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from keyferry.testing.aws import KEY
from keyferry.testing.demo.cluster import Base, Keyferry, processes
from keyferry.testing.demo.values import REGION

FILE = "env"


def write(folder: Path, base: Base, services: Keyferry) -> None:
    """Write the file, for its owner alone."""
    path = folder / FILE
    path.touch(mode=0o600)
    path.write_text(text(_variables(base, services), os.getpid(), in_namespace=in_user_namespace()))


def in_user_namespace(uid_map: str | None = None) -> bool:
    """Whether this process is in a user namespace of its own, where root is not the machine's (user_namespaces(7)).

    Args:
        uid_map: The text of /proc/self/uid_map; read now by default.
    """
    mapped = Path("/proc/self/uid_map").read_text() if uid_map is None else uid_map
    return mapped.split()[:2] != ["0", "0"]


def text(variables: Mapping[str, object], pid: int, *, in_namespace: bool) -> str:
    """The file: comments, and a shell's `export` of each variable."""
    lines = ["# The Keyferry demo that runs here. Use: . .demo/env     End it: make demo-stop"]
    if in_namespace:
        lines += [
            "# It runs in a user namespace, and its mounts are seen only there. Enter it:",
            f"#   nsenter -U -m --preserve-credentials -t {pid}",
        ]
    lines += [f"export {name}={shlex.quote(str(value))}" for name, value in variables.items()]
    return "\n".join(lines) + "\n"


def _variables(base: Base, services: Keyferry) -> dict[str, object]:
    stack = base.stack
    return {
        "CSI_ENDPOINT": services.node.endpoint,
        "KUBELET_ROOT": services.node.kubelet_root,
        "KUBECONFIG": stack.kube.kubeconfig,
        "NATS_URL": stack.nats.url,
        "REDIS_URL": stack.valkey.url,
        "VAULT_ADDR": stack.openbao.address,
        "VAULT_TOKEN": stack.openbao.root_token,
        "AWS_ENDPOINT_URL": stack.aws.endpoint_url,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": KEY,
        "KEYFERRY_KEYS_DIR": stack.keys_dir,
        "FETCHER_METRICS_URL": f"{services.fetcher.http}/metrics",
        "NODE_DRIVER_METRICS_URL": f"{services.node.http}/metrics",
        "DEMO_PID": os.getpid(),
        **{f"{name}_PID": pid for name, pid in processes(base, services)},
    }
