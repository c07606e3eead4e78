"""Cache and tokens on the emulator, or on a real API server where KUBEBUILDER_ASSETS names its binaries."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fetcher.classes import CLASSES, Classes
from fetcher.identity import TokenVerifier
from keyferry.errors import IdentityRefused, SecretProviderClassNotFound
from keyferry.kube import Json, Kube, Rejected, connect
from keyferry.resources import Pod
from keyferry.testing.kube import KubeAPI, crds
from keyferry.testing.kube.real import real_kube

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
OUR_CLASSES = "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/default/secretproviderclasses"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """The kubeconfig of a real API server; None where there are no binaries of one."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if not assets:
        yield None
        return
    with real_kube(Path(assets), tmp_path_factory.mktemp("real")) as running:
        yield running.kubeconfig


@pytest.fixture
async def kube(real: Path | None) -> AsyncIterator[Kube]:
    """A client of ours; the server knows our kinds."""
    async with AsyncExitStack() as stack:
        kubeconfig = real or (await stack.enter_async_context(KubeAPI(node_claim=False, history=1))).kubeconfig
        kube = await stack.enter_async_context(connect(kubeconfig))
        for definition in crds.load(Path(__file__).parents[3] / "deploy" / "crds"):
            if await kube.get(f"{DEFINITIONS}/{definition['metadata']['name']}") is None:
                await kube.post(DEFINITIONS, definition)
        async with asyncio.timeout(30):
            while await kube.get(CLASSES) is None:  # noqa: ASYNC110 - a real server takes a moment to serve a new kind
                await asyncio.sleep(0.1)
        yield kube


@pytest.fixture
def name() -> str:
    """One that no other test uses."""
    return f"x{uuid.uuid4().hex[:12]}"


async def until_provider(classes: Classes, name: str, provider: str | None) -> None:
    async with asyncio.timeout(30):
        while getattr(classes.watched.get("default", name), "provider", None) != provider:  # noqa: ASYNC110 - a cache
            await asyncio.sleep(0.02)


def class_body(name: str) -> Json:
    """A manifest as users write it."""
    kind = {"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass"}
    return kind | {"metadata": {"name": name}, "spec": {"provider": "aws", "parameters": {"objects": "x"}}}


async def run_pod(kube: Kube, name: str) -> Pod:
    """A pod that the API server takes for running on node-1."""
    await kube.post("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": name}})
    spec: Json = {"serviceAccountName": name, "nodeName": "node-1", "containers": [{"name": "c", "image": "i"}]}
    body = {"metadata": {"name": name}, "spec": spec | {"automountServiceAccountToken": False}}
    made = await kube.post("/api/v1/namespaces/default/pods", body) or {}
    return Pod("default", name, made["metadata"]["uid"], name)


async def token(kube: Kube, pod: Pod, audience: str) -> str:
    reference = {"kind": "Pod", "apiVersion": "v1", "name": pod.name, "uid": pod.uid}
    body = {"spec": {"audiences": [audience], "boundObjectRef": reference}}
    answer = await kube.post(f"/api/v1/namespaces/default/serviceaccounts/{pod.service_account}/token", body) or {}
    return str(answer["status"]["token"])


async def test_the_life_of_a_class_is_followed(kube: Kube, name: str) -> None:
    """Not there, created, changed, deleted: the cache says what the server says."""
    classes = Classes(kube)
    task = asyncio.create_task(classes.run())
    with pytest.raises(SecretProviderClassNotFound):
        await classes.get("default", name)

    await kube.post(OUR_CLASSES, class_body(name))
    await until_provider(classes, name, "aws")
    await kube.call(
        "PATCH",
        f"{OUR_CLASSES}/{name}",
        body={"spec": {"provider": "gcp"}},
        content_type="application/merge-patch+json",
    )
    await until_provider(classes, name, "gcp")
    await kube.call("DELETE", f"{OUR_CLASSES}/{name}")
    await until_provider(classes, name, None)
    task.cancel()


async def test_a_history_that_is_gone_is_listed_anew(kube: Kube, name: str) -> None:
    """Whichever way the server says that a version is too old, the cache ends up complete."""
    for suffix in "abc":
        await kube.post(OUR_CLASSES, class_body(f"{name}-{suffix}"))
    classes = Classes(kube)
    # Older than the kind itself: no server has kept that.
    classes.watched._version, classes.watched._relist_at = "1", float("inf")
    task = asyncio.create_task(classes.run())

    await until_provider(classes, f"{name}-a", "aws")
    assert classes.watched.synced
    task.cancel()


async def test_what_was_posted_twice_is_a_conflict(kube: Kube, name: str) -> None:
    """Status and cause are told apart from text."""
    await kube.post("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": name}})

    with pytest.raises(Rejected) as caught:
        await kube.post("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": name}})
    assert (caught.value.status, caught.value.cause) == (409, "AlreadyExists")


async def test_the_token_of_a_pod_proves_pod_and_node(kube: Kube, name: str) -> None:
    """A token as the server issues it, verified with the keys that it publishes."""
    pod = await run_pod(kube, name)
    verifier = TokenVerifier(kube)

    assert (await verifier.verify(await token(kube, pod, "keyferry"), pod=pod, node="node-1")).pod == pod
    with pytest.raises(IdentityRefused, match="node-2"):
        await verifier.verify(await token(kube, pod, "keyferry"), pod=pod, node="node-2")
    with pytest.raises(IdentityRefused, match="aud"):
        await verifier.verify(await token(kube, pod, "vault"), pod=pod, node="node-1")
