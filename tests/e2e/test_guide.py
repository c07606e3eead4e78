"""The guide of the documentation, docs/guide.md, as it stands there: its manifests, its commands, its program."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import shlex
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import helm_python as helm
import pytest
import pytest_asyncio
import yaml
from rich.console import Console

from keyferry.kube import Json
from keyferry.testing.aws import KEY
from keyferry.testing.azure import TENANT
from keyferry.testing.demo import clouds, cluster, volume
from keyferry.testing.demo.cluster import NODE, Base
from keyferry.testing.demo.guide import AUDIENCES, EXAMPLES, replica
from keyferry.testing.demo.progress import Progress
from keyferry.testing.demo.values import CLASSES, REGION, Secrets
from keyferry.testing.kubelet import Kubelet, csi_driver
from tests.unit.docs.pages import DOCS, ROOT, blocks

if TYPE_CHECKING:
    from tests.e2e.conftest import Until

pytestmark = pytest.mark.root

in_its_loop = pytest.mark.asyncio(loop_scope="module")

BLOCKS = tuple(blocks(DOCS / "guide.md"))
FILES = {each.text.partition("\n")[0].removeprefix("# "): each.text for each in BLOCKS}
"""What the page has under the name of a file, which its first line gives."""

COMMANDS = [
    shlex.split(line, comments=True)
    for each in BLOCKS
    for line in each.text.replace("\\\n", " ").splitlines()
    if each.language == "bash" and line.startswith(("helm ", "kubectl ", "vault "))
]
NAMESPACE = "production"
MANIFESTS = tuple(f"{name}-secret-provider.yaml" for name in ("aws", "azure", "vault", "gcp"))
SYNCED = {"name": "aws-secrets-with-sync", "file": "database-creds", "value": '{"user": "app", "password": "creds"}'}
CLASS_OBJECTS = f"/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{NAMESPACE}/secretproviderclasses"


def command(*beginning: str) -> list[str]:
    """The rest of the page's command that begins like this."""
    (found,) = (each for each in COMMANDS if each[: len(beginning)] == list(beginning))
    return found[len(beginning) :]


def pairs(words: list[str]) -> dict[str, str]:
    """What a command is given as ``name=value``."""
    return dict(word.split("=", 1) for word in words if "=" in word)


@dataclass(frozen=True)
class Cluster:
    """Keyferry on real servers, furnished as the page says, and a pod of its Deployment.

    Attributes:
        base: The servers.
        values: What the backends hold.
        kubelet: Of the pod's node.
        pod: The first of the Deployment's.
    """

    base: Base
    values: Secrets
    kubelet: Kubelet
    pod: Json

    async def mount(self, class_name: str) -> Path:
        """Publish the pod's volume of a class, or publish it again; where it is."""
        return await self.kubelet.publish(self.pod, class_name, volume=class_name)

    async def secret(self, name: str) -> dict[str, str]:
        """The values of a Kubernetes Secret; none as long as it is not there."""
        found = await self.base.kube.get(f"/api/v1/namespaces/{NAMESPACE}/secrets/{name}") or {}
        return {key: base64.b64decode(value).decode() for key, value in (found.get("data") or {}).items()}


async def furnish_vault(base: Base, values: Secrets) -> None:
    """The page's Vault commands, with this cluster's address, and the two secrets."""
    bao, kube, stack = base.stack.openbao, base.kube, base.stack
    assert command("vault", "auth", "enable") == ["kubernetes"]
    assert list(pairs(command("vault", "write", "auth/kubernetes/config"))) == ["kubernetes_host"]
    # In a cluster Vault reviews tokens as its own service account; so it does here.
    await kube.post("/api/v1/namespaces", {"metadata": {"name": "vault"}})
    await kube.post("/api/v1/namespaces/vault/serviceaccounts", {"metadata": {"name": "vault"}})
    asked = await kube.post("/api/v1/namespaces/vault/serviceaccounts/vault/token", {"spec": {"audiences": []}})
    assert asked is not None
    await bao.enable_kubernetes(host=stack.kube.url, ca_pem=stack.kube.ca_pem, reviewer_token=asked["status"]["token"])
    await bao.write("auth/kubernetes/role/app-role", pairs(command("vault", "write", "auth/kubernetes/role/app-role")))
    (policy,) = (each.text for each in BLOCKS if each.text.startswith("vault policy write app-policy"))
    await bao.policy("app-policy", policy.partition("<<EOF\n")[2].partition("EOF")[0])
    await bao.put("myapp/database", {"password": values["vault-secrets", "db-password"]})
    await bao.put("myapp/api", {"token": values["vault-secrets", "api-token"]})


async def furnish_clouds(base: Base, values: Secrets) -> dict[str, str]:
    """What the page has its reader do in each cloud; gives the service account's annotations."""
    issuer = await clouds.trust(base.kube, base.azure, base.google)
    role = await clouds.fill_aws(base.stack.aws, issuer, values)
    aws = replace(base.stack.aws, _session=boto3.session.Session(KEY, KEY, region_name=REGION))
    await aws.create_secret(SYNCED["file"], SYNCED["value"])
    clouds.fill_azure(base.azure, values)
    clouds.fill_google(base.google, values)
    of_page = pairs(
        [word for each in COMMANDS if each[:3] == ["kubectl", "annotate", "serviceaccount"] for word in each]
    )
    return {**of_page, "eks.amazonaws.com/role-arn": role}


async def furnish(base: Base, values: Secrets) -> None:
    """Everything that the page sets up, but for its pods."""
    await furnish_vault(base, values)
    annotations = await furnish_clouds(base, values)
    name, *_ = command("kubectl", "create", "serviceaccount")
    namespace, *_ = command("kubectl", "create", "namespace")
    await base.kube.post("/api/v1/namespaces", {"metadata": {"name": namespace}})
    account = {"metadata": {"name": name, "annotations": annotations}}
    await base.kube.post(f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
    await base.kube.post("/apis/storage.k8s.io/v1/csidrivers", csi_driver(*AUDIENCES))
    labelled = {"name": NODE, "labels": {"topology.kubernetes.io/region": REGION}}  # as AWS's nodes are
    await base.kube.post("/api/v1/nodes", {"metadata": labelled})
    for file in (*MANIFESTS, "provider-with-sync.yaml"):
        text = FILES[file].replace("http://vault.vault.svc:8200", base.stack.openbao.address)
        await base.kube.post(CLASS_OBJECTS, yaml.safe_load(text.replace("your-tenant-id", TENANT)))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guided(place: Path) -> AsyncIterator[Cluster]:
    """The guide's cluster."""
    values, quiet = Secrets(), Progress(Console(file=io.StringIO()))
    async with cluster.servers(place / "guide", quiet) as base:
        await furnish(base, values)
        async with cluster.keyferry(base, quiet) as keyferry:
            classes = {name: name for name in (*CLASSES.values(), SYNCED["name"])}
            deployment = yaml.safe_load(FILES["deployment-with-secrets.yaml"])
            manifest = replica(deployment, 1, node=NODE, classes=classes)
            pod = await base.kube.post(f"/api/v1/namespaces/{NAMESPACE}/pods", manifest)
            assert pod is not None
            kubelet = Kubelet(keyferry.node.endpoint, keyferry.node.kubelet_root, base.kube, AUDIENCES)
            yield Cluster(base, values, kubelet, pod)


@in_its_loop
@pytest.mark.parametrize("class_name", CLASSES.values())
async def test_a_class_mounts(guided: Cluster, class_name: str) -> None:
    """Each of the four classes mounts, with the files that the guide promises and no others."""
    assert volume.contents(await guided.mount(class_name)) == guided.values.files[class_name]


@in_its_loop
async def test_secrets_are_synced(guided: Cluster, until: Until) -> None:
    """Both classes that ask for a Kubernetes Secret have it, with the guide's keys."""
    await guided.mount("aws-secrets")
    assert volume.contents(await guided.mount(SYNCED["name"])) == {SYNCED["file"]: SYNCED["value"]}
    wanted = {key: guided.values["aws-secrets", file] for key, file in (("password", "db-password"), ("api-key",) * 2)}

    async def are_there() -> bool:
        held = await guided.secret("app-secrets"), await guided.secret("database-credentials")
        return held == (wanted, {"credentials": SYNCED["value"]})

    await until(are_there, within=20)


@in_its_loop
async def test_the_program_hears_of_a_rotation(guided: Cluster) -> None:
    """The guide's program reconnects with the new password, by the rotator's own interval."""
    target = await guided.mount("vault-secrets")
    watching = FILES["example-app.py"].replace("/mnt/secrets", str(target))
    watching = watching.replace("observer.start()", 'observer.start(); print("watching", flush=True)')
    stub = 'def connect_to_db(password):\n    print(f"connected with {password}", flush=True)\n'
    argv = (sys.executable, "-u", "-c", stub + watching)
    program = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, env=dict(os.environ))
    assert program.stdout is not None
    try:
        async with asyncio.timeout(40):
            assert await program.stdout.readline() == b"watching\n"
            value = guided.values.renew("vault-secrets", "db-password")
            await guided.base.stack.openbao.put("myapp/database", {"password": value})
            said = [(await program.stdout.readline()).decode() for _ in range(2)]
    finally:
        program.kill()
        await program.wait()

    assert said == ["Database password changed, reloading...\n", f"connected with {value}\n"]


@pytest.fixture(scope="module")
def installed() -> list[Json]:
    """What the guide's ``helm install`` hands to the API server."""
    name, chart, *options = command("helm", "install")
    values: Json = {}
    for key, value in pairs(options).items():
        *path, last = key.split(".")
        at = values
        for part in path:
            at = at.setdefault(part, {})
        at[last] = yaml.safe_load(value)
    with helm.Chart.load(ROOT / chart) as loaded:
        values |= {"kubeVersion": "1.35.0"}
        texts = loaded.render(values, name=name, namespace=options[options.index("--namespace") + 1])
    return [
        each for path, text in texts.items() if not path.endswith(".txt") for each in yaml.safe_load_all(text) if each
    ]


def named(objects: list[Json], kind: str, name: str) -> Json:
    (found,) = (each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def test_the_installation_is_what_the_guide_looks_for(installed: list[Json]) -> None:
    """The driver's label and name, and the rotator's interval, are where the guide's commands look."""
    (driver,) = (each for each in installed if each["kind"] == "DaemonSet")
    assert driver["spec"]["template"]["metadata"]["labels"]["app"] == "secrets-store-csi-driver"
    assert named(installed, "CSIDriver", "secrets-store.csi.k8s.io")["spec"]["requiresRepublish"] is True
    (rotator,) = command("kubectl", "get", "deployment")[:1]
    variables = named(installed, "Deployment", rotator)["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "KEYFERRY_ROTATION_INTERVAL", "value": "120s"} in variables


def test_tokens_of_the_guide_are_the_chart_s(installed: list[Json]) -> None:
    """The list that replaces the chart's has all that its other classes need."""
    told = {each["audience"] for each in yaml.safe_load(FILES["tokens.yaml"])["tokenRequests"]}
    default = {
        each["audience"] for each in named(installed, "CSIDriver", "secrets-store.csi.k8s.io")["spec"]["tokenRequests"]
    }
    assert told >= default - {"keyferry", "pods.eks.amazonaws.com"}


@pytest.mark.parametrize("file", [*MANIFESTS, "deployment-with-secrets.yaml"])
def test_manifests_are_the_examples(file: str) -> None:
    """What the page shows is what deploy/examples has, comments and all."""
    assert FILES[file].strip() == (EXAMPLES / file).read_text().strip()
