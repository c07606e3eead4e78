"""Driver and kubelet restart, and the driver is replaced, under pods that go on reading."""

from __future__ import annotations

import asyncio
from pathlib import Path

from keyferry.kube import Json, Kube
from keyferry.resources import DRIVER_NAME
from keyferry.testing import services
from keyferry.testing.kube.node import RealNode
from keyferry.testing.kube.pods import Namespace, registered, until
from keyferry.testing.nats import Nats
from keyferry.testing.services import NodeDriver


def look(ns: Namespace, pod: Json) -> tuple[str, int, int]:
    """Which file a pod reads: it is another one after the volume was mounted or written anew."""
    found = (ns.target(pod) / "password").stat()
    return str((ns.target(pod) / "..data").readlink()), found.st_dev, found.st_ino


async def still_serves(ns: Namespace, old: Json) -> None:
    """Pods of before can go and new ones can come."""
    new = await ns.running("after")

    assert await ns.read(new) == "tiger"
    await ns.delete(old, new)
    await ns.gone(old, new)


async def test_driver_killed(ns: Namespace, driver: NodeDriver) -> None:
    """While the driver is down its pods go on reading, and a new one adopts what they have."""
    pod = await ns.running("before")
    before = look(ns, pod)
    driver.process.kill()
    assert await ns.read(pod) == "tiger"
    await asyncio.to_thread(driver.process.start)
    await registered(driver)

    assert await ns.read(pod) == "tiger"
    assert look(ns, pod) == before
    await still_serves(ns, pod)


async def test_driver_upgraded(ns: Namespace, driver: NodeDriver, kube: Kube, node: RealNode) -> None:
    """As a DaemonSet does it: the old driver ends, kubelet forgets it, pods come and go, the new one takes it up."""
    pod, leaving = await ns.running("before"), await ns.running("leaving")
    before = look(ns, pod)

    async def forgotten() -> bool:
        known = await kube.get(f"/apis/storage.k8s.io/v1/csinodes/{node.name}")
        return DRIVER_NAME not in [each["name"] for each in (known or {})["spec"].get("drivers") or []]

    await asyncio.to_thread(driver.process.stop)
    try:
        await until(forgotten)
        await ns.delete(leaving)
        coming = await ns.pod("coming")
        await ns.warned(coming, DRIVER_NAME)
    finally:
        await asyncio.to_thread(driver.process.start)
    await registered(driver)

    await ns.ready(coming)
    await ns.gone(leaving)
    assert await ns.read(pod) == "tiger"
    assert look(ns, pod) == before
    await still_serves(ns, pod)


async def test_driver_overtaken(ns: Namespace, driver: NodeDriver, node: RealNode, nats: Nats, place: Path) -> None:
    """As with maxSurge: the new driver starts beside the old one, and stays registered when that one ends."""
    pod = await ns.running("before")
    before = look(ns, pod)
    keys, settings = place / "keys", node.driver_settings
    try:
        with services.node_driver(place, nats_url=nats.url, keys_dir=keys, node=node.name, env=settings) as new:
            await registered(new)
            await asyncio.to_thread(driver.process.stop)

            assert look(ns, pod) == before
            await still_serves(ns, pod)
    finally:
        await asyncio.to_thread(driver.process.start)
    await registered(driver)


async def test_kubelet_killed(ns: Namespace, driver: NodeDriver, node: RealNode) -> None:
    """A kubelet that starts again finds the driver and the volumes: nothing changes for pods, and they can go."""
    pod = await ns.running("before")
    before = look(ns, pod)
    await asyncio.to_thread(node.restart_kubelet)
    await registered(driver)

    async def is_known() -> bool:
        answer = await node.kubectl("-n", ns.name, "exec", "before", "--", "true", check=False)
        return "pod does not exist" not in answer

    await until(is_known)  # a kubelet asks the API server for its pods after it has begun to answer
    assert await ns.read(pod) == "tiger"
    assert look(ns, pod) == before
    await still_serves(ns, pod)
