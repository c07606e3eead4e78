"""Pods go: cases 13 and 26 of the existing driver's own suite, and pods that go before they are there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from keyferry.kube import Json
from keyferry.testing.kube.pods import Namespace, metrics, until
from keyferry.testing.services import NodeDriver, Service

PUBLISHED = 'node_publish_total{os_type="linux",provider="vault"}'
UNPUBLISHED = 'node_unpublish_total{os_type="linux"}'


async def test_deleted(ns: Namespace, driver: NodeDriver) -> None:
    """Deleting a pod takes mount, target and record away, without a complaint, and counted under the usual names."""
    before = metrics(driver)
    pod = await ns.running("app")
    assert len(ns.left(pod)) == 3
    await ns.delete(pod)
    await ns.gone(pod)
    after = metrics(driver)

    assert "failed to clean and unmount target path" not in driver.process.log.read_text()
    assert after[PUBLISHED] > before.get(PUBLISHED, 0.0)
    assert after[UNPUBLISHED] > before.get(UNPUBLISHED, 0.0)


async def test_deleted_while_mounting(ns: Namespace, driver: NodeDriver, fetcher: Service) -> None:
    """A pod that is deleted while its volume is being published has it taken away as soon as it is there."""
    async with caught_mounting(ns, fetcher) as pod:
        await ns.delete(pod)
        before = metrics(driver)[UNPUBLISHED]

    async def taken_away() -> bool:
        return metrics(driver)[UNPUBLISHED] > before and not ns.left(pod)

    await until(taken_away)


async def test_forced_away_while_mounting(ns: Namespace, fetcher: Service) -> None:
    """A pod that is forced away while its volume is being published leaves nothing on the node."""
    async with caught_mounting(ns, fetcher) as pod:
        await ns.delete(pod, grace=0)

    async def forgotten() -> bool:
        return not ns.folder(pod).exists() and not ns.left(pod)

    await until(forgotten)


@asynccontextmanager
async def caught_mounting(ns: Namespace, fetcher: Service) -> AsyncIterator[Json]:
    """A pod whose volume is asked for and cannot be delivered before the block ends."""
    fetcher.process.pause()
    try:
        pod = await ns.pod("app")

        async def asked_for() -> bool:
            return (ns.target(pod).parent / "vol_data.json").exists()  # what kubelet writes before it calls the driver

        await until(asked_for)
        yield pod
    finally:
        fetcher.process.resume()
