"""What the command line must be allowed on NATS and in Redis; docs/cli.md shows it, a contract test lives by it."""

from __future__ import annotations

from keyferry.bus.permissions import Rights
from keyferry.cli.jetstream import STREAMS
from keyferry.streams import CONSUMERS
from keyferry.subjects import END_SUBJECT, inbox_prefix, service_inbox

LOOK = Rights(
    (
        *(f"$JS.API.STREAM.INFO.{stream}" for stream in STREAMS),
        *(f"$JS.API.CONSUMER.INFO.{each.stream}.{each.durable}" for each in CONSUMERS),
        "$JS.API.DIRECT.GET.VOLUMES",
        "$JS.API.DIRECT.GET.VOLUMES.keyferry.volume.*.*",
        "$JS.API.DIRECT.GET.SYNC",
        "$JS.API.STREAM.MSG.GET.DEAD",
    ),
    (f"{service_inbox('cli')}.>",),
)
"""Everything that only looks."""

MEND = Rights(
    (
        "$JS.API.STREAM.MSG.DELETE.DEAD",
        "$JS.API.DIRECT.GET.SYNC.keyferry.sync.*.*",
        *(f"keyferry.{kind}" for kind in ("volume.*.*", "change.*", "sync.*.*")),
        END_SUBJECT,
    ),
    (),
)
"""``dead-letters replay`` and ``drop``, beside `LOOK`."""

FETCH = Rights(("keyferry.fetch.mount.*",), (f"{inbox_prefix('*')}.>",))
"""``doctor --fetch``, beside `LOOK`: to speak as any node. It is an administrator's."""

STORE = (
    ("keyferry:rotation:*", "keyferry:backend:*"),
    ("get", "hget", "hgetall", "hlen", "hscan", "zscore", "zcount", "zrange", "scan", "pttl"),
)
"""Keys and commands in Redis, beside those that connecting takes (`keyferry.store_users`)."""
