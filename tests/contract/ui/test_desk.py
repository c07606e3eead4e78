"""How often views are made."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from keyferry.bus import connect as connect_bus
from keyferry.kube import connect
from keyferry.store import connect_store
from keyferry.testing.kube import KubeAPI
from keyferry.testing.nats import Nats
from keyferry.testing.valkey import Valkey
from rotator.ui.desk import Desk
from rotator.ui.following import Following
from rotator.ui.query import Query
from rotator.ui.rights import Scope


class Slow:
    """A clock that goes on by so much each time it is looked at."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        """The time."""
        self.now += self.step
        return self.now


@pytest.fixture
async def following(nats: Nats, valkey: Valkey) -> AsyncIterator[Following]:
    """Nothing yet."""
    async with connect_bus(nats.url, name="desk") as bus, connect_store(valkey.url, name="desk") as store:
        yield Following(bus, store)


async def made(following: Following, *, step: float, queries: int, rounds: int) -> tuple[int, float]:
    """How many views are made in how many seconds, for pages that all ask for something else, with news each second."""
    async with KubeAPI() as api, connect(api.kubeconfig) as kube:
        clock = Slow(step)
        desk, seen = Desk(following, kube, list, clock), []
        for _ in range(rounds):
            following.number += 1
            seen += [desk._view(Scope(everywhere=True), Query(page=page + 1)) for page in range(queries)]
            clock.now += 1.0
        return len({id(each) for each in seen}), clock.now


async def test_a_cheap_view_is_made_whenever_there_is_news(following: Following) -> None:
    """Each second, for one page or for a few."""
    views, _ = await made(following, step=0.001, queries=4, rounds=10)

    assert views == 40


async def test_costly_views_leave_time_for_rotation(following: Following) -> None:
    """Thirty different views of 40 ms each, which each second would take all the time there is, take a quarter."""
    views, seconds = await made(following, step=0.04, queries=30, rounds=20)

    assert views > 30
    assert views * 0.04 < seconds / 4
