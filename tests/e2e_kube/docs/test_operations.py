"""The commands of docs/operations.md, in its order: keys are saved, rotated and lost, and pods go on mounting."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from keyferry import keymaking
from tests.e2e_kube.docs.cluster import NAMESPACE, Cluster, Then, rolled_out
from tests.e2e_kube.docs.installed import SYSTEM
from tests.e2e_kube.docs.steps import Step, steps
from tests.unit.docs.pages import DOCS

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="session")]

LEFT_OUT: Mapping[str, str] = {
    "helm ": "no Helm is among the test tools; what its Jobs make is made by the same code below",
    "kubectl get secret keyferry-nats-tls": "NATS runs beside the cluster here, without TLS",
    "kubectl delete secret -n kube-system keyferry-cli-identity": "as above, and without identities",
    "kubectl rollout restart -n kube-system statefulset/csi-secrets-store-nats": "as above: it is in no StatefulSet",
}
"""What does not run, by how it begins, and why."""

STEPS = tuple(steps(DOCS / "operations.md"))
COMMANDS = [each.text for each in STEPS if not each.file and not each.text.startswith(tuple(LEFT_OUT))]
SHOWN: Mapping[str, str] = {
    "keyferry keys rotate": r"fetcher",
    "keyferry keys manifests": r"secret/keyferry-fetcher-keys configured",
    "kubectl rollout restart daemonset": r"daemonset.apps/csi-secrets-store-node-driver restarted",
    "kubectl delete secret,configmap": r'secret "keyferry-fetcher-keys" deleted',
    "kubectl rollout restart -n kube-system statefulset": r"deployment.apps/csi-secrets-store-fetcher restarted",
}


async def mounts(cluster: Cluster, name: str) -> None:
    """A pod that starts now has its secret."""
    told = await cluster.node.kubectl("get", "pod", "synced", "-n", NAMESPACE, "-o", "json")
    spec = {key: value for key, value in json.loads(told)["spec"].items() if key in ("containers", "volumes")}
    spec["volumes"] = [each for each in spec["volumes"] if "csi" in each]
    (container,) = spec["containers"]
    container["volumeMounts"] = [each for each in container["volumeMounts"] if each["name"] == "secrets-store"]
    spec["serviceAccountName"] = "app-service-account"
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}
    await cluster.node.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    await cluster.node.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "-n", NAMESPACE, "--timeout=110s")


async def rotated(cluster: Cluster, _: Step) -> None:
    """With two keys in force."""
    await mounts(cluster, "after-rotation")


async def restarted(cluster: Cluster, _: Step) -> None:
    """Node-drivers are there again, and adopt what is mounted."""
    await rolled_out(cluster.node, "daemonset")
    await mounts(cluster, "after-restart")


async def made_anew(cluster: Cluster, _: Step) -> None:
    """What the upgrade's Job makes, before everything is restarted."""
    folder = cluster.shell.folder / "made-anew"
    await asyncio.to_thread(keymaking.create, folder)
    listed = json.dumps(keymaking.manifests(Path(folder), SYSTEM))
    await cluster.node.kubectl("apply", "-f", "-", stdin=listed)


async def all_restarted(cluster: Cluster, _: Step) -> None:
    """Everybody has the new keys."""
    for kind in ("deployment", "daemonset"):
        await rolled_out(cluster.node, kind)
    await mounts(cluster, "after-loss")


BETWEEN: Mapping[str, Then] = {
    "rm -r keys": rotated,
    "kubectl rollout restart daemonset": restarted,
    "kubectl delete secret,configmap": made_anew,
    "kubectl rollout restart -n kube-system statefulset,": all_restarted,
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def operated(guided: Cluster) -> Cluster:
    """The cluster after everything on the page has happened to it."""
    await guided.follow(STEPS, LEFT_OUT, BETWEEN)
    return guided


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_command_works(operated: Cluster, command: str) -> None:
    """It succeeds, and shows what the page says it does; pods start after each of the page's operations."""
    done = operated.shell.done[command]
    assert done.status == 0, done.output
    await operated.shows(command, [text for start, text in SHOWN.items() if command.startswith(start)])


async def test_the_backup_has_the_keys(operated: Cluster) -> None:
    """And nothing of anybody else's."""
    saved = (operated.shell.folder / "keyferry-keys.yaml").read_text()
    assert {f"name: keyferry-{name}" in saved for name in ("fetcher-keys", "syncer-keys", "public-keys")} == {True}
    assert "token" not in saved


async def test_everything_is_accounted_for() -> None:
    """What does not run is named with a reason, and is still on the page."""
    assert [name for name in LEFT_OUT if not any(each.text.startswith(name) for each in STEPS)] == []
