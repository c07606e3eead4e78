"""Secrets change under running pods: cases 24 to 26 of the existing driver's own suite."""

from __future__ import annotations

from keyferry.testing.kube.pods import Namespace, metrics, until
from keyferry.testing.services import NodeDriver, Service

OFTEN = {"keyferry.io/rotation-interval": "5s"}


async def test_file_rotated(ns: Namespace, rotator: Service, driver: NodeDriver) -> None:
    """A new value appears in the running pod's file, and the driver counts it under the existing driver's name."""
    assert rotator.process.is_running
    await ns.vault_class("often", annotations=OFTEN)
    pod = await ns.running("app", "often")
    assert await ns.read(pod, "often/password") == "tiger"
    rotated = 'rotation_reconcile_total{os_type="linux",provider="vault",rotated="true"}'
    before = metrics(driver).get(rotated, 0.0)
    await ns.secret(password="leopard")

    async def changed() -> bool:
        return await ns.read(pod, "often/password") == "leopard"

    await until(changed)
    assert metrics(driver)[rotated] > before
