"""Many pods come at once; the last tests, for kubelet is busy with the pods' end for a while."""

from __future__ import annotations

from keyferry.testing.kube.pods import Namespace


async def test_many_pods(ns: Namespace) -> None:
    """Twenty pods at once all become Ready, each with the secret."""
    pods = [await ns.pod(f"app-{number}") for number in range(20)]
    await ns.ready(*pods)

    assert [(ns.target(pod) / "password").read_text() for pod in pods] == ["tiger"] * len(pods)
