import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from nats.js.api import AckPolicy, DiscardPolicy, RetentionPolicy

from keyferry.settings import load
from keyferry.streams import ENDINGS, MOUNTS, REFRESHES, Settings, ensure, streams
from keyferry.testing.nats import Nats, nats_server
from keyferry.testing.ports import free_port

from .conftest import Admin, administering


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Nats]:
    """A server without streams."""
    with nats_server(tmp_path) as running:
        yield running


async def test_the_step_makes_what_the_design_says(admin: Admin) -> None:
    """The request queue refuses when full, keeps nothing that was acknowledged, and has a consumer for each lane."""
    config = (await admin.context.stream_info("FETCH")).config
    lanes = {info.name: info.config for info in await admin.context.consumers_info("FETCH")}

    assert (config.retention, config.discard) == (RetentionPolicy.WORK_QUEUE, DiscardPolicy.NEW)
    assert {name: lane.filter_subject for name, lane in lanes.items()} == {
        MOUNTS.durable: MOUNTS.subject,
        REFRESHES.durable: REFRESHES.subject,
        ENDINGS.durable: ENDINGS.subject,
    }
    assert {(lane.ack_policy, lane.ack_wait, lane.max_deliver) for lane in lanes.values()} == {
        (AckPolicy.EXPLICIT, MOUNTS.ack_wait, -1)
    }


async def test_the_step_can_be_repeated(own: Nats) -> None:
    """A second run changes nothing: not the messages, not what consumers have been given."""
    settings = load(Settings, {"KEYFERRY_NATS_URL": own.url})
    async with administering(own.url) as admin:
        await admin.context.publish("keyferry.fetch.mount.n", b"waiting")
        before = [info.config for info in await admin.context.streams_info()]
        await ensure(settings)

        assert [info.config for info in await admin.context.streams_info()] == before
        assert await admin.waiting() == 1


async def test_the_step_brings_up_to_date(own: Nats) -> None:
    """An upgrade or another setting changes streams and consumers in place, with what waits in them."""
    async with administering(own.url) as admin:
        await admin.context.publish("keyferry.fetch.mount.n", b"waiting")
        await ensure(replace(load(Settings, {"KEYFERRY_NATS_URL": own.url}), max_requests=7))

        config = (await admin.context.stream_info("FETCH")).config
        lane = (await admin.context.consumer_info("FETCH", MOUNTS.durable)).config
        assert (config.max_msgs, lane.max_ack_pending) == (7, 7)
        assert await admin.waiting() == 1


def test_nothing_grows_for_ever() -> None:
    """Every stream has an age at which messages go, and a bound on their number, in all or for each subject."""
    for config in streams(load(Settings, {})):
        assert config.max_age
        assert config.max_msgs or config.max_msgs_per_subject


def test_copies_are_a_setting() -> None:
    """On a cluster of three every stream has three."""
    configs = streams(load(Settings, {"KEYFERRY_STREAM_REPLICAS": "3"}))

    assert {config.num_replicas for config in configs} == {3}


def run(**environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "keyferry.streams"], env=environ, capture_output=True, text=True, check=False, timeout=60
    )


async def test_the_command(own: Nats) -> None:
    """`python -m keyferry.streams` is the step that error messages name; it is quiet when all is well."""
    ran = run(KEYFERRY_NATS_URL=own.url)

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    async with administering(own.url) as admin:
        assert sorted(str(info.config.name) for info in await admin.context.streams_info()) == sorted(
            str(config.name) for config in streams(load(Settings, {}))
        )


def test_the_command_says_what_is_wrong() -> None:
    """A setting that cannot work, or a server that is away: exit status 1 and a line of ours, no traceback."""
    wrong = run(KEYFERRY_STREAM_REPLICAS="many")
    away = run(KEYFERRY_NATS_URL=f"nats://127.0.0.1:{free_port()}")

    assert (wrong.returncode, away.returncode) == (1, 1)
    assert "KEYFERRY_STREAM_REPLICAS" in wrong.stderr
    assert away.stderr.splitlines()[-1].startswith("keyferry.streams: ConnectionRefusedError: ")
    assert "Traceback" not in wrong.stderr + away.stderr
