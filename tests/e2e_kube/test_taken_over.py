"""A node changes over from a driver of which ours knows nothing, under a pod that runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

from keyferry.kube import Kube
from keyferry.testing.kube.node import RealNode
from keyferry.testing.kube.pods import Namespace, metrics, registered, until
from keyferry.testing.services import NodeDriver

CLASSES = "/apis/secrets-store.csi.x-k8s.io/v1"


def refused(driver: NodeDriver) -> float:
    """How many publish calls failed because there is no such class."""
    counts = {name: count for name, count in metrics(driver).items() if name.startswith("node_publish_error_total{")}
    return sum(count for name, count in counts.items() if "SecretProviderClassNotFound" in name)


def forget_all(records: Path) -> None:
    """Have the driver know of no volume."""
    for record in records.iterdir():
        record.unlink()


async def test_what_cannot_be_taken_over_is_unmounted_at_the_end(
    ns: Namespace, driver: NodeDriver, node: RealNode, kube: Kube
) -> None:
    """Kubelet asks again and again, the pod goes on reading what it has, and its volume goes when it does."""
    pod = await ns.running("before")
    await asyncio.to_thread(driver.process.stop)
    try:
        forget_all(Path(node.driver_settings["KEYFERRY_STATE_DIR"]))
        await kube.call("DELETE", f"{ns.path('secretproviderclasses', CLASSES)}/secrets")
    finally:
        await asyncio.to_thread(driver.process.start)
    await registered(driver)

    async def asked_again() -> bool:
        return await asyncio.to_thread(refused, driver) >= 3

    await until(asked_again)
    assert await ns.read(pod) == "tiger"
    await ns.delete(pod)
    await ns.gone(pod)
