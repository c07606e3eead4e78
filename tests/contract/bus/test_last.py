"""A stream's last word on a subject, read without a consumer."""

from pathlib import Path

import pytest

from keyferry.bus import Bus, connect
from keyferry.errors import BusUnavailable
from keyferry.testing.nats import nats_server

from .conftest import Admin

SUBJECT = "keyferry.sync.shop.k1"


async def test_the_last_word_is_read(admin: Admin, bus: Bus) -> None:
    """Of several messages the newest, with its subject; another subject's are its own."""
    for payload in (b"one", b"two"):
        await admin.context.publish(SUBJECT, payload)
    await admin.context.publish("keyferry.sync.shop.k2", b"three")

    found = await bus.last("SYNC", SUBJECT)

    assert found is not None
    assert (found.subject, found.payload) == (SUBJECT, b"two")


async def test_no_word_is_none(admin: Admin, bus: Bus) -> None:  # noqa: ARG001 - the streams must be there
    """What was never said, or has expired, is no error."""
    assert await bus.last("SYNC", SUBJECT) is None


async def test_no_stream_is_unavailable(tmp_path: Path) -> None:
    """Whoever has forgotten the step that makes the streams is told."""
    with nats_server(tmp_path) as server:
        async with connect(server.url, name="syncer") as bus:
            with pytest.raises(BusUnavailable):
                await bus.last("SYNC", SUBJECT)
