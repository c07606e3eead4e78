"""The Google source by the real SDK over gRPC."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from keyferry.testing.gcp.pubsub import PubSubEmulator, Subscription
from keyferry.testing.serving import serving
from rotator.sources.gcp import GcpSource
from rotator.sources.reconnecting import Pauses
from rotator.sources.settings import GcpEvents

from .conftest import Bus, running, until

NAME = "projects/shop/subscriptions/keyferry"
QUICK = Pauses(first=0.05, longest=0.2)


@pytest.fixture
async def pubsub() -> AsyncIterator[PubSubEmulator]:
    async with PubSubEmulator() as emulator:
        emulator.subscribe(NAME)
        yield emulator


def source(pubsub: PubSubEmulator) -> GcpSource:
    return GcpSource(GcpEvents(subscription=NAME, endpoint=pubsub.endpoint), pauses=QUICK, retry_seconds=0)


def kept(pubsub: PubSubEmulator) -> Subscription:
    return pubsub.subscriptions[NAME]


def added(secret: str) -> dict[str, str]:
    return {
        "eventType": "SECRET_VERSION_ADD",
        "secretId": f"projects/123/secrets/{secret}",
        "timestamp": "2026-11-24T12:00:00.123456-08:00",
    }


def connected() -> float | None:
    return REGISTRY.get_sample_value("keyferry_change_source_connected", {"source": "gcp"})


async def test_a_new_version_is_told_and_acknowledged(pubsub: PubSubEmulator, bus: Bus) -> None:
    """A notification of Secret Manager reaches the bus, and then is gone."""
    async with running(source(pubsub), bus):
        pubsub.publish(added("db"))
        await until(lambda: not kept(pubsub).held)
    assert [(change.provider, change.sources) for change in bus.told] == [("gcp", ("secrets/db",))]


async def test_nothing_is_acknowledged_before_it_is_on_the_bus(pubsub: PubSubEmulator, bus: Bus) -> None:
    """While the bus is away a message comes again and again, and is told when it is back."""
    bus.away = True
    async with running(source(pubsub), bus):
        identifier = pubsub.publish(added("db"))
        await until(lambda: len(bus.refused) > 2)
        assert "Acknowledge" not in pubsub.calls
        bus.away = False
        await until(lambda: not kept(pubsub).held)
    assert {change.event_id for change in bus.told} == {identifier}


async def test_a_source_that_is_stopped_amid_its_work_acknowledges_nothing(pubsub: PubSubEmulator, bus: Bus) -> None:
    """What was taken but not told stays in the subscription."""
    bus.slow = asyncio.Event()
    pubsub.publish(added("db"))
    async with running(source(pubsub), bus):
        await until(lambda: bus.waiting == 1)
    assert "Acknowledge" not in pubsub.calls
    assert kept(pubsub).held


async def test_poison_is_dropped_and_reminders_are_passed_over(pubsub: PubSubEmulator, bus: Bus) -> None:
    """What can never be understood and what changes nothing are both acknowledged, and hold nothing up."""
    pubsub.publish({}, b"\xff" * 1000)
    pubsub.publish({"eventType": "SECRET_VERSION_ADD"})
    pubsub.publish({"eventType": "SECRET_ROTATE", "secretId": "projects/1/secrets/a"})
    pubsub.publish(added("db"))
    async with running(source(pubsub), bus):
        await until(lambda: not kept(pubsub).held)
    assert bus.sources() == {"secrets/db"}


async def test_a_flood_is_told_whole(pubsub: PubSubEmulator, bus: Bus) -> None:
    """A thousand messages are each told."""
    for number in range(1000):
        pubsub.publish(added(f"s{number}"))
    async with running(source(pubsub), bus):
        await until(lambda: not kept(pubsub).held)
    assert bus.sources() == {f"secrets/s{number}" for number in range(1000)}


async def test_pubsub_that_is_away_is_asked_again(pubsub: PubSubEmulator, bus: Bus) -> None:
    """The gauge says when Pub/Sub is away; messages of that time are told when it is back, and nothing else is."""
    async with running(source(pubsub), bus):
        await until(lambda: connected() == 1)
        await pubsub.stop()
        await until(lambda: connected() == 0)
        pubsub.publish(added("db"))
        await pubsub.start()
        await until(lambda: bool(bus.told))
        assert connected() == 1
    assert bus.gaps() == 0


@pytest.mark.parametrize("code", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.RESOURCE_EXHAUSTED])
async def test_refusals_are_said_and_outlived(
    pubsub: PubSubEmulator, bus: Bus, caplog: pytest.LogCaptureFixture, code: grpc.StatusCode
) -> None:
    """A refusal is one line in the log with its code, and heals by itself."""
    pubsub.failing = code
    async with running(source(pubsub), bus):
        await until(lambda: len(pubsub.calls) > 2)
        pubsub.failing = None
        pubsub.publish(added("db"))
        await until(lambda: bus.sources() == {"secrets/db"})
    assert caplog.text.count(f"Pub/Sub refuses: {code.name}") == 1


async def test_a_missing_permission_is_said(pubsub: PubSubEmulator, bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    """An identity that may not pull is told so, by the permission's name."""
    kept(pubsub).may_consume = False
    async with running(source(pubsub), bus):
        await until(lambda: "pubsub.subscriptions.consume" in caplog.text)
    assert "Pull" not in pubsub.calls


async def test_a_federated_identity_is_shown_over_tls(bus: Bus, tmp_path: Path) -> None:
    """Credentials of type external_account are exchanged, and nobody is asked for their project."""
    exchanged: list[str] = []

    async def exchange(request: web.Request) -> web.Response:
        exchanged.append(str((await request.post())["subject_token"]))
        kind = "urn:ietf:params:oauth:token-type:access_token"
        granted = {"access_token": "test-only-access", "issued_token_type": kind, "token_type": "Bearer"}
        return web.json_response({**granted, "expires_in": 3600})

    app = web.Application()
    app.router.add_post("/token", exchange)
    async with serving(app) as url, PubSubEmulator(secure=True) as pubsub:
        pubsub.subscribe(NAME)
        files = {
            "ca.pem": pubsub.ca_pem,
            "jwt": "test-only-pod-token",
            "adc.json": json.dumps(
                {
                    "type": "external_account",
                    "audience": "//iam.googleapis.com/pools/x",
                    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                    "token_url": f"{url}/token",
                    "credential_source": {"file": str(tmp_path / "jwt")},
                }
            ),
        }
        for name, text in files.items():
            await asyncio.to_thread((tmp_path / name).write_text, text)
        settings = GcpEvents(
            subscription=NAME,
            endpoint=pubsub.endpoint,
            ca_file=str(tmp_path / "ca.pem"),
            credentials_file=str(tmp_path / "adc.json"),
        )
        async with running(GcpSource(settings, pauses=QUICK), bus):
            pubsub.publish(added("db"))
            await until(lambda: bus.sources() == {"secrets/db"})
    assert exchanged == ["test-only-pod-token"]
    assert set(pubsub.authorization) == {"Bearer test-only-access"}
