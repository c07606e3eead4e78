"""docs/migration.md, node by node: by a label today's DaemonSet makes room, Keyferry's takes its place, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
import pytest_asyncio

from keyferry.kube import Json
from tests.e2e_kube.docs.cluster import NAMESPACE, Cluster, Then
from tests.e2e_kube.docs.installed import SYSTEM
from tests.e2e_kube.docs.steps import Step, inline, steps
from tests.unit.docs.pages import DOCS

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="session")]

PAGE = DOCS / "migration.md"
TODAYS = "csi-secrets-store-secrets-store-csi-driver"
LEFT_OUT: Mapping[str, str] = {
    "helm get values": "no Helm is among the test tools",
    "helm template": "as above: tests/unit/chart refuses the values that are gone",
    "helm install": "as above: its node selector is given to the DaemonSet that is there",
    "helm upgrade": "as above",
}
"""What does not run, by how it begins, and why."""

STEPS = tuple(steps(PAGE))
BACK = "kubectl label node NODE keyferry-"
COMMANDS = [each.text for each in STEPS if not each.text.startswith(tuple(LEFT_OUT))] + list(inline(PAGE, "kubectl"))
SHOWN: Mapping[str, str] = {
    "kubectl get secretproviderclasses": r"^ +\d+ vault$",
    "kubectl patch daemonset": r"patched$",
    "for name in": r"today-secretprovidersyncing-rolebinding created",
    "keyferry doctor": r"^ok +class: ",
    "kubectl cordon": r"cordoned$",
    "kubectl label": r"labeled$",
    "kubectl get pods -n kube-system -o wide": r"csi-secrets-store-node-driver-\S+ +1/1 +Running",
    "kubectl get pods -n kube-system -l": r"csi-secrets-store-fetcher-\S+ +1/1 +Running",
    "kubectl uncordon": r"uncordoned$",
    "kubectl rollout restart deployment -n production": r"deployment.apps/app-with-secrets restarted",
    "kubectl delete daemonset": r" deleted",
    "kubectl delete clusterrole": r'"today-secretproviderclasses-role" deleted',
    "kubectl delete serviceaccount": r" deleted",
}


def todays() -> Json:
    """The DaemonSet of today's driver, as its chart names it; what it runs does not matter to the page."""
    label = {"app": "secrets-store-csi-driver", "release": "csi-secrets-store"}
    container = {"name": "secrets-store", "image": "localhost/pause:1", "imagePullPolicy": "Never"}
    spec = {"serviceAccountName": "secrets-store-csi-driver", "containers": [container]}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": TODAYS, "namespace": SYSTEM, "labels": label},
        "spec": {
            "selector": {"matchLabels": label},
            "template": {"metadata": {"labels": label}, "spec": {**spec, "terminationGracePeriodSeconds": 1}},
        },
    }


async def on_node(cluster: Cluster, name: str, count: int) -> None:
    """Wait until so many pods of a DaemonSet run, and as many are wanted."""
    told = "jsonpath={.status.desiredNumberScheduled}{.status.numberReady}"
    await cluster.seen(f"kubectl get daemonset {name} -n {SYSTEM} -o '{told}'", f"^{count}{count}$")


async def rolled(cluster: Cluster, _: Step) -> None:
    """Today's driver still is on the node; in the place of `helm install`, ours leaves it until it is labelled."""
    await cluster.node.kubectl("rollout", "status", "daemonset", TODAYS, "-n", SYSTEM, "--timeout=100s")
    await on_node(cluster, TODAYS, 1)
    wanted = json.dumps({"spec": {"template": {"spec": {"nodeSelector": {"keyferry": "yes"}}}}})
    await cluster.node.kubectl("patch", "daemonset", "csi-secrets-store-node-driver", "-n", SYSTEM, "-p", wanted)
    await on_node(cluster, "csi-secrets-store-node-driver", 0)


async def changed_over(cluster: Cluster, _: Step) -> None:
    """Today's driver has left, ours has come."""
    await on_node(cluster, TODAYS, 0)
    await on_node(cluster, "csi-secrets-store-node-driver", 1)


async def there_and_back(cluster: Cluster, _: Step) -> None:
    """The page's way back, and forth again."""
    await cluster.shell.run(BACK)
    await on_node(cluster, TODAYS, 1)
    await on_node(cluster, "csi-secrets-store-node-driver", 0)
    await cluster.node.kubectl("label", "node", cluster.node.name, "keyferry=yes")
    await changed_over(cluster, Step(""))


async def started_anew(cluster: Cluster, _: Step) -> None:
    """Workloads that mount classes run again."""
    await cluster.seen(f"kubectl rollout status deployment/app-with-secrets -n {NAMESPACE}", "successfully rolled out")


BETWEEN: Mapping[str, Then] = {
    "kubectl patch daemonset": rolled,
    "kubectl label node NODE keyferry=yes": changed_over,
    "kubectl uncordon": there_and_back,
    "kubectl rollout restart deployment": started_anew,
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def migrated(guided: Cluster) -> Cluster:
    """The cluster after a reader has moved its node."""
    await guided.node.kubectl("create", "serviceaccount", "secrets-store-csi-driver", "-n", SYSTEM)
    await guided.node.kubectl("apply", "-f", "-", stdin=json.dumps(todays()))
    guided.shell.words |= {"NODE": guided.node.name, "production/app": f"{NAMESPACE}/aws-secrets"}
    await guided.follow(STEPS, LEFT_OUT, BETWEEN)
    for command in set(inline(PAGE, "kubectl")) - {BACK}:
        await guided.shell.run(command)
    return guided


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_command_works(migrated: Cluster, command: str) -> None:
    """It succeeds, and does what the page says it does."""
    done = migrated.shell.done[command]
    assert done.status == 0, done.output
    await migrated.shows(command, [text for start, text in SHOWN.items() if command.startswith(start)])


async def test_everything_is_accounted_for() -> None:
    """What does not run is named with a reason, and is still on the page."""
    assert [name for name in LEFT_OUT if not any(each.text.startswith(name) for each in STEPS)] == []
