from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from keyferry.changes import Due, EndContent, RefreshVolumes
from keyferry.errors import BusUnavailable
from rotator.rotate import SPREAD_MS, Rotation, hints
from rotator.schedule import Claim, Taken

TWO = Claim("k1", asked_ms=5, due_ms=4, why="interval", nodes={"n1": ("a", "b"), "n2": ("c",)})
AGAIN = Claim("k2", asked_ms=6, nodes={"n1": ("d",)}, again=1)
END = Claim("k3", empty_since_ms=7)


@dataclass
class Schedule:
    """Gives out its claims once, and notes what is settled."""

    claims: tuple[Claim, ...]
    settled: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    mounting_ms: int = 4

    async def take(self, token: str, now_ms: int, *, limit: int) -> Taken:
        """See `rotator.schedule.Schedule`."""
        assert (now_ms, limit) == (10, 100)
        self.tokens.add(token)
        return Taken(self.claims, "stream", contents=3, volumes=4, next_ms=0, lost=0)

    async def settle(self, token: str, keys: list[str], now_ms: int) -> int:
        """See `rotator.schedule.Schedule`."""
        assert (token in self.tokens, now_ms) == (True, 10)
        self.settled += keys
        return len(keys)


@dataclass
class Bus:
    """Notes what is sent; subjects that are away fail."""

    away: str = "nothing"
    hinted: list[tuple[str, RefreshVolumes]] = field(default_factory=list)
    published: list[tuple[str, EndContent, str]] = field(default_factory=list)
    is_connected: bool = True

    async def hint(self, subject: str, payload: bytes, *, destination: str) -> None:
        """See `keyferry.bus.Bus`."""
        if subject.startswith(self.away):
            raise BusUnavailable("away")
        assert destination == "keyferry.refresh"
        self.hinted.append((subject, RefreshVolumes.from_bytes(payload)))

    async def publish(self, subject: str, payload: bytes, *, destination: str, message_id: str) -> None:
        """See `keyferry.bus.Bus`."""
        if subject.startswith(self.away):
            raise BusUnavailable("away")
        assert destination == subject
        self.published.append((subject, EndContent.from_bytes(payload), message_id))


def rotation(schedule: Schedule, bus: Bus) -> Rotation:
    """At the tenth millisecond of 1970."""
    return Rotation(cast("Any", schedule), cast("Any", bus), now=lambda: 0.01)


def test_one_message_for_each_node() -> None:
    """However many contents are due on it; each with what it must not be older than, and which volumes shall ask."""
    assert hints([TWO, AGAIN]) == [
        ("n1", RefreshVolumes((Due("k1", 5, ("a", "b"), SPREAD_MS), Due("k2", 6, ("d",))))),
        ("n2", RefreshVolumes((Due("k1", 5, ("c",), SPREAD_MS),))),
    ]


@pytest.mark.parametrize(("why", "spread"), [("interval", SPREAD_MS), ("change", 0), ("lease", 0), ("", 0)])
def test_what_is_urgent_is_not_spread(why: str, spread: int) -> None:
    """A change is wanted at once; what the clock alone asks for leaves gaps for mounts."""
    ((_, hint),) = hints([Claim("k1", asked_ms=5, why=why, nodes={"n1": ("a",)})])

    assert hint.due[0].spread_ms == spread


async def test_a_refresh_under_way_does_not_save_a_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last volume left, and a refresh that was under way has fetched since: it ends all the same."""
    schedule, bus = Schedule((END,)), Bus()
    monkeypatch.setattr(schedule, "mounting_ms", 1)
    await rotation(schedule, bus).tick()

    assert bus.published == [("keyferry.fetch.end", EndContent("k3", 9), "end.k3.7")]


async def test_a_tick() -> None:
    """Hints and ends go out, then what was taken is settled."""
    schedule, bus = Schedule((TWO, END, AGAIN)), Bus()
    await rotation(schedule, bus).tick()
    assert [subject for subject, _ in bus.hinted] == ["keyferry.refresh.n1", "keyferry.refresh.n2"]
    assert bus.published == [("keyferry.fetch.end", EndContent("k3", 7), "end.k3.7")]
    assert sorted(schedule.settled) == ["k1", "k2", "k3"]


@pytest.mark.parametrize(("away", "settled"), [("keyferry.refresh.n2", ["k3"]), ("keyferry.fetch", ["k1", "k2"])])
async def test_what_could_not_be_told_is_not_settled(away: str, settled: list[str]) -> None:
    """Its claim runs out, and somebody tells it again."""
    schedule = Schedule((TWO, END, AGAIN))
    await rotation(schedule, Bus(away)).tick()
    assert sorted(schedule.settled) == settled


async def test_what_is_counted() -> None:
    """Hints by volumes, repeats among them, and the lag of what was due for the first time."""

    def counted() -> list[float]:
        names = ("hints_total", "repeats_total", "contents_ended_total")
        plain = [REGISTRY.get_sample_value(f"keyferry_rotation_{name}") or 0.0 for name in names]
        lag = REGISTRY.get_sample_value("keyferry_rotation_due_lag_seconds_count", {"why": "interval"}) or 0.0
        return [*plain, lag]

    before = counted()
    await rotation(Schedule((TWO, END, AGAIN)), Bus()).tick()
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [4, 1, 1, 1]
    assert REGISTRY.get_sample_value("keyferry_rotation_volumes") == 4
