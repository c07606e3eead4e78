"""The chart on a cluster: Helm installs it with its own NATS and Valkey, from images, with the rights that it gives."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from keyferry.kube import Kube, connect
from keyferry.testing.chart.cluster import container_pids
from keyferry.testing.chart.fitting import NAMESPACE, RELEASE
from keyferry.testing.chart.installed import Chart, Confinement, confinement, installed_chart
from keyferry.testing.kube.pods import LIMIT_SECONDS, Namespace, until

GUIDE: dict[str, Any] = {
    "syncSecret": {"enabled": True},
    "enableSecretRotation": True,
    "rotationPollInterval": "120s",
    "keys": {"renewal": {"schedule": "0 0 1 1 *"}},  # not while tests run
}
OFTEN = {"keyferry.io/rotation-interval": "5s"}
SYNCED = {"secretName": "db", "type": "Opaque", "data": [{"objectName": "password", "key": "password"}]}
CRDS = {
    "secretproviderclasses.secrets-store.csi.x-k8s.io",
    "secretproviderclasspodstatuses.secrets-store.csi.x-k8s.io",
    "secretsyncs.secret-sync.x-k8s.io",
}
GOING = (
    *("clusterroles", "clusterrolebindings", "roles", "rolebindings", "serviceaccounts"),
    *("csidrivers", "services", "daemonsets", "deployments", "statefulsets", "cronjobs"),
)
SERVICES = {"node-driver": 1, "fetcher": 2, "rotator": 2, "syncer": 2}
NOBODY = Confinement(
    user=(65532,),
    capabilities=(0, 0),
    no_new_privileges=True,
    filtered=True,
    root="ro",
    shares=(),
    token=False,
)


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chart]:
    """The chart with the guide's values, on a cluster of its own."""
    with installed_chart(tmp_path_factory.mktemp("chart"), GUIDE) as installed:
        yield installed


@pytest.fixture
async def kube(chart: Chart) -> AsyncIterator[Kube]:
    """The administrator's client."""
    async with connect(chart.node.kubeconfig, user_agent="e2e-kube") as kube:
        yield kube


@pytest.fixture
async def ns(chart: Chart, kube: Kube) -> Namespace:
    """A namespace whose class `often` mounts a password, refreshes it every five seconds and keeps it in a Secret."""
    namespace = Namespace(chart.node, kube, chart.openbao, f"ns-{uuid.uuid4().hex[:8]}")
    await namespace.make()
    await namespace.secret(password="tiger")
    await namespace.vault_class("often", annotations=OFTEN, secretObjects=[SYNCED])
    return namespace


def mounts(ns: Namespace, pod: Any, value: str) -> Callable[[], Awaitable[bool]]:
    """Whether the pod reads the value from its volume."""

    async def read() -> bool:
        return await ns.read(pod, "often/password") == value

    return read


def keeps(ns: Namespace, value: str) -> Callable[[], Awaitable[bool]]:
    """Whether the Secret has the value."""

    async def kept() -> bool:
        found = await ns.kube.get(ns.path("secrets/db"))
        return found is not None and base64.b64decode(found["data"]["password"]).decode() == value

    return kept


async def test_pods_are_confined(chart: Chart) -> None:
    """All are Ready; but for the node-driver they are nobody who can do nothing, and two have a token for the API."""
    running, first = await chart.pods(), container_pids(chart.node)
    held = {
        (component, pod["metadata"]["name"]): confinement(
            first[status["containerID"].removeprefix("containerd://")], chart.node.kubelet_root
        )
        for component, pods in running.items()
        for pod in pods
        for status in pod["status"]["containerStatuses"]
    }
    unready = [pod["metadata"]["name"] for pods in running.values() for pod in pods if not ready(pod)]

    assert {component: len(pods) for component, pods in running.items()} == {**SERVICES, "nats": 1, "valkey": 1}
    assert unready == []
    (driver,) = [found for (component, _), found in held.items() if component == "node-driver"]
    assert (driver.user, driver.root, driver.token) == ((0,), "ro", False)
    assert driver.shares[0] == f"{chart.node.kubelet_root}/pods"  # and what is mounted below it
    others = {name: found for name, found in held.items() if name[0] != "node-driver"}
    assert others == {name: replace(NOBODY, token=name[0] in ("fetcher", "syncer")) for name in others}


def ready(pod: Any) -> bool:
    """Whether the pod is."""
    return ("Ready", "True") in [(each["type"], each["status"]) for each in pod["status"]["conditions"]]


async def test_jobs_are_done(chart: Chart) -> None:
    """The keys are made and their Job and its rights have gone; the streams' Job is complete; the CRDs are served."""
    streams = ("-l", "app.kubernetes.io/component=streams", "-n", NAMESPACE)
    jobs = json.loads(await chart.node.kubectl("get", "jobs", *streams, "-o", "json"))["items"]
    limit = f"--timeout={LIMIT_SECONDS:.0f}s"
    await chart.node.kubectl("wait", "--for=condition=Established", limit, *(f"crd/{name}" for name in CRDS))

    assert [(job["metadata"]["name"].rpartition("-")[0], job["status"].get("succeeded")) for job in jobs] == [
        (f"{RELEASE}-streams", 1)
    ]
    assert f"{RELEASE}-keys" not in await chart.names("jobs,roles,rolebindings,serviceaccounts", "-n", NAMESPACE)


@pytest.mark.parametrize("service", SERVICES)
async def test_no_service_reads_secrets(chart: Chart, service: str) -> None:
    """The API server would not give a Secret to any of our service accounts, not even our own keys."""
    account = f"system:serviceaccount:{NAMESPACE}:{RELEASE}-{service}"
    asked = ("auth", "can-i", "get", "secrets", "-n", NAMESPACE, "--as", account)
    assert await chart.node.kubectl(*asked, check=False) == "no\n"


async def test_certificates_are_looked_at(chart: Chart) -> None:
    """The CronJob that renews certificates may do what it has to, now as well."""
    name = f"cronjob/{RELEASE}-certificates"
    spec = json.loads(await chart.node.kubectl("-n", NAMESPACE, "get", name, "-o", "json"))["spec"]["jobTemplate"][
        "spec"
    ]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "now", "namespace": NAMESPACE}, "spec": spec}
    await chart.node.kubectl("create", "-f", "-", stdin=json.dumps(job))
    limit = f"--timeout={LIMIT_SECONDS:.0f}s"
    await chart.node.kubectl("-n", NAMESPACE, "wait", "--for=condition=Complete", "job/now", limit)
    await chart.node.kubectl("-n", NAMESPACE, "delete", "job", "now")


async def test_secret_reaches_a_pod(ns: Namespace) -> None:
    """A pod reads its secret and a Secret keeps it; both get the new value; nothing is left of either afterwards."""
    pod = await ns.running("app", "often")
    assert await ns.read(pod, "often/password") == "tiger"
    await until(keeps(ns, "tiger"))

    await ns.secret(password="leopard")
    await until(mounts(ns, pod, "leopard"))
    await until(keeps(ns, "leopard"))

    await ns.delete(pod)
    await ns.gone(pod)

    async def none_kept() -> bool:
        return await ns.kube.get(ns.path("secrets/db")) is None

    await until(none_kept)


async def test_upgrade(chart: Chart, ns: Namespace) -> None:
    """Every service and NATS are replaced, and a volume is read meanwhile; then it is refreshed and unmounted."""
    before, pod = await chart.pods(), await ns.running("app", "often")
    upgrading = asyncio.create_task(
        asyncio.to_thread(chart.release.upgrade, **GUIDE, logLevel="debug", nats={"maxFileStore": "3GB"})
    )
    read = set()
    while not upgrading.done():
        read.add(await ns.read(pod, "often/password"))
    await upgrading
    await chart.settled()
    after = await chart.pods()

    assert read == {"tiger"}
    assert {component: len(pods) for component, pods in after.items()} == {**SERVICES, "nats": 1, "valkey": 1}
    replaced = {component for component in after if not uids(before[component]) & uids(after[component])}
    assert replaced == {*SERVICES, "nats"}
    await ns.secret(password="leopard")
    await until(mounts(ns, pod, "leopard"))
    assert await ns.read(await ns.running("later", "often"), "often/password") == "leopard"
    await ns.delete(pod)
    await ns.gone(pod)


def uids(pods: list[Any]) -> set[str]:
    """Which pods they are."""
    return {pod["metadata"]["uid"] for pod in pods}


async def test_uninstall_and_install_again(chart: Chart, ns: Namespace) -> None:
    """It leaves CRDs, classes and keys, and no pod, right or mount; installed again it serves the class as before."""
    await chart.node.kubectl("delete", "pods", "--all-namespaces", "-l", "!app.kubernetes.io/name", "--wait=false")

    async def none_mounted() -> bool:
        return [chart.node.mounted(), chart.node.records()] == [[], []]

    await until(none_mounted, within=300)
    ours = ("-l", "app.kubernetes.io/part-of=keyferry", "-n", NAMESPACE)
    keys = await chart.names("secrets,configmaps", *ours)
    await asyncio.to_thread(chart.release.uninstall)

    async def nothing_runs() -> bool:
        return await chart.names("pods", "-n", NAMESPACE) == set() and registered() == []

    def registered() -> list[str]:
        return [path.name for path in (chart.node.kubelet_root / "plugins_registry").iterdir()]

    await until(nothing_runs, within=300)
    assert await chart.names(",".join(GOING), *ours) == set()
    assert await chart.names("crds") == CRDS
    assert await chart.names("secretproviderclasses", "-n", ns.name) == {"often"}
    assert {"keyferry-fetcher-keys", "keyferry-public-keys"} <= await chart.names("secrets,configmaps", *ours) <= keys
    assert chart.node.mounted() == []

    await asyncio.to_thread(chart.release.install, **GUIDE)
    await chart.settled()
    assert await ns.read(await ns.running("app", "often"), "often/password") == "tiger"
