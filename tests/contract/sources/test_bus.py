"""From a source to the stream: what is acknowledged is on JetStream, and what is not comes again."""

import asyncio
import json
import uuid
from pathlib import Path

import aiohttp
import pytest

from keyferry import streams
from keyferry.bus import Bus as RealBus
from keyferry.bus import Delivery, connect
from keyferry.changes import BackendChanged, change_event
from keyferry.streams import SCHEDULE_CHANGES
from keyferry.testing.nats import nats_server
from keyferry.testing.ports import free_port
from rotator.listen import emitter
from rotator.sources import open_sources
from rotator.sources.server import WebhookServer
from rotator.sources.source import Emit

from .conftest import until

TOKEN = "test-only-bearer-token"


def body(source: str) -> bytes:
    about = {"specversion": "1.0", "source": "/p", "type": "io.keyferry.backend.changed"}
    data = {"provider": "vault", "sources": [source]}
    return json.dumps({**about, "id": str(uuid.uuid4()), "data": data}).encode()


async def heard(bus: RealBus, count: int) -> list[str]:
    """The sources of so many changes on the stream."""
    found: list[str] = []

    async def hear(delivery: Delivery) -> None:
        event = change_event(delivery.payload)
        assert isinstance(event, BackendChanged)
        found.extend(event.sources)

    consuming = asyncio.create_task(bus.consume(SCHEDULE_CHANGES, hear, concurrency=1))
    await until(lambda: len(found) >= count)
    consuming.cancel()
    await asyncio.wait({consuming})
    return found


async def test_a_change_is_on_the_stream_before_it_is_acknowledged(tmp_path: Path) -> None:
    """With NATS away the sender is told to try again; each change is on the stream once in the end."""
    (tmp_path / "token").write_text(TOKEN)
    variables = {"KEYFERRY_WEBHOOK_TOKEN_FILE": str(tmp_path / "token")}
    (source,) = open_sources({**variables, "KEYFERRY_WEBHOOK_ADDRESS": f"127.0.0.1:{free_port()}"})
    assert isinstance(source, WebhookServer)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/cloudevents+json"}

    async def send(client: aiohttp.ClientSession, content: bytes) -> int:
        url = f"http://127.0.0.1:{source.port}/events"
        async with client.post(url, data=content, headers=headers) as answer:
            return answer.status

    with nats_server(tmp_path / "nats") as nats:
        await streams.ensure(streams.Settings(nats_url=nats.url))
        async with connect(nats.url, name="test") as bus, aiohttp.ClientSession() as client:
            emit: Emit = emitter(bus)
            hearing = asyncio.create_task(source.run(emit))
            await until(lambda: source.port != 0)
            assert await send(client, body("secret/data/a")) == 204
            await asyncio.to_thread(nats.process.stop)
            second = body("secret/data/b")
            assert await send(client, second) == 503
            await asyncio.to_thread(nats.process.start)
            await until(lambda: bus.is_connected)
            while await send(client, second) != 204:  # noqa: ASYNC110 - as senders do
                await asyncio.sleep(0.05)
            assert sorted(await heard(bus, 2)) == ["secret/data/a", "secret/data/b"]
            hearing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hearing
