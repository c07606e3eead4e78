"""The commands of docs/troubleshooting.md, on a cluster as the guide leaves it: each works, and shows what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import pytest_asyncio

from keyferry.testing.ports import free_port
from tests.e2e_kube.docs.cluster import NAMESPACE, Cluster
from tests.e2e_kube.docs.installed import SYSTEM
from tests.e2e_kube.docs.steps import Step, inline, steps
from tests.unit.docs.pages import DOCS

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="session")]

PAGE = DOCS / "troubleshooting.md"
COMMANDS = [each.text for each in steps(PAGE)] + [text for text in inline(PAGE, "kubectl") if "…" not in text]

SHOWN: Mapping[str, Sequence[str]] = {
    "keyferry explain": [r"^ok +mount: is mounted on ", r"^ok +content: holds "],
    "keyferry doctor NAMESPACE/POD --fetch": [r"^ok +fetch: .*2 files"],
    "keyferry doctor": [r"^ok +pod: ", r"^ok +fetchers: "],
    "keyferry top": [r"volumes"],
    "kubectl describe pod": [r"secretProviderClass=aws-secrets"],
    "kubectl logs -n kube-system -l app.kubernetes.io/component=node-driver": [
        r'"volume published".*app-with-secrets-'
    ],
    "keyferry volumes": [r"^production +app-with-secrets-\S+ +aws-secrets +aws +\S+ +ok "],
    "keyferry contents": [r"aws-secrets"],
    "kubectl annotate": [r"annotated"],
    "kubectl describe secretproviderclass": [r"SecretCreated"],
    "kubectl logs -n kube-system -l app.kubernetes.io/component=syncer": [r'"this replica works now"'],
    "keyferry backends": [r"^aws ", r"^vault "],
    "kubectl logs -n kube-system -l app.kubernetes.io/component=rotator": [r'"message": "Redis answers"'],
    "kubectl port-forward": [r"^ok$"],
    "kubectl get pods": [r"node-driver-\S+ +1/1 +Running .*node-1"],
}
"""What the page says of a command's output, by how the command begins; the first that fits."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def looked(guided: Cluster) -> Cluster:
    """The cluster after a reader has looked at a pod of the guide with every command of the page."""
    local = free_port()
    fetcher = await guided.pod("app.kubernetes.io/component=fetcher", SYSTEM)
    guided.shell.words |= {
        "ROTATOR:8095": f"{guided.node.env['NODE_IP']}:{guided.ports['rotator']}",
        "POD 8095": f"{fetcher} {local}:{guided.ports['fetcher']}",
        "localhost:8095": f"localhost:{local}",
        "POD": await guided.pod("app=web-app"),
        "NAMESPACE": NAMESPACE,
        "CLASS": "aws-secrets",
    }
    await guided.follow([Step(text) for text in COMMANDS], [], {})
    return guided


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_command_works(looked: Cluster, command: str) -> None:
    """It succeeds, and shows what the page says it does."""
    done = looked.shell.done[command]
    assert done.status == 0, done.output
    await looked.shows(command, next((texts for start, texts in SHOWN.items() if command.startswith(start)), []))
