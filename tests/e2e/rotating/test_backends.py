"""OpenBao throttles, is away, slow or refuses while secrets rotate: pods keep what they have until it is well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import pytest

from keyferry.events import RefreshFailed, VolumeRefreshed
from keyferry.testing.proxy import CountingProxy, counting_proxy

if TYPE_CHECKING:
    from tests.e2e.rotating.conftest import Scene

pytestmark = pytest.mark.root

READ = "GET /v1/secret/data"


@pytest.fixture
async def proxy(scene: Scene) -> AsyncIterator[CountingProxy]:
    """Between the fetchers and OpenBao."""
    async with counting_proxy(scene.world.servers.openbao.address) as proxy:
        yield proxy


def is_sealed(proxy: CountingProxy) -> None:
    proxy.fail(status=503, body='{"errors": ["Vault is sealed"]}', match=READ)


def resets(proxy: CountingProxy) -> None:
    proxy.drop(match=READ)


def is_slow(proxy: CountingProxy) -> None:
    proxy.delay(5.0, match=READ)


def refuses(proxy: CountingProxy) -> None:
    proxy.fail(status=403, body='{"errors": ["permission denied"]}', match=READ)


def talks_nonsense(proxy: CountingProxy) -> None:
    proxy.fail(status=200, body='{"data": {"data": {"password": ["v999999"]}}}', match=READ)


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [
        (resets, "ProviderUnavailable"),
        (is_slow, "ProviderUnavailable"),
        (refuses, "AccessDenied"),
        (talks_nonsense, "SecretNotFound"),
    ],
    ids=["resets", "slow", "refuses", "nonsense"],
)
async def test_bad_backend(
    scene: Scene, proxy: CountingProxy, breaks: Callable[[CountingProxy], None], reason: str
) -> None:
    """Pods keep what they have, what is told of them says why, and the newest comes when the backend is well."""
    await scene.make_class(every="1s", vaultAddress=proxy.url)
    mounted = await scene.mount_all(each=1)
    async with scene.watched() as watcher:
        breaks(proxy)
        await scene.rotate(1)
        await scene.until(lambda: all(scene.told(each, RefreshFailed) for each in mounted))
        before = {each.password for each in mounted}
        proxy.restore()
        await scene.change("db")
        await scene.shows(1)

    assert watcher.problems == []
    assert before == {"v000000"}
    assert {each.reason for volume in mounted for each in scene.told(volume, RefreshFailed)} == {reason}


async def test_throttled(scene: Scene, proxy: CountingProxy) -> None:
    """After a 429 nobody in the cluster calls that backend before its Retry-After; others are not concerned."""
    await scene.make_class(every="1s", vaultAddress=proxy.url)
    await scene.make_class("elsewhere", every="1s")
    await scene.mount_all()
    free = await scene.mount("elsewhere", node=1)
    throttled = [each for each in scene.mounted if each is not free]
    proxy.fail(status=429, headers={"Retry-After": "4"}, times=1, match=READ)
    calls = proxy.count(READ)
    await proxy.arrived(calls + 1, READ)
    await scene.rotate(1)
    await scene.until(lambda: all(scene.told(each, RefreshFailed) for each in throttled))
    await scene.shows(1, free)
    meanwhile = proxy.count(READ) - calls
    await scene.shows(1)

    assert {each.reason for volume in throttled for each in scene.told(volume, RefreshFailed)} == {"RateLimited"}
    assert meanwhile == 1


async def test_last_known_good(scene: Scene, proxy: CountingProxy) -> None:
    """A class that may be stale stays in service while its backend is away: it says so, and new pods mount it."""
    await scene.make_class(every="1s", vaultAddress=proxy.url)
    await scene.annotate(stale_if_error="1h")
    (old,) = [await scene.mount()]
    is_sealed(proxy)
    await scene.rotate(1)
    await scene.until(lambda: any(word.volume.stale_since_ms for word in scene.told(old, VolumeRefreshed)))
    new = await scene.mount(node=1)
    assert (old.password, new.password) == ("v000000", "v000000")
    proxy.restore()
    await scene.shows(1)

    await scene.until(lambda: not scene.told(new, VolumeRefreshed)[-1].volume.stale_since_ms)


async def test_a_refusal_is_one_call_for_all(scene: Scene, proxy: CountingProxy) -> None:
    """Forty pods of a content that their backend refuses are one call at each moment, not forty: quotas are theirs."""
    await scene.make_class(every="3s", vaultAddress=proxy.url)
    mounted = await scene.mount_all(each=20)
    refuses(proxy)
    calls, since = proxy.count(READ), len(scene.moments(scene.key(mounted[0])))
    await scene.until(lambda: len(scene.moments(scene.key(mounted[0]))) >= since + 3)
    await scene.until(lambda: all(scene.told(each, RefreshFailed) for each in mounted))
    called = proxy.count(READ) - calls

    # Each is two calls, for a new login might have helped; and who asks after it has failed has not heard of it.
    assert called <= 4 * len(scene.moments(scene.key(mounted[0])))
