"""410 Gone: the history that a list or a watch asks for has been forgotten.

A real server forgets when its etcd is compacted, the emulator when its window is full.
"""

import json
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from .conftest import Api, Cluster, connected, emulator

MAPS = "/api/v1/namespaces/{ns}/configmaps"
WINDOW = 20

Forget = Callable[[], Awaitable[None]]


@pytest.fixture
async def forgetful(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Api]:
    """A server whose history the test can end."""
    if cluster.etcd_url:
        async with connected(cluster.kubeconfig) as api:
            yield api
    elif cluster.is_emulator:
        with emulator(tmp_path, "--history", str(WINDOW)) as running:
            async with connected(running.kubeconfig) as api:
                yield api
    else:
        pytest.skip("nobody but its owner compacts the etcd of a server from KUBECONFIG")


@pytest.fixture
def forget(cluster: Cluster, forgetful: Api) -> Forget:
    """Makes every version up to now too old."""

    async def forget() -> None:
        for count in range(WINDOW + 1):
            await forgetful.make(MAPS, {"metadata": {"name": f"filler-{count}"}})
        if cluster.etcd_url:
            _compact(cluster.etcd_url, await forgetful.revision(MAPS))

    return forget


def _compact(etcd_url: str, revision: str) -> None:
    body = json.dumps({"revision": revision, "physical": True}).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(f"{etcd_url}/v3/kv/compaction", body, timeout=10).close()


async def test_a_list_of_a_forgotten_version_is_gone(forgetful: Api, forget: Forget) -> None:
    """An exact version from before the history is 410 Expired."""
    old = await forgetful.revision(MAPS)
    await forget()

    answer = await forgetful.call("GET", MAPS, resourceVersion=old, resourceVersionMatch="Exact", limit=1)

    assert (answer.status, answer.reason) == (410, "Expired")
    assert "The provided resource version is too old" in answer.message or "too old" in answer.message


async def test_a_forgotten_page_offers_to_go_on(forgetful: Api, forget: Forget) -> None:
    """The Status of an expired continue token carries a new one, for an inconsistent rest."""
    await forgetful.make(MAPS, {"metadata": {"name": "a"}})
    await forgetful.make(MAPS, {"metadata": {"name": "b"}})
    page = await forgetful.read(MAPS, limit=1)
    await forget()

    expired = await forgetful.call("GET", MAPS, limit=1, continue_=page["metadata"]["continue"])
    rest = await forgetful.read(MAPS, limit=1, continue_=expired.body["metadata"]["continue"])

    assert (expired.status, expired.reason) == (410, "Expired")
    assert "The provided continue parameter is too old to display a consistent list result" in expired.message
    assert [item["metadata"]["name"] for item in rest["items"]] == ["b"]
