"""A cluster as the guide has it, with the servers around it and a reader's terminal before it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import boto3
import yaml

from keyferry import keymaking
from keyferry.kube import Kube
from keyferry.testing import services
from keyferry.testing.aws import KEY, Aws
from keyferry.testing.azure import TENANT, AzureEmulator
from keyferry.testing.demo import clouds
from keyferry.testing.demo.values import REGION, Secrets
from keyferry.testing.gcp import GcpEmulator
from keyferry.testing.kube.node import RealNode
from keyferry.testing.kube.pods import until
from keyferry.testing.nats import Nats
from keyferry.testing.openbao import OpenBao
from keyferry.testing.valkey import Valkey
from tests.e2e_kube.conftest import account
from tests.e2e_kube.docs import installed
from tests.e2e_kube.docs.steps import Done, Shell, Step, steps
from tests.unit.docs.pages import DOCS, ROOT

GUIDE = tuple(steps(DOCS / "guide.md"))
FILES = {each.file: each.text for each in GUIDE if each.file}
NAMESPACE = "production"
LOOKS = re.compile(r"kubectl (get|describe|logs|port-forward) |keyferry (?!keys)")
"""Commands that can be run again and change nothing."""
SYNCED = {"name": "aws-secrets-with-sync", "file": "database-creds", "value": '{"user": "app", "password": "creds"}'}


def lacking(output: str, patterns: Iterable[str]) -> list[str]:
    """Which of these regular expressions no line has."""
    return [each for each in patterns if not re.search(each, output, re.MULTILINE)]


@dataclass(frozen=True)
class Around:
    """The servers around the cluster, each the pages' own.

    Attributes:
        nats: The bus.
        valkey: Schedule and shared contents.
        openbao: Vault.
        aws: An AWS that lets everyone do everything.
        azure: Entra ID and Key Vault, in this process.
        google: Secret Manager and its identities, in this process.
        values: What they hold.
    """

    nats: Nats
    valkey: Valkey
    openbao: OpenBao
    aws: Aws
    azure: AzureEmulator
    google: GcpEmulator
    values: Secrets


@dataclass(frozen=True)
class Cluster:
    """A cluster as the guide leaves it.

    Attributes:
        node: Its one node.
        kube: The administrator's client.
        around: What it stands on.
        shell: The reader's terminal.
        ports: Where each service answers HTTP, on the node.
    """

    node: RealNode
    kube: Kube
    around: Around
    shell: Shell
    ports: dict[str, int]

    async def follow(self, page: Iterable[Step], left_out: Iterable[str], between: Mapping[str, Then]) -> None:
        """Do what a page says, in its order.

        Args:
            page: Its steps.
            left_out: What is passed over, by how it begins.
            between: What is done after a step that begins like this, or after the file of this name.
        """
        for step in page:
            if not step.text.startswith(tuple(left_out)):
                await self.shell.take(step)
            for beginning, then in between.items():
                if (step.file or step.text).startswith(beginning):
                    await then(self, step)

    async def pod(self, labels: str, namespace: str = NAMESPACE) -> str:
        """The name of the first pod with these labels."""
        words = ("get", "pods", "-n", namespace, "-l", labels, "-o", "jsonpath={.items[0].metadata.name}")
        return await self.node.kubectl(*words)

    async def shows(self, command: str, patterns: Sequence[str]) -> None:
        """See that a command that has run printed all of this, or does when what it tells of has happened."""
        if lacking(self.shell.done[command].output, patterns):
            assert LOOKS.match(command), self.shell.done[command].output
            await self.seen(command, *patterns)

    async def seen(self, command: str, *patterns: str) -> str:
        """Wait until a command that looks at something prints all of this, and return what it prints.

        Args:
            command: Run again and again.
            patterns: Regular expressions, each of a line.
        """
        last = Done(1, "")

        async def said() -> bool:
            nonlocal last
            last = await self.shell.run(command)
            return not last.status and not lacking(last.output, patterns)

        try:
            await until(said)
        except TimeoutError as error:
            error.add_note(f"{command}\n{last.output}")
            raise
        return last.output


Then = Callable[[Cluster, Step], Awaitable[None]]
"""What a reader does between two steps of a page."""


async def fill(around: Around, kube: Kube) -> str:
    """The reader's side of each cloud, and what there is to read in Vault; gives the role of the service account."""
    issuer = await clouds.trust(kube, around.azure, around.google)
    role = await clouds.fill_aws(around.aws, issuer, around.values)
    session = boto3.session.Session(KEY, KEY, region_name=REGION)
    await replace(around.aws, region=REGION, _session=session).create_secret(SYNCED["file"], SYNCED["value"])
    clouds.fill_azure(around.azure, around.values)
    clouds.fill_google(around.google, around.values)
    await around.openbao.put("myapp/database", {"password": around.values["vault-secrets", "db-password"]})
    await around.openbao.put("myapp/api", {"token": around.values["vault-secrets", "api-token"]})
    return role


async def introduce(around: Around, node: RealNode, kube: Kube) -> None:
    """What Vault finds out by itself where it runs in a pod: the cluster's authority, and how to ask for reviews."""
    token = await account(kube, "vault", "system:auth-delegator")
    told = {"kubernetes_host": node.url, "kubernetes_ca_cert": node.ca_pem, "token_reviewer_jwt": token}
    await around.openbao.write("auth/kubernetes/config", told)


def terminal(folder: Path, node: RealNode, around: Around, role: str) -> Shell:
    """A folder with the programs, and the names of this cluster for those of the guide's."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    (programs / "vault").write_text(f'#!/bin/sh\nexec {Path(sys.executable).parent}/bao "$@"\n')
    (programs / "vault").chmod(0o755)
    (folder / "deploy").symlink_to(ROOT / "deploy")
    env = {
        **node.env,
        "PATH": f"{programs}:{Path(sys.executable).parent}:{node.env['PATH']}",
        "HOME": str(folder),
        "VAULT_ADDR": around.openbao.address,
        "VAULT_TOKEN": around.openbao.root_token,
        "KEYFERRY_NATS_URL": around.nats.url,
        "KEYFERRY_REDIS_URL": around.valkey.url,
    }
    words = {
        "http://vault.vault.svc:8200": around.openbao.address,
        "https://kubernetes.default.svc:443": node.url,
        "your-tenant-id": TENANT,
        "arn:aws:iam::123456789012:role/app": role,
    }
    return Shell(folder, env, words, {})


async def furnish(node: RealNode, kube: Kube, around: Around, place: Path) -> dict[str, int]:
    """Streams, keys, the node's region, and the chart with the values of the guide; at which ports services answer."""
    await asyncio.to_thread(services.prepare, around.nats.url, place / "keys")
    listed = json.dumps(keymaking.manifests(place / "keys", installed.SYSTEM))
    await node.kubectl("apply", "-f", "-", stdin=listed)
    secret = {"metadata": {"name": "redis"}, "stringData": {"url": around.valkey.url}}
    await kube.post(f"/api/v1/namespaces/{installed.SYSTEM}/secrets", secret)
    await node.kubectl("label", "node", node.name, f"topology.kubernetes.io/region={REGION}")
    (command,) = (each.text for each in GUIDE if each.text.startswith("helm install "))
    wanted = installed.merged(installed.asked_for(command), yaml.safe_load(FILES["tokens.yaml"]))
    found = {"AWS_ENDPOINT_URL": around.aws.endpoint_url, **around.azure.environ(), **around.google.environ()}
    where = installed.placed(node, nats_url=around.nats.url, fetcher=found, ca_file=around.azure.ca_file)
    return await installed.install(node, installed.merged(wanted, where))


async def rolled_out(node: RealNode, kind: str) -> None:
    """Wait until all of a kind of our workloads are there and ready."""
    ours = ("-n", installed.SYSTEM, "-l", "app.kubernetes.io/name=keyferry", "--timeout=120s")
    try:
        await node.kubectl("rollout", "status", kind, *ours)
    except subprocess.CalledProcessError as error:
        error.add_note(await node.kubectl("get", "pods", "-n", installed.SYSTEM, "-o", "wide"))
        error.add_note(await node.kubectl("describe", "pods", "-n", installed.SYSTEM))
        error.add_note(await node.kubectl("logs", "-n", installed.SYSTEM, "-l", "app.kubernetes.io/name=keyferry"))
        raise


async def all_gone(node: RealNode) -> None:
    """Delete what mounts, and wait until no volume is left, while the driver is there to take them away."""
    await node.kubectl("delete", "deployments,pods", "--all", "-n", NAMESPACE, "--wait=false", "--grace-period=1")

    async def none_left() -> bool:
        return not node.mounted()

    await until(none_left, within=240.0)  # kubelet's pauses between tries are long by now, where a driver was away
