"""The Events that the syncer records, on the API server under test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from keyferry.errors import KubernetesUnavailable
from keyferry.events import VolumePublished
from keyferry.kube import Json, Kube, connect
from keyferry.resources import Pod
from syncer.reporting import NORMAL, WARNING, About, Reporter

from .conftest import Api, Cluster

EVENTS = "/api/v1/namespaces/{ns}/events"


class Line:
    """A way to the API server that can be cut."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self.cut = False

    async def post(self, path: str, body: Json) -> Json | None:
        """What `Kube.post` does."""
        if self.cut:
            raise KubernetesUnavailable("away")
        return await self._kube.post(path, body)

    async def call(self, method: str, path: str, **about: Any) -> Json | None:
        """What `Kube.call` does."""
        return await self._kube.call(method, path, **about)


@dataclass
class Desk:
    """A reporter whose clock a test moves."""

    api: Api
    line: Line
    reporter: Reporter
    now: list[float]

    @property
    def pod(self) -> About:
        """What is told of; there need be no such pod."""
        return About("v1", "Pod", self.api.namespace, "web", "u")

    async def events(self, count: int) -> list[Json]:
        """The namespace's Events, as soon as there are so many."""
        found = await self.api.until(EVENTS, lambda answer: len(answer.body["items"]) >= count)
        items: list[Json] = found["items"]
        return items


@pytest.fixture
async def desk(api: Api, cluster: Cluster) -> AsyncIterator[Desk]:
    now = [1000.0]
    async with connect(cluster.kubeconfig) as kube:
        line = Line(kube)
        reporter = Reporter(line, lambda: now[0], pause=0.05)  # type: ignore[arg-type]  # it has all that is called
        running = asyncio.ensure_future(reporter.run())
        yield Desk(api, line, reporter, now)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_an_event_says_what_happened_to_what(desk: Desk) -> None:
    """As kubectl describe shows it."""
    desk.reporter.tell(desk.pod, WARNING, "FailedToCreateSecret", "secret x: why")

    (found,) = await desk.events(1)

    assert (found["type"], found["reason"], found["message"]) == ("Warning", "FailedToCreateSecret", "secret x: why")
    assert (found["involvedObject"]["kind"], found["involvedObject"]["uid"]) == ("Pod", "u")
    assert found["source"]["component"] == "keyferry-syncer"


async def test_the_same_is_counted(desk: Desk) -> None:
    """Not told again for some minutes, then as a higher count; another text is another Event."""
    for _ in range(3):
        desk.reporter.tell(desk.pod, NORMAL, "R", "same")
    await desk.events(1)
    desk.reporter.tell(desk.pod, NORMAL, "R", "same")
    desk.reporter.tell(desk.pod, NORMAL, "R", "other")
    await desk.events(2)
    desk.now[0] += 301
    desk.reporter.tell(desk.pod, NORMAL, "R", "same")

    found = await desk.api.until(EVENTS, lambda answer: any(each["count"] == 2 for each in answer.body["items"]))

    assert sorted((each["message"], each["count"]) for each in found["items"]) == [("other", 1), ("same", 2)]


async def test_an_event_that_has_expired_is_made_anew(desk: Desk) -> None:
    """The API server keeps them for an hour."""
    desk.reporter.tell(desk.pod, NORMAL, "R", "same")
    (found,) = await desk.events(1)
    await desk.api.call("DELETE", f"{EVENTS}/{found['metadata']['name']}")
    desk.now[0] += 3600
    desk.reporter.tell(desk.pod, NORMAL, "R", "same")

    (again,) = await desk.events(1)
    assert (again["count"], again["metadata"]["name"] != found["metadata"]["name"]) == (1, True)


async def test_an_api_server_that_is_away(desk: Desk) -> None:
    """What happened meanwhile is told when it is back, in its order; what is too old by then is not."""
    desk.line.cut = True
    desk.reporter.tell(desk.pod, NORMAL, "R", "old")
    await asyncio.sleep(0.2)
    desk.now[0] += 1000
    await asyncio.sleep(0.2)
    for text in ("one", "two"):
        desk.reporter.tell(desk.pod, NORMAL, "R", text)
    desk.line.cut = False

    assert sorted(each["message"] for each in await desk.events(2)) == ["one", "two"]


@pytest.mark.parametrize("message", ["x" * 5000, "ü" * 5000, "a" + "ü" * 5000])
async def test_long_texts_are_cut(desk: Desk, message: str) -> None:
    """To what the API server takes, between two characters."""
    desk.reporter.tell(desk.pod, NORMAL, "R", message)

    (found,) = await desk.events(1)
    assert message.startswith(found["message"])
    assert 1020 <= len(found["message"].encode()) <= 1024


@pytest.mark.parametrize("name", ["a" * 253, "a" * 199 + "-b", "a." * 100 + "b"])
async def test_any_name(desk: Desk, name: str) -> None:
    """However long and odd the name of what it is about is, the Event's own is one."""
    desk.reporter.tell(About("v1", "Pod", desk.api.namespace, name, "u"), NORMAL, "R", "m")

    (found,) = await desk.events(1)
    assert found["involvedObject"]["name"] == name


async def test_a_refused_event_does_not_silence_the_others(desk: Desk) -> None:
    """One about an object of another namespace is refused by the API server; the next is told."""
    desk.reporter.tell(About("v1", "Pod", "no-such-namespace", "web", "u"), NORMAL, "R", "lost")
    desk.reporter.tell(desk.pod, NORMAL, "x" * 200, "refused")
    desk.reporter.tell(desk.pod, NORMAL, "R", "told")

    await desk.api.until(EVENTS, lambda answer: "told" in [each["message"] for each in answer.body["items"]])


async def test_many_pods(desk: Desk) -> None:
    """Of a thousand pods of a class some are told: each is a request, and the class says the same."""
    volumes = [
        VolumePublished(
            f"v{n}", "n", Pod(desk.api.namespace, f"pod-{n:04}", "u", "a"), "db", "/t", "vault", "k", b"", 1, ()
        )
        for n in range(1000)
    ]
    desk.reporter.tell_pods(volumes, NORMAL, "R", "m")
    desk.reporter.tell(desk.pod, NORMAL, "R", "last")

    found = await desk.events(21)
    assert len(found) == 21
