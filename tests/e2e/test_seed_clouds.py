"""The guide's classes of Azure and Google, as they stand in deploy/examples, mounted by a pod of the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

import pytest

from keyferry.kube import Json, Kube, Rejected
from keyferry.testing.azure import AzureEmulator
from keyferry.testing.demo import clouds, volume
from keyferry.testing.demo.guide import AUDIENCES, manifest
from keyferry.testing.demo.values import ACCOUNT, Secrets
from keyferry.testing.gcp import GcpEmulator
from keyferry.testing.kubelet import Kubelet, pod_manifest
from keyferry.testing.stack import Stack

pytestmark = pytest.mark.root

NAMESPACE = "production"
_CLASSES = f"/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{NAMESPACE}/secretproviderclasses"


@dataclass
class Clouds:
    """Both clouds, a node whose fetcher knows them, and a pod of the guide's service account."""

    azure: AzureEmulator
    google: GcpEmulator
    values: Secrets
    kubelet: Kubelet
    pod: Json

    async def files(self, class_name: str) -> dict[str, str]:
        """What the pod finds in the volume of a class."""
        return dict(volume.contents(await self.kubelet.publish(self.pod, class_name, volume=class_name)))


async def _furnish(kube: Kube) -> Json:
    annotations = {"azure.workload.identity/client-id": clouds.CLIENT}
    with suppress(Rejected):  # another test of the guide has made it
        await kube.post("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    accounts = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
    await kube.call("DELETE", f"{accounts}/{ACCOUNT}")
    await kube.post(accounts, {"metadata": {"name": ACCOUNT, "annotations": annotations}})
    for name in ("azure-secret-provider.yaml", "gcp-secret-provider.yaml"):
        await kube.post(_CLASSES, manifest(name, ""))
    pod = pod_manifest(NAMESPACE, "clouds", node="node-a", secret_provider_class="azure-keyvault", account=ACCOUNT)
    made = await kube.post(f"/api/v1/namespaces/{NAMESPACE}/pods", pod)
    assert made is not None
    return made


@pytest.fixture
async def both(own: Stack, kube: Kube) -> AsyncIterator[Clouds]:
    """Everything that the guide sets up for the two."""
    values = Secrets()
    async with AsyncExitStack() as running:
        azure = await running.enter_async_context(AzureEmulator())
        google = await running.enter_async_context(GcpEmulator(metadata=clouds.GKE))
        await clouds.trust(kube, azure, google)
        clouds.fill_azure(azure, values)
        clouds.fill_google(google, values)
        pod = await _furnish(kube)
        fetcher = own.fetcher(**azure.environ(), **google.environ())
        await asyncio.to_thread(running.enter_context, fetcher)
        node = await asyncio.to_thread(running.enter_context, own.node_driver())
        yield Clouds(azure, google, values, Kubelet(node.endpoint, node.kubelet_root, kube, AUDIENCES), pod)


async def test_both_classes_mount_as_the_guide_promises(both: Clouds) -> None:
    """Secret, certificate and key from Azure, two secrets from Google, by the pod's own identity and no other."""
    for class_name in ("azure-keyvault", "gcp-secrets"):
        assert await both.files(class_name) == both.values.files[class_name]
