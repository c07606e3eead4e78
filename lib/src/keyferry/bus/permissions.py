"""What each identity may do on the bus: allow-lists, nothing else, and all of them on one screen.

The server's configuration (`keyferry.identities`), the rights that fetchers give to nodes (`fetcher.callout`), the
negative tests and docs/security.md follow from this. There are no deny rules: servers have let queue subscriptions and
overlapping wildcards past them (GHSA-g33f-6538-grxh and its kin).
"""

from __future__ import annotations

from dataclasses import dataclass

from keyferry.bus.pull import Consumer
from keyferry.resources import SYNCER_NODE
from keyferry.streams import (
    CONSUMERS,
    ENDINGS,
    MOUNTS,
    REFRESHES,
    SCHEDULE_CHANGES,
    SCHEDULE_VOLUMES,
    SYNC_CONTENTS,
    SYNC_VOLUMES,
)
from keyferry.subjects import END_SUBJECT, inbox_prefix, node_token, refresh_subject, service_inbox

ACCOUNT = "KEYFERRY"
"""Where everything lives."""

CALLOUT_ACCOUNT = "CALLOUT"
"""Where the server asks fetchers who a node is; nothing else is there to be heard or said."""

CALLOUT_SUBJECT, CALLOUT_QUEUE = "$SYS.REQ.USER.AUTH", "fetchers"

_STREAMS = sorted({consumer.stream for consumer in CONSUMERS} | {"DEAD"})


@dataclass(frozen=True, slots=True)
class Rights:
    """Subjects that may be published to, and such as may be subscribed to; all others are refused."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def _taking(*consumers: Consumer) -> tuple[str, ...]:
    """To take and settle messages of consumers that exist, and to bury what cannot be processed."""
    names = [(consumer.stream, consumer.durable) for consumer in consumers]
    return (
        *(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}" for stream, durable in names),
        *(f"$JS.ACK.{stream}.{durable}.>" for stream, durable in names),
        *(f"$JS.ACK.*.*.{stream}.{durable}.>" for stream, durable in names),  # with domain and account (NATS ADR-15)
        *(f"keyferry.dead.{stream}.{durable}" for stream, durable in names),
    )


SERVICES = {
    "fetcher": Rights(
        (*_taking(MOUNTS, REFRESHES, ENDINGS), f"{inbox_prefix('*')}.*", "keyferry.sync.*.*"),
        (f"{service_inbox('fetcher')}.>",),
    ),
    "rotator": Rights(
        (
            *_taking(SCHEDULE_VOLUMES, SCHEDULE_CHANGES),
            "$JS.API.STREAM.INFO.VOLUMES",
            "$JS.API.DIRECT.GET.VOLUMES",
            "keyferry.refresh.*",
            "keyferry.change.*",
            END_SUBJECT,
        ),
        (f"{service_inbox('rotator')}.>",),
    ),
    "syncer": Rights(
        (
            *_taking(SYNC_VOLUMES, SYNC_CONTENTS),
            "$JS.API.DIRECT.GET.VOLUMES",
            "$JS.API.DIRECT.GET.SYNC.keyferry.sync.*.*",
            "keyferry.change.kubernetes",
            refresh_subject(SYNCER_NODE),
        ),
        (f"{service_inbox('syncer')}.>", f"{inbox_prefix(SYNCER_NODE)}.>"),
    ),
    "streams": Rights(  # the step that makes streams and consumers, and ends
        (
            *(f"$JS.API.STREAM.{verb}.{stream}" for stream in _STREAMS for verb in ("INFO", "CREATE", "UPDATE")),
            *(f"$JS.API.CONSUMER.CREATE.{each.stream}.{each.durable}.{each.subject}" for each in CONSUMERS),
        ),
        (f"{service_inbox('streams')}.>",),
    ),
    "cli": Rights(  # whoever looks, with the command line; it changes nothing
        (
            *(f"$JS.API.STREAM.INFO.{stream}" for stream in _STREAMS),
            *(f"$JS.API.CONSUMER.INFO.{each.stream}.{each.durable}" for each in CONSUMERS),
            "$JS.API.DIRECT.GET.VOLUMES",
            "$JS.API.DIRECT.GET.VOLUMES.keyferry.volume.*.*",
            "$JS.API.DIRECT.GET.SYNC",
            "$JS.API.STREAM.MSG.GET.DEAD",
        ),
        (f"{service_inbox('cli')}.>",),
    ),
    "mender": Rights(  # `keyferry dead-letters replay` and `drop`: to replay a letter is to speak as whoever wrote it
        (
            *(f"$JS.API.STREAM.MSG.{verb}.DEAD" for verb in ("GET", "DELETE")),
            "$JS.API.DIRECT.GET.VOLUMES.keyferry.volume.*.*",
            "$JS.API.DIRECT.GET.SYNC.keyferry.sync.*.*",
            *(f"keyferry.{kind}" for kind in ("volume.*.*", "change.*", "sync.*.*")),
            END_SUBJECT,
        ),
        (f"{service_inbox('mender')}.>",),
    ),
}
"""The identities with a key of their own in the server's configuration."""

CALLOUT = Rights(("$SYS._INBOX.*.*",), (f"{CALLOUT_SUBJECT} {CALLOUT_QUEUE}",))
"""Of the fetchers' second connection, in the account `CALLOUT_ACCOUNT`."""


def node_rights(node: str) -> Rights:
    """Of a node-driver on this node, and of nobody else.

    Args:
        node: Its name; the caller has made sure that it is one (`keyferry.subjects.is_token` of its token).
    """
    token = node_token(node)
    return Rights(
        (f"keyferry.fetch.mount.{token}", f"keyferry.fetch.refresh.{token}", f"keyferry.volume.{token}.*"),
        (f"keyferry.refresh.{token}", f"{inbox_prefix(node)}.>"),
    )
