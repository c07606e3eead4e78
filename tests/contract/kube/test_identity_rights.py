"""The chart's roles suffice for who makes identities and certificates, and for who reads one; RBAC holds them to it.

The emulator does not enforce RBAC: what must be refused is tried on a real API server alone (KUBEBUILDER_ASSETS).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

from keyferry import certificates_job, keys_job
from keyferry.certificates_job import ANNOTATION, Server
from keyferry.cli.borrowed import borrow
from keyferry.cli.lacking import Lacking
from keyferry.errors import AccessDenied
from keyferry.kube import Kube, connect

from .conftest import Api, Cluster

CHART = Path(__file__).parents[3] / "deploy" / "helm" / "keyferry"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}"
PATHS = {
    "ServiceAccount": "/api/v1/namespaces/{ns}/serviceaccounts",
    "Role": f"{RBAC}/roles",
    "RoleBinding": f"{RBAC}/rolebindings",
}
SERVERS = [
    Server("nats", ("nats.svc", "127.0.0.1"), "statefulsets/k-nats", trusts=True),
    Server("redis", ("valkey.svc",), "deployments/k-valkey"),
]


@pytest.fixture
async def installed(api: Api) -> Api:
    """A namespace with the chart's accounts and roles, and the workloads that are to restart."""
    with helm.Chart.load(CHART) as chart:
        texts = chart.render({"kubeVersion": "1.37.0"}, name="k", namespace=api.namespace)
    rendered = [each for path, text in texts.items() if path.endswith(".yaml") for each in yaml.safe_load_all(text)]
    for each in (each for each in rendered if each and each["metadata"].get("namespace") == api.namespace):
        if each["kind"] in PATHS:
            await api.make(PATHS[each["kind"]], each)
    pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "localhost/none:1"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": pod, "replicas": 0}
    for plural, name in (("statefulsets", "k-nats"), ("deployments", "k-valkey")):
        body = {"metadata": {"name": name}, "spec": spec | ({"serviceName": name} if plural[0] == "s" else {})}
        await api.make(f"/apis/apps/v1/namespaces/{{ns}}/{plural}", body)
    return api


@asynccontextmanager
async def acting(api: Api, cluster: Cluster, folder: Path, account: str) -> AsyncIterator[Kube]:
    """The API as a service account sees it."""
    told = await api.make(f"{PATHS['ServiceAccount']}/{account}/token", {"spec": {"expirationSeconds": 600}})
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"] = [{"name": each["name"], "user": {"token": told["status"]["token"]}} for each in config["users"]]
    file = folder / account
    file.write_text(yaml.safe_dump(config))
    async with connect(file) as kube:
        yield kube


async def noted(api: Api, plural: str, name: str) -> dict[str, Any]:
    told = await api.read(f"/apis/apps/v1/namespaces/{{ns}}/{plural}/{name}")
    return dict(told["spec"]["template"]["metadata"].get("annotations") or {})


async def make_all(api: Api, cluster: Cluster, folder: Path) -> None:
    """Twice: an installation, and an upgrade that finds everything."""
    async with acting(api, cluster, folder, "k-keys") as kube:
        for _ in range(2):
            await keys_job.ensure(kube, api.namespace, SERVERS, now=time.time())


async def test_the_jobs_have_the_rights_they_need(installed: Api, cluster: Cluster, tmp_path: Path) -> None:
    """The keys Job makes everything; the CronJob makes certificates anew and has both servers restart."""
    await make_all(installed, cluster, tmp_path)
    async with acting(installed, cluster, tmp_path, "k-certificates") as kube:
        now = time.time() + 5
        await certificates_job.ensure(kube, installed.namespace, SERVERS, now=now, since=now - 1)
    for plural, name in (("statefulsets", "k-nats"), ("deployments", "k-valkey")):
        assert ANNOTATION in await noted(installed, plural, name)


async def bind(api: Api, role: str, account: str) -> None:
    """Give somebody one of the roles that the chart makes for people."""
    await api.make(PATHS["ServiceAccount"], {"metadata": {"name": account}})
    subject = {"kind": "ServiceAccount", "name": account, "namespace": api.namespace}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role}
    await api.make(PATHS["RoleBinding"], {"metadata": {"name": account}, "roleRef": ref, "subjects": [subject]})


@pytest.mark.parametrize(("role", "identity"), [("keyferry-cli-role", "cli"), ("keyferry-mender-role", "mender")])
async def test_people_have_the_rights_they_need(
    installed: Api, cluster: Cluster, tmp_path: Path, role: str, identity: str
) -> None:
    """Each role lets an identity be read with the CA; the mender has the looker's role as well."""
    await make_all(installed, cluster, tmp_path)
    await bind(installed, role, "person")
    await installed.call("POST", f"{RBAC}/rolebindings", looker_too(installed, "person"))
    async with (
        acting(installed, cluster, tmp_path, "person") as kube,
        borrow(kube, installed.namespace, identity) as got,
    ):
        assert got.seed.startswith("SU")
        assert "BEGIN CERTIFICATE" in Path(got.ca_file).read_text()  # noqa: ASYNC240 - a file of a test


def looker_too(api: Api, account: str) -> dict[str, Any]:
    subject = {"kind": "ServiceAccount", "name": account, "namespace": api.namespace}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "keyferry-cli-role"}
    return {"metadata": {"name": f"{account}-looks"}, "roleRef": ref, "subjects": [subject]}


@pytest.mark.parametrize("identity", ["mender", "fetcher", "streams"])
async def test_who_looks_reads_no_other_identity(
    installed: Api, cluster: Cluster, tmp_path: Path, identity: str
) -> None:
    """Nor does the CronJob read a key of a service."""
    if cluster.is_emulator:
        pytest.skip("the emulator does not enforce RBAC")
    await make_all(installed, cluster, tmp_path)
    await bind(installed, "keyferry-cli-role", "person")
    async with acting(installed, cluster, tmp_path, "person") as kube:
        with pytest.raises(Lacking, match=r"docs/rbac\.md lists what --from-cluster takes"):
            async with borrow(kube, installed.namespace, identity):
                pass
    async with acting(installed, cluster, tmp_path, "k-certificates") as kube:
        with pytest.raises(AccessDenied):
            await kube.get(f"/api/v1/namespaces/{installed.namespace}/secrets/keyferry-{identity}-identity")
