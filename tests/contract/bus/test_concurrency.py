import asyncio

from keyferry.bus import Bus, Delivery, connect
from keyferry.streams import MOUNTS
from keyferry.testing.nats import Nats

from .conftest import Admin, consuming

SUBJECT = "keyferry.fetch.mount.node-1"


async def test_a_long_handler_keeps_its_message(bus: Bus, admin: Admin) -> None:
    """In-progress is told in time, so that nobody else gets what is still worked on."""
    consumer = await admin.impatient(MOUNTS, 0.4)
    attempts: list[int] = []

    async def take_long(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        await asyncio.sleep(1.5)

    await admin.context.publish(SUBJECT, b"work")
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
        await admin.context.publish(SUBJECT, b"work")

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

    await asyncio.gather(*(admin.context.publish(f"{SUBJECT}{number % 3}", b"work") for number in range(300)))
    async with consuming(bus, work, concurrency=5):
        await admin.settled()

    assert (most, done) == (5, 300)


async def test_a_consumer_that_stops_gives_back_what_it_has(bus: Bus, admin: Admin, nats: Nats) -> None:
    """A rolling update delays nobody by the time after which a silent consumer's messages are delivered again."""
    hanging, again = Hanging(), Hanging()
    again.release.set()
    await admin.context.publish(SUBJECT, b"work")
    async with consuming(bus, hanging):
        await hanging.busy(1)

    async with connect(nats.url, name="fetcher") as other, consuming(other, again):
        async with asyncio.timeout(MOUNTS.ack_wait / 2):
            await admin.settled()

    assert again.most == 1


async def test_a_consumer_ends_when_it_is_cancelled(bus: Bus, admin: Admin) -> None:
    """Also in the middle of work; the connection can be used on, and nobody is subscribed any more."""
    for _ in range(3):
        hanging = Hanging()
        await admin.context.publish(SUBJECT, b"work")
        async with consuming(bus, hanging, concurrency=1):
            await hanging.busy(1)

    hanging.release.set()
    async with consuming(bus, hanging):
        await admin.settled()
