"""A reader of the guide: does what the page says, in its order, and what it leaves to the reader."""

from __future__ import annotations

import json
from collections.abc import Mapping

import yaml

from tests.e2e_kube.docs.cluster import FILES, GUIDE, NAMESPACE, Cluster, Then, introduce
from tests.e2e_kube.docs.steps import Step

LEFT_OUT: Mapping[str, str] = {
    "helm install ": "no Helm is among the test tools: what it renders with these values is what is installed here",
    "helm upgrade ": "as above; the page's tokens.yaml is among the values",
    "vault write auth/kubernetes/config": "Vault runs beside the cluster: it is given what its pod would have as well",
    "aws iam create-policy": "no AWS CLI is among the test tools: boto3 makes the same call with the page's policy",
}
"""What does not run as it stands, by how it begins, and why."""

ELSEWHERE = {"example-app.py": "busybox has no Python: tests/e2e/test_guide.py runs it beside a node-driver"}
"""Files that are written and not used, and why."""

CLASSES = ("azure-keyvault", "vault-secrets", "gcp-secrets")
"""Those that the page shows without a pod; that of AWS has one."""


def left_out(text: str) -> bool:
    """Whether a command is among those that cannot run here."""
    return text.startswith(tuple(LEFT_OUT))


async def read(cluster: Cluster) -> None:
    """Follow the page to its end."""
    await cluster.follow(GUIDE, LEFT_OUT, BETWEEN)


async def apply(cluster: Cluster, step: Step) -> None:
    """The page says `kubectl apply` of its first class only."""
    await cluster.shell.run(f"kubectl apply -f {step.file}")


async def create_policy(cluster: Cluster, _: Step) -> None:
    """The AWS command of the page, by boto3."""
    document = (cluster.shell.folder / "secrets-policy.json").read_text()
    name = "SecretsManagerReadPolicy"
    await cluster.around.aws.call("iam", lambda iam: iam.create_policy(PolicyName=name, PolicyDocument=document))


async def know_cluster(cluster: Cluster, _: Step) -> None:
    """Vault runs beside the cluster here, not in it."""
    await introduce(cluster.around, cluster.node, cluster.kube)


async def meet_pod(cluster: Cluster, _: Step) -> None:
    """What POD_NAME stands for from now on."""
    cluster.shell.words["POD_NAME"] = await cluster.pod("app=web-app")


async def mount_others(cluster: Cluster, _: Step) -> None:
    """A Deployment for each class that has none on the page, made as the page's own."""
    for name in CLASSES:
        text = cluster.shell.filled(FILES["deployment-with-secrets.yaml"])
        text = text.replace('"aws-secrets"', f'"{name}"').replace("app-with-secrets", name).replace("web-app", name)
        await cluster.node.kubectl("apply", "-f", "-", stdin=text)
    for name in CLASSES:
        await cluster.shell.run(f"kubectl rollout status deployment/{name} -n {NAMESPACE}")


async def mount_synced(cluster: Cluster, step: Step) -> None:
    """A pod with the page's containers and volumes."""
    spec = {"serviceAccountName": "app-service-account", **yaml.safe_load(cluster.shell.filled(step.text))}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "synced", "namespace": NAMESPACE}, "spec": spec}
    await cluster.node.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    await cluster.shell.run(f"kubectl wait --for=condition=Ready pod/synced -n {NAMESPACE} --timeout=90s")


BETWEEN: Mapping[str, Then] = {
    "aws iam create-policy": create_policy,
    "kubectl rollout status deployment/app-with-secrets": meet_pod,
    "azure-secret-provider.yaml": apply,
    "vault-secret-provider.yaml": apply,
    "gcp-secret-provider.yaml": apply,
    "provider-with-sync.yaml": apply,
    "vault write auth/kubernetes/config": know_cluster,
    "kubectl get deployment csi-secrets-store": mount_others,
    "containers-with-sync.yaml": mount_synced,
}
"""What the reader does between two steps, by how the step before begins."""
