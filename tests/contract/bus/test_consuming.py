import asyncio
import time

import pytest

from keyferry.bus import Bus, Consumer, Delivery
from keyferry.errors import AccessDenied, KeyferryError, ProviderUnavailable, UntrustedMessage
from keyferry.messages import FetchRequest
from keyferry.streams import MOUNTS

from .conftest import Admin, Node, answering, consumed, consuming

SUBJECT = "keyferry.fetch.mount.node-1"


async def send(
    admin: Admin, payload: bytes = b"work", headers: dict[str, str] | None = None, *, within: float = 60.0
) -> None:
    """Store a message whose deadline is so many seconds away."""
    deadline = {"Keyferry-Deadline": str(int((time.time() + within) * 1000))}
    await admin.context.publish(SUBJECT, payload, headers=deadline | (headers or {}))


class Failing:
    """A handler that notes its deliveries and raises what it is told to, or nothing when that is used up."""

    def __init__(self, *errors: Exception) -> None:
        self.deliveries: list[Delivery] = []
        self._errors = list(errors)

    async def __call__(self, delivery: Delivery) -> None:
        """Work off one message."""
        self.deliveries.append(delivery)
        if self._errors:
            raise self._errors.pop(0)

    @property
    def attempts(self) -> list[int]:
        """The number of each delivery."""
        return [delivery.attempt for delivery in self.deliveries]


async def test_success_removes_the_message(bus: Bus, admin: Admin) -> None:
    """It is handled once, and the queue is empty."""
    handler, before = Failing(), consumed("done")
    await send(admin)

    async with consuming(bus, handler):
        await admin.settled()

    assert (handler.attempts, consumed("done") - before) == ([1], 1)


async def test_a_transient_failure_is_tried_again_after_its_delay(bus: Bus, admin: Admin) -> None:
    """Not before: a backend that asks for rest gets it."""
    handler, before = Failing(ProviderUnavailable("away", retry_after=0.6)), consumed("again")
    await send(admin)
    times: list[float] = []

    async def timed(delivery: Delivery) -> None:
        times.append(time.monotonic())
        await handler(delivery)

    async with consuming(bus, timed):
        await admin.settled()

    assert handler.attempts == [1, 2]
    assert times[1] - times[0] >= 0.6
    assert consumed("again") - before == 1


@pytest.mark.parametrize("error", [AccessDenied("no"), UntrustedMessage("forged")])
async def test_a_permanent_failure_removes_the_message(bus: Bus, admin: Admin, error: KeyferryError) -> None:
    """The handler has answered; trying again would change nothing. It is counted by its reason."""
    handler, before = Failing(error), consumed(error.reason)
    await send(admin)

    async with consuming(bus, handler):
        await admin.settled()

    assert (handler.attempts, consumed(error.reason) - before) == ([1], 1)
    assert await admin.dead_letters() == []


async def test_the_last_delivery_says_so(bus: Bus, admin: Admin) -> None:
    """A handler whose requester waits answers then at the latest; after it a transient failure is no longer tried."""
    handler = Failing(*(ProviderUnavailable("away", retry_after=0.01) for _ in range(9)))
    await send(admin)

    async with consuming(bus, handler):
        await admin.settled()

    assert [(d.attempt, d.last) for d in handler.deliveries] == [
        (1, False),
        (2, False),
        (3, False),
        (4, False),
        (5, True),
    ]
    assert await admin.dead_letters() == []


async def test_what_nobody_waits_for_is_not_lost_silently(bus: Bus, admin: Admin) -> None:
    """Without a deadline nobody was told of the failure: the message goes to the dead letters."""
    handler = Failing(*(ProviderUnavailable("away", retry_after=0.01) for _ in range(9)))
    await admin.context.publish(SUBJECT, b"work")

    async with consuming(bus, handler):
        await admin.settled()

    ((payload, headers),) = await admin.dead_letters()
    assert (payload, headers["Keyferry-Error"]) == (b"work", "ProviderUnavailable")


async def test_a_defect_is_tried_again_then_dead_lettered(bus: Bus, admin: Admin) -> None:
    """An exception never loses a request (R25): five tries, then a dead letter with the place, and an empty queue."""
    handler, before = Failing(*(ValueError("canary-1") for _ in range(9))), consumed("defect")
    await send(admin, b"poison", {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})

    async with consuming(bus, handler):
        await admin.settled("DEAD", messages=1)
        await admin.settled()

    ((payload, headers),) = await admin.dead_letters()
    assert handler.attempts == [1, 2, 3, 4, 5]
    assert consumed("defect") - before == 4
    assert payload == b"poison"
    assert headers["Keyferry-Subject"] == SUBJECT
    assert headers["Keyferry-Error"].startswith("ValueError at test_consuming.py:")
    assert headers["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert "canary-1" not in str(headers)


async def test_a_defect_that_goes_away_is_survived(bus: Bus, admin: Admin) -> None:
    """The next try may succeed, and then nothing is dead."""
    handler = Failing(KeyError("x"))
    await send(admin)

    async with consuming(bus, handler):
        await admin.settled()

    assert (handler.attempts, await admin.dead_letters()) == ([1, 2], [])


async def crash_with(admin: Admin, consumer: Consumer, times: int) -> None:
    """Take a message and never say what became of it, as a process that dies of it does."""
    subscription = await admin.context.pull_subscribe_bind(consumer.durable, consumer.stream)
    for _ in range(times):
        await subscription.fetch(1, timeout=5)


async def test_what_kills_its_consumers_is_dead_lettered(bus: Bus, admin: Admin) -> None:
    """A message that no process lived to finish is not handed to another one."""
    consumer = await admin.impatient(MOUNTS, 0.1)
    handler, before = Failing(), consumed("dead")
    await send(admin, b"killer")
    await crash_with(admin, consumer, 5)

    async with consuming(bus, handler, consumer):
        await admin.settled("DEAD", messages=1)
        await admin.settled()

    ((payload, headers),) = await admin.dead_letters()
    assert handler.deliveries == []
    assert (payload, headers["Keyferry-Error"]) == (b"killer", "no process that took it lived to finish it")
    assert consumed("dead") - before == 1


async def test_every_dead_letter_is_kept(bus: Bus, admin: Admin) -> None:
    """Messages without an id of their own, or with headers that the dead letters' stream would refuse, among them."""
    consumer = await admin.impatient(MOUNTS, 0.05)
    for payload in (b"1", b"2", b"3"):
        await send(admin, payload, {"Nats-Expected-Stream": "FETCH", "X-Strange": "ä"})
        await crash_with(admin, consumer, 5)

        async with consuming(bus, Failing(), consumer):
            await admin.settled()

    assert [payload for payload, _ in await admin.dead_letters()] == [b"1", b"2", b"3"]


async def test_without_a_place_for_dead_letters_nothing_is_lost(bus: Bus, admin: Admin) -> None:
    """The message stays in the queue until its dead letter is stored."""
    consumer = await admin.impatient(MOUNTS, 0.05)
    await send(admin)
    await crash_with(admin, consumer, 5)
    config = (await admin.context.stream_info("DEAD")).config
    await admin.context.delete_stream("DEAD")

    async with consuming(bus, Failing(), consumer):
        await asyncio.sleep(0.5)
        assert await admin.waiting() == 1
        await admin.context.add_stream(config)
        await admin.settled()

    assert len(await admin.dead_letters()) == 1


async def test_an_expired_request_is_dropped_unprocessed(bus: Bus, admin: Admin) -> None:
    """Nobody waits for it: neither a backend nor a handler sees it."""
    handler, before = Failing(), consumed("expired")
    await send(admin, b"late", within=-1.0)
    await send(admin, b"in time")

    async with consuming(bus, handler):
        await admin.settled()

    assert [d.payload for d in handler.deliveries] == [b"in time"]
    assert consumed("expired") - before == 1


@pytest.mark.parametrize("text", ["soon", "", "1e3", "9" * 400])
async def test_an_unreadable_deadline_is_none(bus: Bus, admin: Admin, text: str) -> None:
    """Headers are foreign bytes."""
    handler = Failing()
    await admin.context.publish(SUBJECT, b"work", headers={"Keyferry-Deadline": text})

    async with consuming(bus, handler):
        await admin.settled()

    assert [d.deadline for d in handler.deliveries] == [float("inf")]


@pytest.mark.parametrize("payload", [b"", b"\xff\xfe garbage", b"\0" * 4000])
async def test_garbage_is_survived(bus: Bus, node: Node, admin: Admin, payload: bytes) -> None:
    """What is no FetchRequest is removed and counted, and the next request is answered."""
    before = consumed("UntrustedMessage")

    async def open_all(delivery: Delivery) -> None:
        if delivery.payload == b"r-1":
            await answering(bus)(delivery)
        else:
            FetchRequest.from_bytes(delivery.payload)

    async with consuming(bus, open_all):
        await admin.context.publish("keyferry.fetch.mount.x", payload)
        assert await node.ask("r-1") == b"answer"
        await admin.settled()

    assert consumed("UntrustedMessage") - before == 1
