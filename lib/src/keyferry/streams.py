"""Creates the streams and consumers, or brings them up to date: ``python -m keyferry.streams``.

One idempotent step, run before the services and at every upgrade; the data plane has no right to create anything.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass

import nats.errors
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from keyferry.bus import Consumer
from keyferry.bus.client import Connection
from keyferry.bus.identity import BusSettings
from keyferry.bus.requests import AT_ONCE
from keyferry.settings import SettingsError, count, load, setting, size
from keyferry.subjects import END_SUBJECT, service_inbox

MOUNTS = Consumer("FETCH", "fetch-mount", "keyferry.fetch.mount.*", "keyferry.fetch.mount")
REFRESHES = Consumer("FETCH", "fetch-refresh", "keyferry.fetch.refresh.*", "keyferry.fetch.refresh")
# A content that is being asked for has its end told again each second, and a backend may take half a minute; but the
# stream forgets after three.
ENDINGS = Consumer("FETCH", "fetch-end", END_SUBJECT, END_SUBJECT, max_deliveries=35)
# What these tell is a state that must be known sooner or later: they outlast an hour of a store or an API being away.
SCHEDULE_VOLUMES = Consumer(
    "VOLUMES", "rotator-volumes", "keyferry.volume.>", "keyferry.volume", max_deliveries=200, begins_traces=False
)
SCHEDULE_CHANGES = Consumer("CHANGES", "rotator-changes", "keyferry.change.*", "keyferry.change", max_deliveries=200)
SYNC_VOLUMES = Consumer("VOLUMES", "syncer-volumes", "keyferry.volume.>", "keyferry.volume", max_deliveries=200)
SYNC_CONTENTS = Consumer("SYNC", "syncer-contents", "keyferry.sync.>", "keyferry.sync", max_deliveries=200)
CONSUMERS = (MOUNTS, REFRESHES, ENDINGS, SCHEDULE_VOLUMES, SCHEDULE_CHANGES, SYNC_VOLUMES, SYNC_CONTENTS)

_MINUTE, _DAY = 60.0, 86400.0
_LARGEST_REQUEST = 2 * 1024 * 1024  # bytes; a Secret that a volume names, of one MiB at most, and the pod's tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(BusSettings):
    """What the step needs to know."""

    replicas: int = setting(
        "KEYFERRY_STREAM_REPLICAS",
        "copies of each stream; 3 on a cluster of three servers or more",
        default=1,
        parse=count,
    )
    max_requests: int = setting(
        "KEYFERRY_FETCH_MAX_MESSAGES",
        "requests that may wait at once; beyond, kubelet is told to back off",
        default=20000,
        parse=count,
    )
    max_requests_of_one: int = setting(
        "KEYFERRY_FETCH_MAX_MESSAGES_PER_NODE",
        "mounts of one node among them, and as many refreshes; fewer than KEYFERRY_MOUNT_CONCURRENCY, so that no node "
        "can have all places of a fetcher",
        default=2 * AT_ONCE,
        parse=count,
    )
    volumes_bytes: int = setting(
        "KEYFERRY_VOLUMES_MAX_BYTES",
        "what the last words on all volumes may take of the disk of NATS, some 500 bytes each; beyond, new volumes are "
        "not told of, and requests still have their room",
        default=512 * 1024**2,
        parse=size,
    )


def streams(settings: Settings) -> list[StreamConfig]:
    """Every stream, as it should be."""
    return [
        StreamConfig(
            name="FETCH",
            description="requests of nodes, each for one fetcher",
            subjects=["keyferry.fetch.>"],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,  # a single server forgets memory streams, definition and all, when it restarts
            discard=DiscardPolicy.NEW,  # a full queue is told to the node; nobody's request is dropped for it
            max_msgs=settings.max_requests,
            max_msgs_per_subject=settings.max_requests_of_one,  # a node has a subject for each lane, and no other's
            discard_new_per_subject=True,
            max_msg_size=_LARGEST_REQUEST,
            max_age=3 * _MINUTE,  # kubelet gives up after two; a request's own deadline is stricter
            duplicate_window=2 * _MINUTE,
            num_replicas=settings.replicas,
        ),
        StreamConfig(
            name="VOLUMES",
            description="the last word on each volume",
            subjects=["keyferry.volume.>"],
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,  # a node that makes up volumes takes none of the words on those that there are
            max_msgs_per_subject=1,
            max_bytes=settings.volumes_bytes,
            allow_msg_ttl=True,
            allow_direct=True,  # a rotator that has lost its schedule reads it all again, without making a consumer
            max_age=2 * _DAY,  # behind the per-message TTLs, for messages of a node that set none
            num_replicas=settings.replicas,
        ),
        StreamConfig(
            name="CHANGES",
            description="what changed in a backend or in the cluster, each for one rotator",
            subjects=["keyferry.change.*"],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,  # polling is the net behind a lost change
            max_msgs=100_000,
            max_bytes=256 * 1024 * 1024,
            max_age=60 * _MINUTE,
            duplicate_window=10 * _MINUTE,
            num_replicas=settings.replicas,
        ),
        StreamConfig(
            name="SYNC",
            description="the contents of classes with secretObjects, sealed to the syncers",
            subjects=["keyferry.sync.>"],
            storage=StorageType.FILE,
            max_msgs_per_subject=1,
            allow_msg_ttl=True,
            allow_direct=True,  # a syncer reads what it needs when it needs it, and keeps no content
            max_age=2 * _DAY,  # behind the per-message TTLs
            num_replicas=settings.replicas,
        ),
        StreamConfig(
            name="DEAD",
            description="what could not be processed, and why",
            subjects=["keyferry.dead.>"],
            storage=StorageType.FILE,
            max_msgs=1000,
            max_bytes=64 * 1024 * 1024,
            max_age=7 * _DAY,
            num_replicas=settings.replicas,
        ),
    ]


async def ensure(settings: Settings) -> None:
    """Create what is missing and update what differs.

    Raises:
        nats.errors.Error, OSError: NATS cannot be reached or refuses.
    """
    client = Connection()
    await client.open(settings.nats_url, access=settings.access, name="streams", inbox_prefix=service_inbox("streams"))
    try:
        context = client.jetstream()
        for config in streams(settings):
            await _ensure_stream(context, config)
        for consumer in CONSUMERS:
            await context.add_consumer(
                consumer.stream,
                ConsumerConfig(
                    name=consumer.durable,  # so that what it may take is part of the subject that makes it
                    durable_name=consumer.durable,
                    filter_subject=consumer.subject,
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=consumer.ack_wait,
                    max_ack_pending=settings.max_requests,
                    max_deliver=-1,  # the bus counts, since the server would leave an exhausted message in the queue
                    max_waiting=512,
                ),
            )
    finally:
        await client.close()


async def _ensure_stream(context: JetStreamContext, config: StreamConfig) -> None:
    try:
        await context.stream_info(str(config.name))
    except NotFoundError:
        await context.add_stream(config)
    else:
        await context.update_stream(config)


def main() -> int:
    """Run the step; the exit status is 0, or 1 with the reason on standard error."""
    try:
        asyncio.run(ensure(load(Settings, os.environ)))
    except (SettingsError, OSError, nats.errors.Error, JetStreamError) as error:
        sys.stderr.write(f"keyferry.streams: {type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
