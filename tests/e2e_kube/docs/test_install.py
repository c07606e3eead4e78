"""The kubectl lines of docs/install.md, quick-start.md and live-page.md, after the guide's installation."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from keyferry.testing.ports import free_port
from tests.e2e_kube.docs.cluster import NAMESPACE, Cluster
from tests.e2e_kube.docs.installed import SYSTEM
from tests.e2e_kube.docs.steps import Shell, steps
from tests.unit.docs.pages import DOCS

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="session")]

FOUND = {
    f"{name}: {each.text}": each.text
    for name in ("install", "quick-start", "live-page")
    for each in steps(DOCS / f"{name}.md")
    if "kubectl" in each.text
}
LEFT_OUT: Mapping[str, str] = {
    "kubectl delete ": "it takes the keys and classes that the other pages still need",
    "kubectl port-forward -n kube-system deployment/": "it stays until it is stopped; the live page is off by default",
    "curl ": "as above; tests/e2e/test_ui.py asks a live page",
}
"""What does not run, by how it begins, and why."""

SHOWN: Mapping[str, str] = {
    "kubectl get pods -n kube-system -l app=secrets-store-csi-driver": r"node-driver-\S+ +1/1 +Running",
    "kubectl get pods -n kube-system -l app.kubernetes.io/name=keyferry": r"-fetcher-\S+ +1/1 +Running",
    "kubectl get csidriver": r"^secrets-store\.csi\.k8s\.io ",
    "kubectl get deployment csi-secrets-store": r"keyferry\.io/rotation-interval: 120s",
    "kubectl port-forward -n kube-system POD": r"^ok$",
    "kubectl auth can-i": r"^yes$",
    "kubectl create token": r"^[\w-]+\.[\w-]+\.[\w-]+$",
}


@pytest.mark.parametrize("line", [line for line, text in FOUND.items() if not text.startswith(tuple(LEFT_OUT))])
async def test_a_command_works(guided: Cluster, line: str) -> None:
    """It succeeds, and shows what the page says it does."""
    (shown,) = (text for start, text in SHOWN.items() if FOUND[line].startswith(start))
    fetcher, local = await guided.pod("app.kubernetes.io/component=fetcher", SYSTEM), free_port()
    words = {
        "POD 8095": f"{fetcher} {local}:{guided.ports['fetcher']}",
        "localhost:8095": f"localhost:{local}",
        "my-account": "app-service-account",
        "my-namespace": NAMESPACE,
        "NAMESPACE": NAMESPACE,
    }
    await guided.seen(Shell(guided.shell.folder, guided.shell.env, words, {}).filled(FOUND[line]), shown)


async def test_everything_is_accounted_for() -> None:
    """What does not run is named with a reason, and is still on a page."""
    told = FOUND.values()
    assert [name for name in LEFT_OUT if not any(text.startswith(name) for text in told)] == []
    assert [name for name in SHOWN if not any(text.startswith(name) for text in told)] == []
