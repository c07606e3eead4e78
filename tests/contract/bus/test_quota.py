"""One node, stolen or mad, may have so many requests waiting and no more: those of others are taken and answered."""

import asyncio
import json
from dataclasses import replace
from itertools import count

import pytest

from keyferry.bus import Bus, Delivery
from keyferry.bus.requests import AT_ONCE
from keyferry.errors import BusFull, ContentTooLarge, RequestExpired
from keyferry.settings import load
from keyferry.streams import REFRESHES, Settings, ensure, streams
from keyferry.subjects import mount_subject, refresh_subject
from keyferry.testing.nats import Nats

from .conftest import Admin, Node, answering, consuming

MAD = mount_subject("mad")
PLACES = 256
"""Of a fetcher, by default."""


async def with_quota(nats: Nats, each: int) -> None:
    """Let the stream take so many of a node."""
    await ensure(load(Settings, {"KEYFERRY_NATS_URL": nats.url, "KEYFERRY_FETCH_MAX_MESSAGES_PER_NODE": str(each)}))


async def refused(admin: Admin, subject: str, payload: bytes = b"mad") -> str:
    """Why the stream does not take what is published; empty if it does."""
    answer = json.loads((await admin.client.request(subject, payload, timeout=5)).data)
    return str(answer.get("error", {}).get("description", ""))


async def fill(admin: Admin, subject: str) -> int:
    """Publish on a subject until the stream refuses; returns how many it has taken."""
    for taken in count():
        if refusal := await refused(admin, subject):
            assert "per subject" in refusal
            return taken
    raise AssertionError


async def test_a_mad_node_fills_only_its_own(node: Node, bus: Bus, admin: Admin) -> None:
    """A node that asks as fast as it can is refused in the end; another's mount is taken and answered."""
    assert await fill(admin, MAD) < PLACES
    assert await fill(admin, refresh_subject("mad")) < PLACES

    async def hang_for_the_mad(delivery: Delivery) -> None:
        if delivery.subject == MAD:
            await asyncio.Event().wait()
        await answering(bus)(delivery)

    async with consuming(bus, hang_for_the_mad, concurrency=PLACES):
        assert await asyncio.gather(*(node.ask(f"r-{number}") for number in range(100))) == [b"answer"] * 100


async def test_what_was_answered_makes_room(bus: Bus, admin: Admin, nats: Nats) -> None:
    """The quota is of what waits and is worked on, not of what a node ever asks."""
    await with_quota(nats, 3)
    assert await fill(admin, MAD) == 3
    async with consuming(bus, answering(bus)):
        await admin.settled()
    assert await fill(admin, MAD) == 3


async def test_the_refusal_is_retried_and_says_whose(node: Node, admin: Admin, nats: Nats) -> None:
    """Kubelet is told to come back, in words that tell the quota of one from a full stream."""
    await with_quota(nats, 1)
    await admin.context.publish("keyferry.fetch.mount.node-1", b"")

    with pytest.raises(BusFull, match="takes no more messages of this one sender") as refused:
        await node.ask("r-1", within=600.0)

    assert (refused.value.code, refused.value.retry_after) == ("RESOURCE_EXHAUSTED", 5.0)


async def test_asking_again_is_no_reason_to_fail(node: Node, bus: Bus, admin: Admin, nats: Nats) -> None:
    """A repetition that finds its own first attempt still waiting, and no room beside it, waits on."""
    await with_quota(nats, 1)
    asking = asyncio.create_task(node.ask("r-1", within=60.0))
    await admin.settled(messages=1)
    await asyncio.sleep(1.2)  # two attempts later

    assert await admin.waiting() == 1
    async with consuming(bus, answering(bus)):
        assert await asking == b"answer"


async def test_a_stream_without_quota_gets_it(admin: Admin, nats: Nats) -> None:
    """An upgrade brings it to a stream that stands; where a node has more waiting the oldest go, to be asked anew."""
    settings = load(Settings, {"KEYFERRY_NATS_URL": nats.url})
    (config,) = (each for each in streams(settings) if each.name == "FETCH")
    await admin.context.update_stream(replace(config, max_msgs_per_subject=-1, discard_new_per_subject=False))
    await asyncio.gather(*(admin.context.publish(MAD, b"") for _ in range(300)))

    await ensure(settings)

    assert await admin.waiting() == settings.max_requests_of_one
    assert await fill(admin, MAD) == 0


async def test_a_storm_of_one_node(node: Node, bus: Bus, admin: Admin) -> None:
    """A thousand mounts at once on one node are all answered: the node itself keeps within its quota."""
    most = 0

    async def answer(delivery: Delivery) -> None:
        nonlocal most
        most = max(most, await admin.waiting())
        await answering(bus)(delivery)

    async with consuming(bus, answer):
        mounts = (node.ask(f"r-{number}", within=110) for number in range(1000))
        assert await asyncio.gather(*mounts) == [b"answer"] * 1000

    assert 16 < most <= 2 * AT_ONCE  # more than it has on their way: what is answered is not acknowledged at once


async def test_a_lane_full_of_mounts_leaves_refreshes_alone(node: Node, bus: Bus, admin: Admin) -> None:
    """What a node waits for in one lane takes no place in the other."""
    mounts = [asyncio.create_task(node.ask(f"m-{number}")) for number in range(2 * AT_ONCE)]
    await admin.settled(messages=AT_ONCE)
    async with consuming(bus, answering(bus), REFRESHES):
        assert await node.ask("r-1", lane="refresh") == b"answer"
    for mount in mounts:
        mount.cancel()
    await asyncio.gather(*mounts, return_exceptions=True)


async def test_no_place_in_time(node: Node, admin: Admin) -> None:
    """A mount whose time is up before it finds a place is asked for no more, and is told why as the others are."""
    mounts = [asyncio.create_task(node.ask(f"m-{number}", within=60.0)) for number in range(AT_ONCE)]
    await admin.settled(messages=AT_ONCE)
    late = asyncio.create_task(node.ask("late", within=0.2))
    await asyncio.sleep(0.3)
    for mount in mounts:
        mount.cancel()

    with pytest.raises(RequestExpired, match="no fetcher answered in time: check that fetchers run"):
        await late

    assert (await admin.context.stream_info("FETCH")).state.last_seq == AT_ONCE
    await asyncio.gather(*mounts, return_exceptions=True)


async def test_words_on_volumes_that_do_not_exist(node: Node, bus: Bus, admin: Admin, nats: Nats) -> None:
    """They fill their own stream alone: words that are there can be renewed, and mounts have their room."""
    await ensure(load(Settings, {"KEYFERRY_NATS_URL": nats.url, "KEYFERRY_VOLUMES_MAX_BYTES": "64Ki"}))
    await node.bus.publish("keyferry.volume.node-1.v1", b"x" * 500, destination="keyferry.volume")
    for number in count():
        if refusal := await refused(admin, f"keyferry.volume.mad.v{number}", b"x" * 500):
            break
    assert refusal == "maximum bytes exceeded"

    await node.bus.publish("keyferry.volume.node-1.v1", b"y" * 500, destination="keyferry.volume")
    with pytest.raises(BusFull, match="takes no more bytes"):
        await node.bus.publish("keyferry.volume.node-1.v2", b"x" * 500, destination="keyferry.volume")
    async with consuming(bus, answering(bus)):
        assert await node.ask("r-1") == b"answer"


async def test_an_enormous_request(bus: Bus, admin: Admin) -> None:
    """A request of the largest Secret that Kubernetes keeps fits; larger ones would fill the disk, and are refused."""
    assert not await refused(admin, MAD, b"x" * 1024**2)
    with pytest.raises(ContentTooLarge, match="larger than NATS takes"):
        await bus.publish(MAD, b"x" * (2 * 1024**2 + 1), destination="keyferry.fetch.mount")
    assert await admin.waiting() == 1
