"""The manifests and commands of the guide that Keyferry answers to, as they stand there but for the addresses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import boto3
import pytest
import yaml

from keyferry.kube import Json, Kube, Rejected, connect
from keyferry.testing.aws import KEY
from keyferry.testing.kubelet import Kubelet
from keyferry.testing.services import NodeDriver
from keyferry.testing.stack import Stack
from keyferry.testing.world import World

pytestmark = pytest.mark.root

REGION = "us-west-2"
AUDIENCES = ("keyferry", "vault", "sts.amazonaws.com", "")

VAULT = """
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata:
  name: vault-secrets
  namespace: production
spec:
  provider: vault
  parameters:
    vaultAddress: "http://vault.vault.svc:8200"
    roleName: "app-role"
    objects: |
      - objectName: "db-password"
        secretPath: "secret/data/myapp/database"
        secretKey: "password"
      - objectName: "api-token"
        secretPath: "secret/data/myapp/api"
        secretKey: "token"
"""

AWS = """
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata:
  name: aws-secrets
  namespace: production
spec:
  provider: aws
  parameters:
    objects: |
      - objectName: "my-app-db-password"
        objectType: "secretsmanager"
        objectAlias: "db-password"
      - objectName: "my-app-api-key"
        objectType: "secretsmanager"
        objectAlias: "api-key"
    region: "us-west-2"
  # Optional: sync to Kubernetes Secret
  secretObjects:
  - secretName: app-secrets
    type: Opaque
    data:
    - objectName: db-password
      key: password
    - objectName: api-key
      key: api-key
"""

AWS_WITH_SYNC = """
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata:
  name: aws-secrets-with-sync
  namespace: production
spec:
  provider: aws
  parameters:
    objects: |
      - objectName: "database-creds"
        objectType: "secretsmanager"
  secretObjects:
  - secretName: database-credentials
    type: Opaque
    data:
    - objectName: database-creds
      key: credentials
"""

POD = """
apiVersion: v1
kind: Pod
metadata:
  name: app-with-secrets
  namespace: production
  labels:
    app: web-app
spec:
  nodeName: node-a
  serviceAccountName: app-service-account  # Must have IRSA configured
  containers:
  - name: app
    image: myapp:latest
    volumeMounts:
    - name: secrets-store
      mountPath: "/mnt/secrets"
      readOnly: true
    env:
    # Reference mounted secret files
    - name: DB_PASSWORD_FILE
      value: /mnt/secrets/db-password
    # Or use synced Kubernetes Secret
    - name: API_KEY
      valueFrom:
        secretKeyRef:
          name: app-secrets
          key: api-key
  volumes:
  - name: secrets-store
    csi:
      driver: secrets-store.csi.k8s.io
      readOnly: true
      volumeAttributes:
        secretProviderClass: "aws-secrets"
"""


AWS_OF_BOTH_SERVICES = """
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata:
  name: aws-both
  namespace: production
spec:
  provider: aws
  parameters:
    region: us-west-2
    objects: |
      - objectName: my-app-db-password
        objectType: secretsmanager
      - objectName: /my-app/url
        objectType: ssmparameter
        objectAlias: url
      - objectName: database-creds
        objectType: secretsmanager
        jmesPath:
          - path: user
            objectAlias: user
"""

ACCOUNT = "system:serviceaccount:production:app-service-account"


def trust(servers: Stack) -> str:
    """The role's trust in the service account; without its audience, of which the emulator understands no list."""
    issuer = servers.kube.url.removeprefix("https://")
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::000000000000:oidc-provider/{issuer}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{issuer}:sub": ACCOUNT}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


async def furnish(servers: Stack, kube: Kube) -> Json:
    """Everything that the guide sets up; returns its pod."""
    bao = servers.openbao
    aws = replace(servers.aws, _session=boto3.session.Session(KEY, KEY, region_name=REGION))
    arn = await aws.create_role("app", issuer=servers.kube.url, subject=ACCOUNT)
    await aws.call("iam", lambda iam: iam.update_assume_role_policy(RoleName="app", PolicyDocument=trust(servers)))
    await aws.create_secret("my-app-db-password", "aws-password")
    await aws.create_secret("my-app-api-key", "aws-key")
    await aws.create_secret("database-creds", '{"user": "app", "password": "aws-creds"}')
    await aws.put_parameter("/my-app/url", "postgres://db")
    await bao.put("myapp/database", {"password": "vault-password"})
    await bao.put("myapp/api", {"token": "vault-token"})
    await bao.allow_read("app-policy", "secret/data/myapp/*")
    await bao.write(
        "auth/kubernetes/role/app-role",
        {
            "bound_service_account_names": "app-service-account",
            "bound_service_account_namespaces": "production",
            "policies": "app-policy",
            "ttl": "24h",
        },
    )
    annotated = {"name": "app-service-account", "annotations": {"eks.amazonaws.com/role-arn": arn}}
    accounts = "/api/v1/namespaces/production/serviceaccounts"
    with suppress(Rejected):  # another test of the guide has made it
        await kube.post("/api/v1/namespaces", {"metadata": {"name": "production"}})
    await kube.call("DELETE", f"{accounts}/app-service-account")
    await kube.post(accounts, {"metadata": annotated})
    classes = "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/production/secretproviderclasses"
    for manifest in (
        VAULT.replace("http://vault.vault.svc:8200", bao.address),
        AWS,
        AWS_WITH_SYNC,
        AWS_OF_BOTH_SERVICES,
    ):
        await kube.post(classes, yaml.safe_load(manifest))
    pod = await kube.post("/api/v1/namespaces/production/pods", yaml.safe_load(POD))
    assert pod is not None
    return pod


@pytest.fixture(scope="module")
def pod(servers: Stack) -> Json:
    """The guide's pod."""

    async def make() -> Json:
        async with connect(servers.kube.kubeconfig, user_agent="e2e") as kube:
            return await furnish(servers, kube)

    return asyncio.run(make())


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("vault-secrets", {"db-password": "vault-password", "api-token": "vault-token"}),
        ("aws-secrets", {"db-password": "aws-password", "api-key": "aws-key"}),
        ("aws-secrets-with-sync", {"database-creds": '{"user": "app", "password": "aws-creds"}'}),
        (
            "aws-both",
            {
                "my-app-db-password": "aws-password",
                "url": "postgres://db",
                "database-creds": '{"user": "app", "password": "aws-creds"}',
                "user": "app",
            },
        ),
    ],
)
async def test_class(node: NodeDriver, kube: Kube, pod: Json, name: str, files: Mapping[str, str]) -> None:
    """The class mounts, with the files that the guide promises and no others."""
    kubelet = Kubelet(node.endpoint, node.kubelet_root, kube, AUDIENCES)
    target = await kubelet.publish(pod, name, volume=name)

    assert {each.name: each.read_text() for each in target.iterdir() if not each.name.startswith("..")} == files


async def test_account_without_role(world: World) -> None:
    """A pod whose service account has no role in AWS reads in upstream's words that it needs one."""
    await world.make_class("aws", "aws", yaml.safe_load(AWS)["spec"]["parameters"])
    pod = await world.pod("aws")
    code, said = await world.refused(world.kubelet.publish(pod, "aws"), pod)

    assert code == "PERMISSION_DENIED"
    assert "An IAM role must be associated with service account app" in said


async def test_role_of_another_account(world: World, pod: Json) -> None:
    """A service account that names a role which does not trust it is refused by AWS, not served from what is shared."""
    arn = "arn:aws:iam::000000000000:role/app"
    await world.account("thief", **{"eks.amazonaws.com/role-arn": arn})
    await world.make_class("aws", "aws", yaml.safe_load(AWS)["spec"]["parameters"])
    thief = await world.pod("aws", account="thief")
    code, said = await world.refused(world.kubelet.publish(thief, "aws"), thief)

    assert pod["spec"]["serviceAccountName"] == "app-service-account"
    assert code == "PERMISSION_DENIED"
    assert arn in said
