"""The guide's two classes that sync, as they stand there, from an AWS that enforces trust and IAM policies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import boto3
import pytest
import yaml

from keyferry.testing.aws import KEY
from keyferry.testing.services import NodeDriver, Service
from keyferry.testing.stack import Stack

from .conftest import Desk

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("syncer")]

REGION = "us-west-2"
CLASSES = """
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata:
  name: aws-secrets
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
---
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata:
  name: aws-secrets-with-sync
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


@pytest.fixture(scope="module")
def services(breakable: Stack) -> Iterator[tuple[Service, NodeDriver]]:
    """A fetcher in the guide's region, and a node."""
    with breakable.fetcher(AWS_REGION=REGION) as fetcher, breakable.node_driver() as node:
        yield fetcher, node


async def trusted_role(servers: Stack, namespace: str) -> str:
    """A role that the namespace's account `app` may take; without its audience, of which the emulator knows no list."""
    subject, issuer = f"system:serviceaccount:{namespace}:app", servers.kube.url.removeprefix("https://")
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::000000000000:oidc-provider/{issuer}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{issuer}:sub": subject}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    arn = await servers.aws.create_role(namespace, issuer=servers.kube.url, subject=subject)
    await servers.aws.call("iam", lambda iam: iam.update_assume_role_policy(RoleName=namespace, PolicyDocument=policy))
    return str(arn)


async def test_the_guides_secrets(desk: Desk, servers: Stack) -> None:
    """Both Secrets are there with the guide's keys, and belong to whoever mounts the classes."""
    aws = replace(servers.aws, _session=boto3.session.Session(KEY, KEY, region_name=REGION))
    mine = desk.world.namespace
    arn = await trusted_role(servers, mine)
    values = {"my-app-db-password": "aws-password", "my-app-api-key": "aws-key", "database-creds": '{"user": "app"}'}
    text = CLASSES
    for name, value in values.items():
        await aws.create_secret(f"{mine}-{name}", value)  # the AWS is shared with other tests
        text = text.replace(f'objectName: "{name}"', f'objectName: "{mine}-{name}"')
    text = text.replace("objectName: database-creds", f"objectName: {mine}-database-creds")
    annotated = {"metadata": {"annotations": {"eks.amazonaws.com/role-arn": arn}}}
    await desk.kube.call(
        "PATCH", f"{desk.path}/serviceaccounts/app", body=annotated, content_type="application/merge-patch+json"
    )
    for manifest in yaml.safe_load_all(text):
        await desk.kube.post(desk.classes, manifest)

    one, two = await desk.deploy("one", "aws-secrets"), await desk.deploy("two", "aws-secrets-with-sync")

    first, second = await desk.until_owners(one), await desk.until_owners(two, name="database-credentials")
    assert (first["type"], first["data"]) == ("Opaque", {"password": b"aws-password", "api-key": b"aws-key"})
    assert (second["type"], second["data"]) == ("Opaque", {"credentials": b'{"user": "app"}'})
