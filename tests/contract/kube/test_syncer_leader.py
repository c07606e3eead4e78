"""Which syncer works, on the API server under test: always one before long, never two."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from keyferry.errors import KubernetesUnavailable
from keyferry.kube import Json, Kube, connect
from syncer.leader import NAME, Leader

from .conftest import Api, Cluster

LEASE = "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases/" + NAME
SECONDS = 2.0
"""Of the Lease; a whole number, since the API server counts in seconds."""


class Line:
    """A replica's way to the API server, which can be cut, or go dead without a word."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self.cut = self.dead = False

    async def _pass(self) -> None:
        if self.dead:
            await asyncio.sleep(3600)
        if self.cut:
            raise KubernetesUnavailable("away")

    async def get(self, path: str) -> Json | None:
        """What `Kube.get` does."""
        await self._pass()
        return await self._kube.get(path)

    async def post(self, path: str, body: Json) -> Json | None:
        """What `Kube.post` does."""
        await self._pass()
        return await self._kube.post(path, body)

    async def call(self, method: str, path: str, **about: Any) -> Json | None:
        """What `Kube.call` does."""
        await self._pass()
        return await self._kube.call(method, path, **about)


@dataclass
class Replica:
    """A syncer that does nothing but note when it works."""

    name: str
    line: Line
    leader: Leader
    spans: list[list[float]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    fails: Exception | None = None

    async def work(self) -> None:
        """Note the beginning and the end."""
        if self.fails:
            raise self.fails
        self.spans.append([time.monotonic(), float("inf")])
        try:
            await asyncio.sleep(3600)
        finally:
            self.spans[-1][1] = time.monotonic()

    @property
    def works(self) -> bool:
        """Whether it does so now."""
        return bool(self.spans) and self.spans[-1][1] == float("inf")


Join = Callable[[str], Replica]


@pytest.fixture
async def replicas(cluster: Cluster, api: Api) -> AsyncIterator[tuple[list[Replica], Join]]:
    """Starts replicas, and makes sure in the end that no two ever worked at the same time."""
    joined: list[Replica] = []
    async with AsyncExitStack() as exits:
        kube = await exits.enter_async_context(connect(cluster.kubeconfig))

        def join(name: str) -> Replica:
            line = Line(kube)
            leader = Leader(line, namespace=api.namespace, identity=name, seconds=SECONDS)  # type: ignore[arg-type]  # it has all that is called
            replica = Replica(name, line, leader)

            async def run() -> None:
                await leader.run(replica.work)

            replica.task = asyncio.create_task(run())
            joined.append(replica)
            return replica

        yield joined, join
        for replica in joined:
            if replica.task and not replica.task.done():
                replica.task.cancel()
                await asyncio.wait({replica.task})
    spans = sorted((begin, end) for replica in joined for begin, end in replica.spans)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not claim():  # noqa: ASYNC110 - what it is about rings no bell
            await asyncio.sleep(0.02)


Replicas = tuple[list[Replica], Join]


async def test_one_of_three_works(replicas: Replicas) -> None:
    """The others are ready, and wait."""
    everyone, join = replicas
    for name in ("a", "b", "c"):
        join(name)

    await until(lambda: any(each.works for each in everyone))
    await asyncio.sleep(SECONDS * 1.5)

    assert [each.works for each in everyone].count(True) == 1
    assert [each.leader.missing() for each in everyone] == [[], [], []]
    assert sum(len(each.spans) for each in everyone) == 1


async def test_who_is_told_to_stop_gives_the_lease_back(replicas: Replicas, api: Api) -> None:
    """The next begins at its next look, instead of after the Lease has run out."""
    _, join = replicas
    first = join("a")
    await until(lambda: first.works)
    second = join("b")
    await asyncio.sleep(SECONDS / 5)

    assert first.task
    first.task.cancel()
    await asyncio.wait({first.task})
    freed = (await api.read(LEASE))["spec"].get("holderIdentity", "")
    await until(lambda: second.works)

    assert freed in {"", "b"}
    assert (await api.read(LEASE))["spec"]["leaseTransitions"] == 1


@pytest.mark.parametrize("how", ["cut", "dead"])
async def test_who_loses_the_api_server_stops_in_time(replicas: Replicas, how: str) -> None:
    """Whether calls fail or hang: it works no more when another begins, and is one of the others when it is back."""
    _, join = replicas
    first = join("a")
    await until(lambda: first.works)
    second = join("b")
    await asyncio.sleep(0.1)

    setattr(first.line, how, True)
    await until(lambda: second.works)
    assert not first.works
    setattr(first.line, how, False)
    await asyncio.sleep(SECONDS)

    assert (first.works, second.works) == (False, True)
    assert first.leader.missing() == []


async def test_an_api_server_that_is_away_for_all(replicas: Replicas) -> None:
    """Nobody works meanwhile, all say why they are not ready, and one works when it is back."""
    everyone, join = replicas
    for name in ("a", "b"):
        join(name)
    await until(lambda: any(each.works for each in everyone))

    for each in everyone:
        each.line.cut = True
    await until(lambda: not any(each.works for each in everyone))
    await until(lambda: all(each.leader.missing() for each in everyone))
    for each in everyone:
        each.line.cut = False

    await until(lambda: any(each.works for each in everyone))


async def test_a_lease_that_was_taken_away(replicas: Replicas, api: Api) -> None:
    """Whatever its own clock says, whoever sees another's name in the Lease stops at once."""
    _, join = replicas
    first = join("a")
    await until(lambda: first.works)
    answer = await api.merge(LEASE, {"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 2}})
    assert answer.status == 200

    await until(lambda: not first.works)
    await until(lambda: first.works)


async def test_the_same_pod_starts_again(replicas: Replicas) -> None:
    """Who died without a word and comes back under the same name waits for nobody."""
    _, join = replicas
    first = join("a")
    await until(lambda: first.works)
    first.line.cut = True  # so that it cannot give anything back
    assert first.task
    first.task.cancel()
    await asyncio.wait({first.task})
    began = time.monotonic()
    second = join("a")

    await until(lambda: second.works)
    assert second.spans[0][0] - began < SECONDS


async def test_work_that_fails_gives_the_lease_back(replicas: Replicas, api: Api) -> None:
    """What it raised is raised; another need not wait."""
    _, join = replicas
    first = join("a")
    first.fails = RuntimeError("broken")
    assert first.task

    with pytest.raises(RuntimeError, match="broken"):
        await first.task
    assert (await api.read(LEASE))["spec"].get("holderIdentity", "") == ""


async def test_a_namespace_that_is_not_there(cluster: Cluster) -> None:
    """It is told by name, and looked for again."""
    async with connect(cluster.kubeconfig) as kube:
        leader = Leader(kube, namespace="no-such-namespace", identity="a", seconds=SECONDS)

        async def run() -> None:
            await leader.run(nothing)

        task = asyncio.create_task(run())
        await until(lambda: leader.missing() == ["the lease cannot be had: there is no namespace no-such-namespace"])
        task.cancel()
        await asyncio.wait({task})


async def nothing() -> None:
    """Never called."""
    raise AssertionError
