import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from keyferry.bus import Bus, connect
from keyferry.errors import UntrustedMessage
from keyferry.testing.nats import Nats, nats_server

from .conftest import Admin

SUBJECT, DESTINATION = "keyferry.refresh.node_1", "keyferry.refresh"


@dataclass
class Ear:
    """Keeps what it hears; some of it upsets it."""

    heard: list[bytes] = field(default_factory=list)

    async def __call__(self, payload: bytes) -> None:
        """Hear it."""
        self.heard.append(payload)
        if payload == b"forged":
            raise UntrustedMessage("no such message")
        if payload == b"defect":
            raise ValueError("tiger")

    async def has(self, *payloads: bytes) -> None:
        """Wait until it has heard exactly these, in this order."""
        async with asyncio.timeout(20):
            while self.heard != list(payloads):  # noqa: ASYNC110 - the ear has no bell
                await asyncio.sleep(0.01)


@asynccontextmanager
async def listening(bus: Bus, ear: Ear, subject: str = SUBJECT) -> AsyncIterator[None]:
    """Listen for as long as the block lasts, which nothing that is heard may end."""
    task = asyncio.create_task(bus.listen(subject, ear, destination=DESTINATION))
    await asyncio.sleep(0.05)  # the subscription is on its way; what was sent before it would be lost
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def outcomes(outcome: str) -> float:
    labels = {"consumer": DESTINATION, "outcome": outcome}
    return REGISTRY.get_sample_value("keyferry_bus_consumed_total", labels) or 0.0


async def test_messages_come_in_order(bus: Bus, admin: Admin) -> None:
    """What is told is heard once, in the order it was told."""
    ear, told = Ear(), [b"%d" % number for number in range(100)]
    async with listening(bus, ear):
        for payload in told:
            await admin.client.publish(SUBJECT, payload)
        await ear.has(*told)


async def test_other_subjects(bus: Bus, admin: Admin) -> None:
    """What is told to others is not heard."""
    ear = Ear()
    async with listening(bus, ear):
        await admin.client.publish("keyferry.refresh.node_2", b"theirs")
        await admin.client.publish(SUBJECT, b"ours")
        await ear.has(b"ours")


async def test_nothing_that_is_heard_ends_it(bus: Bus, admin: Admin, caplog: pytest.LogCaptureFixture) -> None:
    """A message that the handler refuses or fails on is counted and logged, without its text, and the next is heard."""
    ear, before = Ear(), {name: outcomes(name) for name in ("UntrustedMessage", "defect", "done")}
    with caplog.at_level(logging.WARNING):
        async with listening(bus, ear):
            for payload in (b"forged", b"defect", b"good"):
                await admin.client.publish(SUBJECT, payload)
            await ear.has(b"forged", b"defect", b"good")

    assert {name: outcomes(name) - count for name, count in before.items()} == dict.fromkeys(before, 1.0)
    assert "ValueError at test_listen.py" in caplog.text
    assert "tiger" not in caplog.text


async def test_headers_that_are_none(bus: Bus, admin: Admin) -> None:
    """A message whose trace is nonsense is heard like any other."""
    ear = Ear()
    async with listening(bus, ear):
        await admin.client.publish(SUBJECT, b"odd", headers={"traceparent": "00-zz-\\-1"})
        await ear.has(b"odd")


async def test_nothing_is_heard_afterwards(bus: Bus, admin: Admin) -> None:
    """Who has stopped to listen hears nothing, and the subscription is gone at the server."""
    ear = Ear()
    async with listening(bus, ear):
        await admin.client.publish(SUBJECT, b"during")
        await ear.has(b"during")
    await admin.client.publish(SUBJECT, b"after")
    await admin.client.flush()
    await asyncio.sleep(0.05)

    assert ear.heard == [b"during"]


@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "killed"])
async def test_a_restart_of_nats(tmp_path: Path, crash: bool) -> None:
    """After the server was away the listener hears again, without anything being done."""
    with nats_server(tmp_path / "nats") as own:
        ear = Ear()
        async with connect(own.url, name="node-driver") as bus, listening(bus, ear):
            await told(own, b"before")
            await ear.has(b"before")
            await asyncio.to_thread(own.process.kill if crash else own.process.stop)
            await asyncio.to_thread(own.process.start)
            async with asyncio.timeout(20):
                while b"after" not in ear.heard:
                    await told(own, b"after")
                    await asyncio.sleep(0.1)

            assert set(ear.heard) == {b"before", b"after"}


async def told(server: Nats, payload: bytes) -> None:
    """Tell it on a connection of its own."""
    async with connect(server.url, name="rotator") as bus:
        await bus.reply(SUBJECT, payload)


async def test_started_while_nats_is_away(tmp_path: Path) -> None:
    """Listening that begins while the connection is lost hears once it is back."""
    with nats_server(tmp_path / "nats") as own:
        async with connect(own.url, name="node-driver") as bus:
            await asyncio.to_thread(own.process.kill)
            async with asyncio.timeout(20):
                while bus.is_connected:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.01)
            ear = Ear()
            async with listening(bus, ear):
                await asyncio.to_thread(own.process.start)
                async with asyncio.timeout(20):
                    while not ear.heard:
                        await told(own, b"hint")
                        await asyncio.sleep(0.1)
