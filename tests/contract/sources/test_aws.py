"""The AWS source on a real queue of the emulator, with boto3."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from prometheus_client import REGISTRY

from keyferry.testing.aws_events import AwsEventsServer, aws_events_server
from rotator.sources.aws import AwsSource
from rotator.sources.reconnecting import Pauses
from rotator.sources.settings import AwsEvents

from .conftest import Bus, running, until

QUICK = Pauses(first=0.05, longest=0.2)


@dataclass(frozen=True)
class Queue:
    """A queue of its own for each test."""

    server: AwsEventsServer
    url: str

    def source(self, *, visibility: int = 20) -> AwsSource:
        """A source that hears of it, with short polls."""
        settings = AwsEvents(
            queue_url=self.url, region="eu-central-1", endpoint=self.server.endpoint_url, visibility=visibility
        )
        return AwsSource(settings, pauses=QUICK, wait_seconds=1, retry_seconds=0)

    async def send(self, *bodies: str) -> None:
        """Put messages into it."""
        await self.server.send(self.url, *bodies)

    async def left(self) -> int:
        """How many messages it has."""
        return await self.server.left(self.url)


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture
async def queue(aws_events: AwsEventsServer) -> AsyncIterator[Queue]:
    url = await aws_events.create_queue(f"keyferry-{uuid.uuid4().hex}")
    yield Queue(aws_events, url)
    await aws_events.call("sqs", "delete_queue", QueueUrl=url)


def parameter(name: str, event_id: str = "") -> str:
    return json.dumps(
        {
            "id": event_id or str(uuid.uuid4()),
            "source": "aws.ssm",
            "detail-type": "Parameter Store Change",
            "time": "2026-11-24T12:00:00Z",
            "detail": {"operation": "Update", "name": name},
        }
    )


async def emptied(queue: Queue) -> None:
    async with asyncio.timeout(20):
        while await queue.left():  # noqa: ASYNC110 - what is waited for knows no event
            await asyncio.sleep(0.05)


def connected() -> float | None:
    return REGISTRY.get_sample_value("keyferry_change_source_connected", {"source": "aws"})


async def test_a_new_value_of_a_secret_is_told(queue: Queue, bus: Bus) -> None:
    """What PutSecretValue changes goes over EventBridge and the queue to the bus, and leaves the queue."""
    await queue.server.route_changes(queue.url)
    name = f"app/{uuid.uuid4().hex}"
    async with running(queue.source(), bus):
        await queue.server.call("secretsmanager", "create_secret", Name=name, SecretString="one")
        await queue.server.call("secretsmanager", "put_secret_value", SecretId=name, SecretString="two")
        await until(lambda: f"secretsmanager/{name}" in bus.sources())
        await emptied(queue)
    assert {change.provider for change in bus.told} == {"aws"}


async def test_no_message_leaves_the_queue_before_its_change_is_on_the_bus(queue: Queue, bus: Bus) -> None:
    """While the bus is away messages stay in the queue, come again, and are told when it is back."""
    bus.away = True
    async with running(queue.source(), bus):
        await queue.send(parameter("/a", "e-1"))
        await until(lambda: len(bus.refused) > 1)
        assert await queue.left() == 1
        bus.away = False
        await until(lambda: bool(bus.told))
        await emptied(queue)
    assert [change.event_id for change in bus.told] == ["e-1"]


async def test_a_source_that_is_stopped_amid_its_work_leaves_it_to_the_next(queue: Queue, bus: Bus) -> None:
    """What was taken but not told is there again at once, not after the visibility timeout."""
    bus.slow = asyncio.Event()
    await queue.send(parameter("/a"))
    async with running(queue.source(visibility=600), bus):
        await until(lambda: bus.waiting == 1)
    bus.slow = None
    async with running(queue.source(), bus):
        await until(lambda: bus.sources() == {"ssm/a"})


async def test_a_poll_that_outlives_its_source_gives_back_what_it_brings(queue: Queue, bus: Bus) -> None:
    """A message that comes to a poll whose source was stopped meanwhile is told by another."""
    async with running(queue.source(visibility=600), bus):
        await until(lambda: connected() == 1)
        await asyncio.sleep(0.2)  # the long poll is under way
    await queue.send(parameter("/a"))
    async with running(queue.source(), bus):
        await until(lambda: bus.sources() == {"ssm/a"})


async def test_poison_is_dropped_and_the_rest_is_told(queue: Queue, bus: Bus) -> None:
    """What can never be understood is deleted and counted, and holds nothing up."""
    labels = {"source": "aws", "outcome": "malformed"}
    before = REGISTRY.get_sample_value("keyferry_change_events_total", labels) or 0
    await queue.send("hello", "{}", "[" * 10_000, json.dumps({"a": "\ud800"}), parameter("/a"))
    async with running(queue.source(), bus):
        await emptied(queue)
    assert bus.sources() == {"ssm/a"}
    assert REGISTRY.get_sample_value("keyferry_change_events_total", labels) == before + 4


async def test_a_flood_is_told_whole(queue: Queue, bus: Bus) -> None:
    """Three hundred messages are each told, ten in hand at a time."""
    await queue.send(*(parameter(f"/p{n}") for n in range(300)))
    async with running(queue.source(), bus):
        await emptied(queue)
    assert bus.sources() == {f"ssm/p{n}" for n in range(300)}


async def test_duplicates_keep_their_id(queue: Queue, bus: Bus) -> None:
    """An event that is delivered twice is told with the same id twice: the rotator then acts once."""
    await queue.send(parameter("/a", "e-1"), parameter("/a", "e-1"))
    async with running(queue.source(), bus):
        await until(lambda: len(bus.told) == 2)
    assert {change.event_id for change in bus.told} == {"e-1"}


async def test_a_queue_that_is_away_is_polled_again(bus: Bus, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The gauge says when the queue is away, and messages are heard when it is back."""
    directory = tmp_path_factory.mktemp("aws-restarted")
    with aws_events_server(directory) as server:
        url = await server.create_queue("keyferry")
        async with running(Queue(server, url).source(), bus):
            await until(lambda: connected() == 1)
            await asyncio.to_thread(server.process.stop)
            await until(lambda: connected() == 0)
            await asyncio.to_thread(server.process.start)
            await server.create_queue("keyferry")
            await server.send(url, parameter("/a"))
            await until(lambda: bus.sources() == {"ssm/a"})
            assert connected() == 1


async def test_a_queue_that_does_not_exist_is_said(
    aws_events: AwsEventsServer, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names SQS's code and what to check, once."""
    async with running(Queue(aws_events, f"{aws_events.endpoint_url}/000000000000/none").source(), bus):
        await until(lambda: "check the queue's URL" in caplog.text)
        await asyncio.sleep(0.5)
    assert caplog.text.count("no change events are heard") == 1
