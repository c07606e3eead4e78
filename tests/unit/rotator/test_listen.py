from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from keyferry.bus import Delivery
from keyferry.changes import BackendChanged, PodFinished, RefreshRequested
from keyferry.errors import StoreUnavailable, UntrustedMessage
from keyferry.events import VolumeUnpublished
from keyferry.resources import Pod
from keyferry.subjects import volume_subject
from rotator import listen
from rotator.listen import Listener, emitter
from rotator.schedule import NotBuilt

GONE = VolumeUnpublished("csi-1", "n")


@dataclass
class Schedule:
    """Fails as often as it is told to, then notes what it is told."""

    errors: list[Exception] = field(default_factory=list)
    is_reachable: bool = False
    matched: int | None = 1
    told: list[Any] = field(default_factory=list)

    def _note(self, what: Any) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.told.append(what)

    async def tell(self, word: Any, now_ms: int) -> tuple[str, bool]:
        """See `rotator.schedule.Schedule`."""
        self._note((word.event, now_ms))
        return "left", False

    async def change(self, change: Any, now_ms: int) -> int | None:
        """See `rotator.schedule.Schedule`."""
        self._note((change.sets, now_ms))
        return self.matched

    async def finish(self, pod_uid: str, now_ms: int) -> int:
        """See `rotator.schedule.Schedule`."""
        self._note((pod_uid, now_ms))
        return 1


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait a second for Redis."""
    monkeypatch.setattr(listen, "_AWAY_SECONDS", 0.0)


def delivery(payload: bytes, subject: str = volume_subject("n", "csi-1"), attempt: int = 1) -> Delivery:
    """As the bus hands it out."""
    return Delivery(subject, payload, float("inf"), attempt, last=False, stored_us=5)


def a_listener(schedule: Schedule, stirred: list[None]) -> Listener:
    """At the thousandth second of 1970."""
    return Listener(cast("Any", schedule), schedule.tell, lambda: stirred.append(None), now=lambda: 1_000.0)


async def test_an_outage_of_redis_uses_up_no_delivery() -> None:
    """A word waits in hand until Redis is there, however often that fails, and is not given back to the bus."""
    schedule = Schedule(errors=[StoreUnavailable("away") for _ in range(500)])
    await a_listener(schedule, []).volume(delivery(GONE.to_bytes()))
    assert schedule.told == [(GONE, 1_000_000)]


async def test_a_word_that_redis_refuses_makes_way_for_others() -> None:
    """It goes back to the bus, for longer each time: others must not wait behind it."""
    pauses = []
    for attempt in (1, 3, 50):
        schedule = Schedule(errors=[StoreUnavailable("OOM")], is_reachable=True)
        with pytest.raises(StoreUnavailable) as refused:
            await a_listener(schedule, []).volume(delivery(GONE.to_bytes(), attempt=attempt))
        pauses.append(refused.value.retry_after)
    assert pauses == [2, 8, 60]


async def test_a_change_waits_until_the_schedule_is_made() -> None:
    """It would be taken for one of unknown secrets."""
    schedule, stirred = Schedule(errors=[NotBuilt(), NotBuilt()]), list[None]()
    event = BackendChanged("vault", ("a",), 5, "e")
    await a_listener(schedule, stirred).change(delivery(event.to_bytes(), "keyferry.change.vault"))
    assert schedule.told == [(("sources:vault/a",), 1_000_000)]
    assert len(stirred) == 1


@pytest.mark.parametrize("matched", [0, None])
async def test_a_change_of_nothing_stirs_nobody(matched: int | None) -> None:
    """Of unknown secrets, or heard of before."""
    schedule, stirred = Schedule(matched=matched), list[None]()
    event = RefreshRequested("shop", "db", 5)
    await a_listener(schedule, stirred).change(delivery(event.to_bytes(), "keyferry.change.kubernetes"))
    assert schedule.told == [(("classes:shop/db",), 1_000_000)]
    assert stirred == []


async def test_a_finished_pod_is_told_of() -> None:
    """By its uid: a name may be another pod's by now."""
    schedule = Schedule()
    event = PodFinished(Pod("shop", "job", "u-1", "sa"))
    await a_listener(schedule, []).change(delivery(event.to_bytes(), "keyferry.change.kubernetes"))
    assert schedule.told == [("u-1", 1_000_000)]


async def test_what_is_no_event_is_refused_for_good() -> None:
    """It would be no better the next time."""
    listener = a_listener(Schedule(), [])
    for handle in (listener.volume, listener.change):
        with pytest.raises(UntrustedMessage) as refused:
            await handle(delivery(b"\xff"))
        assert refused.value.retry_after is None


async def test_sources_tell_through_the_bus() -> None:
    """Durably, and no header holds what an event's author wrote."""
    published: list[tuple[str, bytes, dict[str, Any]]] = []

    class Bus:
        async def publish(self, subject: str, payload: bytes, **how: Any) -> None:
            published.append((subject, payload, how))

    event = BackendChanged("vault", ("a",), 5, "e\r\nNats-TTL: 1")
    await emitter(cast("Any", Bus()))(event)
    ((subject, payload, how),) = published
    assert (subject, payload, how["destination"]) == ("keyferry.change.vault", event.to_bytes(), "keyferry.change")
    assert how["message_id"].isalnum()
