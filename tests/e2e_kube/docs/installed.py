"""The chart as the guide installs it, on a node that pulls no images: our programs come from the node's own disk."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import helm_python as helm
import yaml

from keyferry.kube import Json
from keyferry.testing.kube.node import REPOSITORY, RealNode
from keyferry.testing.ports import free_port
from tests.unit.docs.pages import ROOT

RELEASE, SYSTEM = "csi-secrets-store", "kube-system"
SERVICES = ("node-driver", "fetcher", "rotator", "syncer")
IMAGE = "localhost/busybox:1"
KINDS = {
    *("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "CSIDriver"),
    *("DaemonSet", "Deployment"),
}
"""What is installed of the chart. Its Jobs' work is done by hand, its NATS and Valkey are those of the tests, its
NetworkPolicies find nobody who enforces them, and 1.20 lacks its other kinds."""


def merged(base: Json, over: Json) -> Json:
    """Values as Helm merges them."""
    both = {key: merged(base[key], value) for key, value in over.items() if isinstance(base.get(key), dict)}
    return {**base, **over, **both}


def asked_for(helm_install: str) -> Json:
    """The values of a command's ``--set``."""
    values: Json = {}
    for word in helm_install.replace("\\\n", " ").split():
        if "=" in word:
            path, _, value = word.partition("=")
            told = yaml.safe_load(value)
            for key in reversed(path.split(".")):
                told = {key: told}
            values = merged(values, told)
    return values


def rendered(values: Json) -> list[Json]:
    """Every object that Helm would hand to the API server."""
    with helm.Chart.load(ROOT / "deploy" / "helm" / "keyferry") as chart:
        texts = chart.render({"kubeVersion": "1.35.0", **values}, name=RELEASE, namespace=SYSTEM)
    found = (each for path, text in texts.items() if not path.endswith(".txt") for each in yaml.safe_load_all(text))
    return [each for each in found if each]


def placed(node: RealNode, *, nats_url: str, fetcher: Mapping[str, str], ca_file: str) -> Json:
    """The values that say where things are here.

    Args:
        node: Where kubelet's folder is.
        nats_url: The bus, on loopback and without TLS.
        fetcher: Settings that have a fetcher find the emulators of clouds.
        ca_file: Vouches for one of them.
    """
    ca = {"name": "ca", "hostPath": {"path": str(Path(ca_file).parent)}}
    one = {"replicas": 1}  # each listens at the node's address, at a port of its own
    return {
        "allowPlaintext": True,
        "nats": {"enabled": False, "url": nats_url},
        "valkey": {"enabled": False},
        "redis": {"existingSecret": "redis"},
        "linux": {"kubeletRootDir": str(node.kubelet_root)},
        "fetcher": {
            **one,
            "settings": dict(fetcher),
            "volumes": [ca],
            "volumeMounts": [{"name": "ca", "mountPath": str(Path(ca_file).parent)}],
        },
        "rotator": one,
        "syncer": one,
    }


def here(workload: Json, node: RealNode, port: int) -> Json:
    """A workload of the chart with our programs from the node's disk, on the node's network."""
    spec = workload["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    api = urlsplit(node.url)
    env = {
        "KEYFERRY_HTTP_ADDRESS": f":{port}",
        "KUBERNETES_SERVICE_HOST": str(api.hostname),
        "KUBERNETES_SERVICE_PORT": str(api.port),
    }
    programs = {f"program-{number}": path for number, path in enumerate(_programs())}
    container |= {
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": [sys.executable, "-m", container["name"].replace("-", "_")],
        "ports": [{"containerPort": port, "name": "http"}],
        "env": [each for each in container["env"] if each["name"] not in env]
        + [{"name": name, "value": value} for name, value in env.items()],
        "securityContext": {"privileged": True, "runAsUser": 0},  # our programs are root's here
        "volumeMounts": container["volumeMounts"]
        + [{"name": name, "mountPath": path, "readOnly": True} for name, path in programs.items()],
    }
    spec |= {
        "hostNetwork": True,  # the API and the bus listen on loopback
        "securityContext": {},
        "volumes": spec["volumes"] + [{"name": name, "hostPath": {"path": path}} for name, path in programs.items()],
    }
    if workload["kind"] == "Deployment":
        workload["spec"]["strategy"] = {"type": "Recreate"}  # two cannot have the port
    return workload


def _programs() -> list[str]:
    """Folders that hold Python, its libraries and our packages, none within another."""
    wanted = {"/usr", "/lib", "/lib64", sys.base_prefix, sys.prefix, str(REPOSITORY)}
    return sorted(
        path for path in wanted if not any(path.startswith(f"{other}/") for other in wanted) and Path(path).exists()
    )


def nullable(schema: Any) -> Any:
    """A CRD whose maps may have empty values: a 1.20 built with a Go newer than its own takes them for null."""
    for key, value in schema.items() if isinstance(schema, dict) else ():
        if key == "additionalProperties" and value == {"type": "string"}:
            value["nullable"] = True
        nullable(value)
    for each in schema if isinstance(schema, list) else ():
        nullable(each)
    return schema


async def install(node: RealNode, values: Json) -> dict[str, int]:
    """Apply the chart; returns at which port each service answers HTTP. Waits for nothing."""
    for path in sorted((ROOT / "deploy" / "crds").iterdir()):
        await node.kubectl("apply", "-f", "-", stdin=json.dumps(nullable(yaml.safe_load(path.read_text()))))
    ports = {service: free_port() for service in SERVICES}
    objects = [each for each in rendered(values) if each["kind"] in KINDS]
    for each in objects:
        service = each["metadata"].get("labels", {}).get("app.kubernetes.io/component", "")
        manifest = here(each, node, ports[service]) if "template" in each.get("spec", {}) else each
        await node.kubectl("apply", "--validate=false", "-f", "-", stdin=json.dumps(manifest))
    return ports
