"""Pods mount classes: cases 2, 3, 5 to 12, 17, 18, 20 to 23 of the existing driver's own suite."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from keyferry.testing.kube.node import RealNode
from keyferry.testing.kube.pods import Namespace

PEM = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n"


@pytest.mark.parametrize("resource", ["secretproviderclasses", "secretproviderclasspodstatuses"])
async def test_crd_established(node: RealNode, resource: str) -> None:
    """A real API server establishes our CRDs."""
    name = f"crd/{resource}.secrets-store.csi.x-k8s.io"

    assert "condition met" in await node.kubectl("wait", "--for=condition=Established", name, "--timeout=60s")


@pytest.mark.parametrize("version", ["v1alpha1", "v1"])
async def test_inline_volume(ns: Namespace, version: str) -> None:
    """A class of either version mounts: the pod is Ready and reads a text and a PEM byte for byte."""
    await ns.secret("tls", pem=PEM)
    await ns.vault_class("mixed", "secret=db:password", "key=tls:pem", version=version)
    pod = await ns.running("app", "mixed")

    assert await ns.read(pod, "mixed/secret") == "tiger"
    assert await ns.read(pod, "mixed/key") == PEM


async def test_seen_in_the_pod(ns: Namespace) -> None:
    """The pod sees a read-only tmpfs with the file as a symlink to root's, which everyone may read."""
    pod = await ns.running("app")
    mounts = [line.split() for line in (await ns.run(pod, "cat", "/proc/mounts")).splitlines()]
    (mount,) = [line for line in mounts if line[1] == "/mnt/secrets"]

    assert mount[2] == "tmpfs"
    assert "ro" in mount[3].split(",")
    assert await ns.run(pod, "readlink", "/mnt/secrets/password") == "..data/password\n"
    assert await ns.run(pod, "stat", "-Lc", "%a %u %g", "/mnt/secrets/password") == "644 0 0\n"
    assert await ns.run(pod, "ls", "/mnt/secrets") == "password\n"


async def test_other_user_and_group(ns: Namespace) -> None:
    """A pod that is not root and has an fsGroup reads its files."""
    pod = await ns.running("app", securityContext={"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 4242})

    assert await ns.run(pod, "id", "-u") == "1000\n"
    assert "4242" in (await ns.run(pod, "id", "-G")).split()
    assert await ns.read(pod) == "tiger"


async def test_two_classes(ns: Namespace) -> None:
    """Two classes in one pod are two volumes, each with its own files."""
    await ns.secret("api", token="bear")
    await ns.vault_class("spc-0", "foo=db:password")
    await ns.vault_class("spc-1", "foo=api:token")
    pod = await ns.running("app", "spc-0", "spc-1")

    assert await ns.read(pod, "spc-0/foo") == "tiger"
    assert await ns.read(pod, "spc-1/foo") == "bear"


async def test_namespaced_class(ns: Namespace, make: Callable[[], Awaitable[Namespace]]) -> None:
    """Classes of one name in two namespaces are two classes: each pod has its own namespace's secret."""
    other = await make()
    await other.secret(password="leopard")
    pods = [await each.pod("app") for each in (ns, other)]
    await ns.ready(pods[0])
    await other.ready(pods[1])

    assert await ns.read(pods[0]) == "tiger"
    assert await other.read(pods[1]) == "leopard"
