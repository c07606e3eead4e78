import asyncio
import time

import pytest
from nats.aio.msg import Msg

from keyferry.bus import Bus, Delivery, connect
from keyferry.errors import AccessDenied, BusFull, BusUnavailable, ContentTooLarge, RequestExpired, UntrustedMessage
from keyferry.settings import load
from keyferry.streams import MOUNTS, REFRESHES, Settings, ensure
from keyferry.testing.nats import Nats

from .conftest import NODE_INBOX, Admin, Node, answering, consuming


async def test_a_request_is_answered(bus: Bus, node: Node, admin: Admin) -> None:
    """The payload goes through the stream to a consumer, whose answer comes back; nothing is left behind."""
    async with consuming(bus, answering(bus, b"content")):
        assert await node.ask("r-1") == b"content"
        await admin.settled()


async def test_a_thousand_requests_at_once_are_answered(bus: Bus, node: Node) -> None:
    """Each gets its own answer, more at once than a consumer works on."""

    async def echo(delivery: Delivery) -> None:
        await bus.reply(f"{NODE_INBOX}.{delivery.payload.decode()}", delivery.payload)

    ids = [f"r-{n}" for n in range(1000)]
    async with consuming(bus, echo):
        answers = await asyncio.gather(*(node.ask(request_id) for request_id in ids))

    assert answers == [request_id.encode() for request_id in ids]


async def test_lanes_do_not_delay_each_other(bus: Bus, node: Node) -> None:
    """A refresh lane full of handlers that hang leaves the mount lane as quick as ever."""
    release, working = asyncio.Event(), asyncio.Semaphore(0)

    async def hang(delivery: Delivery) -> None:
        working.release()
        await release.wait()
        await answering(bus)(delivery)

    async with consuming(bus, hang, REFRESHES, concurrency=2), consuming(bus, answering(bus), MOUNTS, concurrency=2):
        refreshes = [asyncio.create_task(node.ask(f"refresh-{n}", lane="refresh")) for n in range(10)]
        await working.acquire()
        await working.acquire()

        assert await node.ask("mount-1") == b"answer"
        assert [task for task in refreshes if task.done()] == []
        release.set()
        assert await asyncio.gather(*refreshes) == [b"answer"] * 10


@pytest.mark.parametrize("within", [0.3, 0.8, 0.0, -5.0])
async def test_a_request_nobody_answers_expires(node: Node, within: float) -> None:
    """At the deadline, whether before or after the second attempt, in words that say where to look."""
    with pytest.raises(RequestExpired, match="no fetcher answered in time: check that fetchers run"):
        await node.ask("r-1", within=within)


async def test_without_a_stream_the_command_is_named(node: Node, admin: Admin) -> None:
    """Whoever installs NATS and forgets the streams reads which step is missing, long before the deadline."""
    await admin.context.delete_stream("FETCH")

    with pytest.raises(BusUnavailable, match=r"`python -m keyferry\.streams`"):
        await node.ask("r-1", within=600.0)


async def test_a_full_stream_sends_back(node: Node, admin: Admin, nats: Nats) -> None:
    """Kubelet is told to back off (RESOURCE_EXHAUSTED), and requests already waiting stay."""
    await ensure(load(Settings, {"KEYFERRY_NATS_URL": nats.url, "KEYFERRY_FETCH_MAX_MESSAGES": "2"}))
    waiting = [asyncio.create_task(node.bus.publish("keyferry.fetch.mount.n", b"", destination="x")) for _ in range(2)]
    await asyncio.gather(*waiting)

    with pytest.raises(BusFull, match="takes no more messages"):
        await node.ask("r-1", within=600.0)

    assert await admin.waiting() == 2


async def test_a_lost_reply_is_asked_for_again(bus: Bus, node: Node, admin: Admin) -> None:
    """After the first attempt was acknowledged the server would drop an equal message id: the second has its own."""
    ids: list[str] = []

    async def lose_the_first(delivery: Delivery) -> None:
        ids.append(delivery.payload.decode())
        if len(ids) > 1:
            await answering(bus)(delivery)

    async with consuming(bus, lose_the_first):
        assert await node.ask("r-1") == b"answer"
        await admin.settled()

    assert ids == ["r-1", "r-1"]


async def test_a_late_reply_to_the_first_attempt_is_taken(bus: Bus, node: Node) -> None:
    """An answer is an answer, whichever attempt it was made for."""
    second = asyncio.Event()

    async def answer_the_first_late(delivery: Delivery) -> None:
        if second.is_set():
            await asyncio.Event().wait()
        second.set()
        await asyncio.sleep(0.7)
        await answering(bus)(delivery)

    async with consuming(bus, answer_the_first_late):
        assert await node.ask("r-1") == b"answer"


async def test_a_forged_reply_does_not_end_the_wait(bus: Bus, node: Node, admin: Admin) -> None:
    """Whoever can publish to an inbox can neither fail a mount nor have his answer taken."""

    def accept(payload: bytes) -> bytes:
        if payload != b"answer":
            raise UntrustedMessage("forged")
        return payload

    async def forge_first(delivery: Delivery) -> None:
        await admin.client.publish(f"{NODE_INBOX}.r-1", b"forged")
        await admin.client.publish(f"{NODE_INBOX}.r-1", b"")
        await admin.client.flush()
        await answering(bus)(delivery)

    async with consuming(bus, forge_first):
        assert await node.ask("r-1", accept=accept) == b"answer"


async def test_forged_replies_do_not_stop_the_clock(node: Node, admin: Admin) -> None:
    """With nothing but forgeries a request ends at its deadline."""

    def refuse(_: bytes) -> bytes:
        raise UntrustedMessage("forged")

    async def forge(_: Msg) -> None:
        await admin.client.publish(f"{NODE_INBOX}.r-1", b"forged")

    await admin.client.subscribe("keyferry.fetch.mount.*", cb=forge)
    await admin.client.flush()
    with pytest.raises(RequestExpired):
        await node.ask("r-1", within=1.2, accept=refuse)


async def test_a_failure_in_the_reply_is_raised(bus: Bus, node: Node) -> None:
    """What ``accept`` finds in the reply is the requester's error."""

    def accept(payload: bytes) -> bytes:
        raise AccessDenied(payload.decode())

    async with consuming(bus, answering(bus, b"grant the role")):
        with pytest.raises(AccessDenied, match="grant the role"):
            await node.ask("r-1", accept=accept)


async def test_replies_to_others_are_ignored(bus: Bus, node: Node) -> None:
    """A reply that nobody waits for, or that comes twice, disturbs nothing."""

    async def answer_thrice(delivery: Delivery) -> None:
        await bus.reply(f"{NODE_INBOX}.unknown", b"?")
        for _ in range(3):
            await answering(bus)(delivery)

    async with consuming(bus, answer_thrice):
        assert await asyncio.gather(*(node.ask(f"r-{n}") for n in range(5))) == [b"answer"] * 5


async def test_a_cancelled_request_leaves_nothing(bus: Bus, node: Node) -> None:
    """Kubelet gave up: the answer comes to nobody, and the same id can be asked again."""
    task = asyncio.create_task(node.ask("r-1"))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async with consuming(bus, answering(bus)):
        assert await node.ask("r-2") == b"answer"


async def test_a_reply_larger_than_nats_takes_is_told(bus: Bus, node: Node) -> None:
    """It is the content that is too large, not the bus that is away: nobody shall try again."""
    with pytest.raises(ContentTooLarge):
        await bus.reply(f"{NODE_INBOX}.r-1", bytes(8 * 1024**2 + 1))
    with pytest.raises(ContentTooLarge):
        await bus.publish("keyferry.volume.n.v", bytes(8 * 1024**2 - 20), destination="x", message_id="x" * 20)

    async with consuming(bus, answering(bus)):
        assert await node.ask("r-2") == b"answer"


async def test_a_published_event_is_stored_once(nats: Nats, admin: Admin) -> None:
    """A repeat with the same message id is dropped; a time to live is the server's to keep."""
    async with connect(nats.url, name="node-driver") as bus:
        for _ in range(2):
            await bus.publish("keyferry.volume.n.v", b"event", destination="keyferry.volume", message_id="1", ttl=60)

    message = await admin.context.get_msg("VOLUMES", 1)
    assert (message.data, (message.headers or {})["Nats-TTL"]) == (b"event", "60")
    assert await admin.waiting("VOLUMES") == 1


async def test_an_event_without_a_stream_is_told(bus: Bus, admin: Admin) -> None:
    """As a request is."""
    await admin.context.delete_stream("VOLUMES")

    with pytest.raises(BusUnavailable):
        await bus.publish("keyferry.volume.n.v", b"event", destination="keyferry.volume")


async def test_a_request_without_a_deadline_waits(bus: Bus, node: Node) -> None:
    """As a gRPC call without one does; its consumer is told that it may take its time."""
    seen: list[float] = []

    async def look(delivery: Delivery) -> None:
        seen.append(delivery.deadline)
        await answering(bus)(delivery)

    async with consuming(bus, look):
        assert await node.ask("r-1", within=float("inf")) == b"answer"

    assert seen == [float("inf")]


async def test_a_deadline_travels_with_the_request(bus: Bus, node: Node) -> None:
    """The consumer knows until when the node waits, to the millisecond, and that it is the first delivery."""
    seen: list[Delivery] = []

    async def look(delivery: Delivery) -> None:
        seen.append(delivery)
        await answering(bus)(delivery)

    before = time.time()
    async with consuming(bus, look):
        await node.ask("r-1", within=20.0)

    (delivery,) = seen
    assert before + 19.99 <= delivery.deadline <= time.time() + 20.0
    assert (delivery.subject, delivery.attempt, delivery.last) == ("keyferry.fetch.mount.node-1", 1, False)
    assert "r-1" not in repr(delivery)
