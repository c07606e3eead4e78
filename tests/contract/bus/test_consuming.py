import asyncio
import time

import pytest

from keyferry.bus import Bus, Consumer, Delivery, connect
from keyferry.errors import AccessDenied, KeyferryError, ProviderUnavailable, UntrustedMessage
from keyferry.messages import FetchRequest
from keyferry.streams import MOUNTS
from keyferry.testing.nats import Nats

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


async def test_a_long_handler_keeps_its_message(bus: Bus, admin: Admin) -> None:
    """In-progress is told in time, so that nobody else gets what is still worked on."""
    consumer = await admin.impatient(MOUNTS, 0.4)
    attempts: list[int] = []

    async def take_long(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        await asyncio.sleep(1.5)

    await send(admin)
    async with consuming(bus, take_long, consumer):
        await admin.settled()

    assert attempts == [1]


class Hanging:
    """A handler that works on until it is released, and counts how many are at it."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.running = 0
        self.most = 0

    async def __call__(self, _: Delivery) -> None:
        """Work off one message."""
        self.running += 1
        self.most = max(self.most, self.running)
        await self.release.wait()
        self.running -= 1

    async def busy(self, count: int) -> None:
        """Wait until so many are at it."""
        async with asyncio.timeout(20):
            while self.running < count:  # noqa: ASYNC110 - one event would be needed for each count
                await asyncio.sleep(0.01)


async def test_no_more_is_taken_than_can_be_worked_on(bus: Bus, admin: Admin, nats: Nats) -> None:
    """The rest waits in the stream, where a process that comes later finds it."""
    first, second = Hanging(), Hanging()
    for _ in range(10):
        await send(admin)

    async with consuming(bus, first, concurrency=3):
        await first.busy(3)
        info = await admin.context.consumer_info("FETCH", "fetch-mount")
        assert (info.num_ack_pending, info.num_pending) == (3, 7)
        async with connect(nats.url, name="fetcher") as other, consuming(other, second, concurrency=7):
            await second.busy(7)
            first.release.set()
            second.release.set()
            await admin.settled()

    assert (first.most, second.most) == (3, 7)


async def test_places_that_become_free_are_filled(bus: Bus, admin: Admin) -> None:
    """Over many messages the bound holds and every one is worked off."""
    running = most = done = 0

    async def work(_: Delivery) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        done += 1

    await asyncio.gather(*(admin.context.publish(SUBJECT, b"work") for _ in range(300)))
    async with consuming(bus, work, concurrency=5):
        await admin.settled()

    assert (most, done) == (5, 300)


async def test_a_consumer_that_stops_gives_back_what_it_has(bus: Bus, admin: Admin, nats: Nats) -> None:
    """A rolling update delays nobody by the time after which a silent consumer's messages are delivered again."""
    hanging, handler = Hanging(), Failing()
    await send(admin)
    async with consuming(bus, hanging):
        await hanging.busy(1)

    async with connect(nats.url, name="fetcher") as other, consuming(other, handler):
        async with asyncio.timeout(MOUNTS.ack_wait / 2):
            await admin.settled()

    assert handler.attempts == [2]


async def test_a_consumer_ends_when_it_is_cancelled(bus: Bus, admin: Admin) -> None:
    """Also in the middle of work; the connection can be used on, and nobody is subscribed any more."""
    for _ in range(3):
        hanging = Hanging()
        await send(admin)
        async with consuming(bus, hanging, concurrency=1):
            await hanging.busy(1)

    async with consuming(bus, Failing()):
        await admin.settled()
