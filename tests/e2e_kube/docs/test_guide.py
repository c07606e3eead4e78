"""docs/guide.md on a real cluster: each of its commands and manifests, in its order, as it stands there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest

from tests.e2e_kube.docs.cluster import FILES, GUIDE, NAMESPACE, SYNCED, Cluster
from tests.e2e_kube.docs.guide import CLASSES, ELSEWHERE, LEFT_OUT, left_out

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="session")]

COMMANDS = [each.text for each in GUIDE if not each.file and not left_out(each.text)]
DEPLOYED = {"app-with-secrets": "aws-secrets", **{name: name for name in CLASSES}}
"""Deployments by name, and the class of each."""

SHOWN: Mapping[str, Sequence[str]] = {
    "kubectl get pods -n kube-system -l app=secrets-store-csi-driver": [r"node-driver-\w+ +1/1 +Running"],
    "kubectl get csidriver": [r"^secrets-store\.csi\.k8s\.io "],
    "kubectl create namespace": [r"namespace/production created"],
    "kubectl get secretproviderclass": [r"^aws-secrets "],
    "keyferry doctor --class production/aws-secrets": [r"ok .*aws"],
    "kubectl rollout status": [r"successfully rolled out"],
    "kubectl exec -it deployment/app-with-secrets -n production -- ls": [
        r" db-password -> \.\.data/db-password$",
        r" api-key -> \.\.data/api-key$",
    ],
    "vault auth enable kubernetes": [r"Success!"],
    "vault write auth/kubernetes/role": [r"Success!"],
    "vault policy write": [r"Success!"],
    "kubectl get deployment csi-secrets-store": [r"keyferry\.io/rotation-interval: 120s"],
    "kubectl annotate secretproviderclass": [r"aws-secrets annotated"],
    "keyferry explain": [r"aws-secrets"],
    "kubectl describe pod": [r"SecretProviderClass|secretProviderClass=aws-secrets"],
    "kubectl describe secretproviderclass": [r"SecretCreated"],
    "kubectl logs -n kube-system -l app=secrets-store-csi-driver": [r'"message": "volume published"'],
    "kubectl logs -n kube-system -l app.kubernetes.io/name=keyferry": [r'"logger": "keyferry\.audit"'],
    "kubectl get sa app-service-account": [r"eks\.amazonaws\.com/role-arn: ", r"azure\.workload\.identity/client-id: "],
}
"""What the page shows or says of a command's output, by how the command begins."""


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_command_works(guided: Cluster, command: str) -> None:
    """It succeeded when it was its turn, and shows what the page says it does, then or soon after."""
    wanted = [text for beginning, texts in SHOWN.items() if command.startswith(beginning) for text in texts]
    done = guided.shell.done[command]
    assert done.status == 0, done.output
    await guided.shows(command, wanted)


@pytest.mark.parametrize("name", DEPLOYED)
async def test_a_class_mounts(guided: Cluster, name: str) -> None:
    """Each of the page's four classes is read in a container, byte for byte, and has no other files."""
    files = guided.around.values.files[DEPLOYED[name]]
    inside = ("exec", f"deployment/{name}", "-n", NAMESPACE, "--")
    listed = await guided.node.kubectl(*inside, "ls", "/mnt/secrets")
    held = {each: await guided.node.kubectl(*inside, "cat", f"/mnt/secrets/{each}") for each in listed.split()}
    assert held == files


async def test_variables_of_synced_secrets(guided: Cluster) -> None:
    """Both of the page's containers that take a variable from a synced Secret have it."""
    inside = ("-n", NAMESPACE, "--", "sh", "-c")
    assert await guided.node.kubectl("exec", "deployment/app-with-secrets", *inside, "echo $API_KEY") == (
        guided.around.values["aws-secrets", "api-key"] + "\n"
    )
    said = await guided.node.kubectl("exec", "synced", *inside, "echo $DB_PASSWORD")
    assert json.loads(said) == json.loads(SYNCED["value"])


async def test_everything_on_the_page_is_accounted_for() -> None:
    """What does not run is named with a reason, and every name is of something that is on the page."""
    told = [each.text for each in GUIDE if not each.file]
    assert [name for name in LEFT_OUT if not any(text.startswith(name) for text in told)] == []
    assert [name for name in SHOWN if not any(text.startswith(name) for text in told)] == []
    assert set(ELSEWHERE) <= set(FILES)
