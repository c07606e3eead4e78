"""The watch cache against an API server on good days and bad ones."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from keyferry.errors import KubernetesUnavailable
from keyferry.kube import Json, Kube, Watched, connect
from keyferry.kube.watched import Pace
from keyferry.testing.kube import KubeAPI, crds

CLASSES = "/apis/secrets-store.csi.x-k8s.io/v1/secretproviderclasses"
DEFINITIONS = crds.load(Path(__file__).parents[3] / "deploy" / "crds")
QUICK = Pace(first_retry=0.02, last_retry=0.1)


class Cluster:
    """What tests do to a cluster, over the API itself."""

    def __init__(self, kube: Kube) -> None:
        self.kube = kube

    async def apply(self, name: str, provider: str, namespace: str = "default") -> None:
        """Creates or changes a class."""
        body = {
            "apiVersion": "secrets-store.csi.x-k8s.io/v1",
            "kind": "SecretProviderClass",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"provider": provider, "parameters": {"objects": "a"}},
        }
        await self.kube.call(
            "PATCH",
            self.path(name, namespace),
            query={"fieldManager": "tests", "force": "true"},
            body=body,
            content_type="application/apply-patch+yaml",
        )

    async def delete(self, name: str, namespace: str = "default") -> None:
        """Removes a class."""
        await self.kube.call("DELETE", self.path(name, namespace))

    @staticmethod
    def path(name: str, namespace: str = "default") -> str:
        """Where a class lies."""
        return f"/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{namespace}/secretproviderclasses/{name}"


def provider_of(told: Json) -> str:
    return str(told["spec"]["provider"])


@asynccontextmanager
async def watching(
    kube: Kube,
    *,
    pace: Pace = QUICK,
    project: Callable[[Json], str | None] = provider_of,
    changed: Callable[[tuple[str, str]], None] = lambda _: None,
) -> AsyncIterator[Watched[str]]:
    """A cache that runs while the block does."""
    watched = Watched(kube, CLASSES, project, pace=pace, changed=changed)
    task = asyncio.create_task(watched.run())
    try:
        yield watched
        assert not task.done(), "the cache died"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], Any]) -> None:
    """Waits for something that must come about."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what changes belongs to others, and tells nobody
            await asyncio.sleep(0.01)


@contextmanager
def counting(api: KubeAPI, path: str) -> Iterator[Callable[[], int]]:
    """How many GETs of a path came in the block."""
    key = f"GET {path}"
    before = api.faults.requests.get(key, 0)
    yield lambda: api.faults.requests.get(key, 0) - before


class Clock:
    """A clock that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@contextmanager
def unheard(api: KubeAPI) -> Iterator[None]:
    """No open watch hears of what is written in the block."""
    listeners, api.store._listeners = api.store._listeners, []
    yield
    api.store._listeners = listeners


async def end_watch_and_apply(api: KubeAPI, cluster: Cluster, watched: Watched[str], name: str) -> None:
    await until(lambda: api.faults.watches)
    api.faults.end_watches()
    await cluster.apply(name, "aws")
    await until(lambda: watched.get("default", name))


@pytest.fixture
def cluster(kube: Kube) -> Cluster:
    return Cluster(kube)


async def test_what_was_there_before_is_listed(kube: Kube, cluster: Cluster) -> None:
    """A cache knows everything once it is synced, across pages and namespaces."""
    for name in ("a", "b", "c"):
        await cluster.apply(name, "aws")
    await cluster.apply("a", "gcp", namespace="kube-system")

    async with watching(kube) as watched:
        assert not watched.synced
        assert watched.age == float("inf")
        await until(lambda: watched.synced)

        assert len(watched) == 4
        assert watched.get("kube-system", "a") == "gcp"
        assert watched.get("default", "c") == "aws"
        assert watched.age < 60


async def test_pages_are_put_together(kube: Kube, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that comes in pages is one list."""
    monkeypatch.setattr("keyferry.kube.watched._PAGE", "2")
    for name in ("a", "b", "c", "d", "e"):
        await cluster.apply(name, "aws")

    async with watching(kube) as watched:
        await until(lambda: watched.synced)
        assert len(watched) == 5


async def test_changes_arrive(kube: Kube, cluster: Cluster) -> None:
    """What is created, changed and deleted later is seen without asking."""
    async with watching(kube) as watched:
        await until(lambda: watched.synced)

        await cluster.apply("a", "aws")
        await until(lambda: watched.get("default", "a") == "aws")
        await cluster.apply("a", "gcp")
        await until(lambda: watched.get("default", "a") == "gcp")
        await cluster.delete("a")
        await until(lambda: watched.get("default", "a") is None)


@pytest.mark.parametrize("as_status", [False, True])
async def test_a_forgotten_history_is_listed_anew(
    api: KubeAPI, kube: Kube, cluster: Cluster, as_status: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """410, as an event or as an answer, costs a list, loses nothing, neither what came nor what went, and is normal."""
    await cluster.apply("old", "aws")
    api.faults.gone_as_status = as_status
    async with watching(kube) as watched:
        await until(lambda: watched.synced and api.faults.watches)
        with unheard(api):
            await cluster.delete("old")
            await cluster.apply("new", "aws")
        api.faults.expire_history()

        await until(lambda: watched.get("default", "new"))
        assert watched.get("default", "old") is None
    assert not caplog.records


async def test_a_watch_that_ends_goes_on_where_it_was(api: KubeAPI, kube: Kube, cluster: Cluster) -> None:
    """An ended stream is opened again from the last version: nothing is lost and nothing read twice."""
    await cluster.apply("old", "aws")
    read: list[str] = []

    def project(told: Json) -> str:
        read.append(told["metadata"]["name"])
        return "kept"

    async with watching(kube, project=project) as watched:
        await until(lambda: watched.synced)

        await end_watch_and_apply(api, cluster, watched, "a")
        await end_watch_and_apply(api, cluster, watched, "b")

    assert read == ["old", "a", "b"]


async def test_an_api_server_that_is_away_costs_nothing_but_freshness(
    api: KubeAPI, kube: Kube, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """While nothing listens the cache answers; afterwards it catches up; the log tells of both once."""
    await cluster.apply("a", "aws")
    with caplog.at_level(logging.INFO, "keyferry.kube.watched"):
        async with watching(kube) as watched:
            await until(lambda: watched.synced)
            async with api.refusing_connections():
                await asyncio.sleep(0.5)
                assert await watched.fetch("default", "a") == "aws"
                with pytest.raises(KubernetesUnavailable):
                    await watched.fetch("default", "b")
            await cluster.apply("b", "gcp")
            await until(lambda: watched.get("default", "b") == "gcp")

    assert [record.message for record in caplog.records] == ["watch fails, retrying", "watch works again"]


async def test_an_api_server_away_at_the_start_is_waited_for(api: KubeAPI, kube: Kube, cluster: Cluster) -> None:
    """A service that starts before its API server becomes ready with it."""
    await cluster.apply("a", "aws")
    watched = Watched(kube, CLASSES, provider_of, pace=QUICK)
    async with api.refusing_connections():
        task = asyncio.create_task(watched.run())
        await asyncio.sleep(0.2)
        assert not watched.synced

    await until(lambda: watched.get("default", "a") == "aws")
    task.cancel()


async def test_overload_and_refusals_are_waited_out(
    api: KubeAPI, kube: Kube, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """429, 500 and 403 all end in a synced cache once they end; what must be granted is in the log."""
    await cluster.apply("a", "aws")
    for status in (429, 500, 403):
        api.faults.answer(CLASSES, status, times=3)

    async with watching(kube) as watched:
        await until(lambda: watched.get("default", "a"))

    said = [str(record.__dict__.get("error")) for record in caplog.records]
    assert len(said) == 2
    assert "may not list secretproviderclasses.secrets-store.csi.x-k8s.io in all namespaces" in said[1]


async def test_a_kind_that_is_not_installed_yet_is_waited_for() -> None:
    """The service may start before its CustomResourceDefinitions."""
    async with KubeAPI() as bare, connect(bare.kubeconfig) as kube, watching(kube) as watched:
        await until(lambda: bare.faults.requests.get(f"GET {CLASSES}", 0) >= 2)
        assert not watched.synced

        for definition in DEFINITIONS:
            await kube.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        await until(lambda: watched.synced)


async def test_a_server_that_ends_every_watch_is_asked_less_and_less(api: KubeAPI, kube: Kube) -> None:
    """Watches that end at once are followed by growing pauses, although none of them failed."""

    async def end_watches() -> NoReturn:
        while True:
            api.faults.end_watches()
            await asyncio.sleep(0.005)

    ending = asyncio.create_task(end_watches())
    async with watching(kube, pace=Pace(first_retry=0.2, last_retry=0.4)) as watched:
        await until(lambda: watched._failures > 2)
        assert watched._delay() >= 0.2
    ending.cancel()


async def test_an_event_that_got_lost_is_found_by_listing(api: KubeAPI, kube: Kube, cluster: Cluster) -> None:
    """Watches have been seen to swallow events: everything is listed anew now and then."""
    async with watching(kube, pace=Pace(relist=0.5, first_retry=0.02)) as watched:
        await until(lambda: watched.synced and api.faults.watches)
        with unheard(api):
            await cluster.apply("a", "aws")
        await cluster.apply("b", "aws")  # what came before this is not asked for again
        await until(lambda: watched.get("default", "b"))
        assert watched.get("default", "a") is None

        await until(lambda: watched.get("default", "a"))


async def test_the_age_tells_when_the_server_last_told_anything(api: KubeAPI, kube: Kube, cluster: Cluster) -> None:
    """A bookmark, and a watch opened anew, prove a quiet cache to be current; silence makes it old."""
    clock = Clock()
    watched = Watched(kube, CLASSES, provider_of, clock=clock)
    task = asyncio.create_task(watched.run())
    await until(lambda: watched.synced and api.faults.watches)
    await cluster.apply("a", "aws")
    await until(lambda: watched.get("default", "a"))

    clock.now += 50
    assert watched.age == 50
    await until(lambda: watched.age == 0)
    clock.now += 50
    api.faults.end_watches()
    await until(lambda: watched.age == 0)
    task.cancel()


async def test_an_object_that_cannot_be_projected_does_not_kill_the_cache(
    kube: Kube, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """A defect of ours is reported by its place, without the object, and retried."""
    await cluster.apply("bad", "canary")

    def project(told: Json) -> str:
        return {"aws": "aws"}[told["spec"]["provider"]]

    async with watching(kube, project=project) as watched:
        await until(lambda: caplog.records)
        await cluster.apply("bad", "aws")
        await until(lambda: watched.get("default", "bad"))

    assert "KeyError at test_watched.py" in str(caplog.records[0].__dict__["error"])
    assert "canary" not in str(caplog.records[0].__dict__)


async def test_a_class_applied_this_second_is_found(kube: Kube, cluster: Cluster) -> None:
    """What the watch has not shown yet is read from the API server."""
    watched = Watched(kube, CLASSES, provider_of)
    await cluster.apply("a", "aws")

    assert watched.get("default", "a") is None
    assert await watched.fetch("default", "a") == "aws"


async def test_a_storm_for_a_missing_class_is_one_call_a_second(api: KubeAPI, kube: Kube, cluster: Cluster) -> None:
    """However many pods ask for it, and it is found a second after it appears."""
    clock = Clock()
    watched = Watched(kube, CLASSES, provider_of, clock=clock)
    with counting(api, cluster.path("a")) as asked:
        async with asyncio.TaskGroup() as storm:
            for _ in range(500):
                storm.create_task(watched.fetch("default", "a"))
        assert asked() == 1

        await cluster.apply("a", "aws")
        clock.now += 0.9
        assert await watched.fetch("default", "a") is None
        assert asked() == 1
        clock.now += 0.2
        assert await watched.fetch("default", "a") == "aws"
        assert asked() == 2


async def test_answers_that_expired_are_forgotten(kube: Kube) -> None:
    """Many missing names leave nothing behind."""
    clock = Clock()
    watched = Watched(kube, CLASSES, provider_of, clock=clock)
    for number in range(20):
        await watched.fetch("default", f"missing-{number}")
        clock.now += 0.5

    assert len(watched._recent) <= 3


async def test_one_who_gives_up_leaves_the_call_to_the_others(api: KubeAPI, kube: Kube, cluster: Cluster) -> None:
    """A cancelled request does not take its neighbours' answer away."""
    await cluster.apply("a", "aws")
    api.faults.answer(cluster.path("a"), delay=0.2)
    watched = Watched(kube, CLASSES, provider_of)
    with counting(api, cluster.path("a")) as asked:
        first, second = (asyncio.create_task(watched.fetch("default", "a")) for _ in range(2))
        await until(asked)

        first.cancel()

        assert await second == "aws"
        assert first.cancelled()
        assert asked() == 1


async def test_a_name_that_cannot_be_is_not_asked_for(api: KubeAPI, kube: Kube) -> None:
    """Foreign text never reaches the API server as a path."""
    watched = Watched(kube, CLASSES, provider_of)
    before = dict(api.faults.requests)

    assert await watched.fetch("default", "../../../../../api/v1/namespaces/x/secrets/y") is None
    assert api.faults.requests == before


async def test_each_change_is_told_once(api: KubeAPI, kube: Kube, cluster: Cluster) -> None:
    """Of what is listed, watched, missed by a watch and listed later: who builds on the cache hears of it all."""
    told: list[str] = []
    await cluster.apply("a", "aws")
    async with watching(kube, pace=Pace(0.2, 0.2, 0.02, 0.1), changed=lambda key: told.append(key[1])) as watched:
        await until(lambda: told == ["a"])
        await cluster.apply("b", "aws")
        await until(lambda: told == ["a", "b"])
        await until(lambda: api.faults.watches)
        with unheard(api):
            await cluster.apply("a", "vault")
        await until(lambda: told == ["a", "b", "a"])
        await cluster.delete("b")
        await until(lambda: told == ["a", "b", "a", "b"])

        assert dict(watched.items()) == {("default", "a"): "vault"}


async def test_what_is_projected_to_nothing_is_not_kept(kube: Kube, cluster: Cluster) -> None:
    """Of ten thousand pods a service may care for ten; an object that is no longer of interest is dropped."""

    def only_vault(told: Json) -> str | None:
        return "vault" if provider_of(told) == "vault" else None

    await cluster.apply("a", "aws")
    await cluster.apply("b", "vault")
    async with watching(kube, project=only_vault) as watched:
        await until(lambda: watched.synced)
        assert [key for key, _ in watched.items()] == [("default", "b")]
        await cluster.apply("b", "aws")
        await until(lambda: not watched.items())
