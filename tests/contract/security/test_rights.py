"""Each identity tries every subject of all the others, the server's API and wildcards: it may do what is its own."""

from __future__ import annotations

import asyncio
import re

import pytest

from keyferry.bus.identity import Access
from keyferry.bus.permissions import CALLOUT, SERVICES, Rights, node_rights
from keyferry.testing.nats import Nats

from .conftest import Cluster, Plain, access_of, plain

IDENTITIES = {**SERVICES, "callout": CALLOUT, "node-a": node_rights("node-a"), "node-b": node_rights("node-b")}
STREAMS = ("FETCH", "VOLUMES", "CHANGES", "SYNC", "DEAD", "OTHER")
API = (
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    "$JS.API.ACCOUNT.PURGE.KEYFERRY",
    "$JS.API.SERVER.REMOVE",
    "$SYS.REQ.USER.AUTH",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.ACCOUNT.PING.CONNZ",
    "$SYS.REQ.USER.INFO",
    *(
        f"$JS.API.{verb}.{stream}"
        for stream in STREAMS
        for verb in (
            *("STREAM.INFO", "STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "STREAM.PURGE", "STREAM.MSG.GET"),
            *("STREAM.MSG.DELETE", "STREAM.SNAPSHOT", "STREAM.RESTORE", "DIRECT.GET", "CONSUMER.NAMES"),
            *("CONSUMER.LIST", "CONSUMER.CREATE"),
        )
    ),
    *(
        f"$JS.API.{verb}"
        for verb in (
            "CONSUMER.CREATE.FETCH.spy",
            "CONSUMER.CREATE.FETCH.spy.keyferry.fetch.>",
            "CONSUMER.DURABLE.CREATE.FETCH.fetch-mount",
            "CONSUMER.DELETE.FETCH.fetch-mount",
            "CONSUMER.INFO.FETCH.fetch-mount",
            "CONSUMER.PAUSE.FETCH.fetch-mount",
            "DIRECT.GET.SYNC.keyferry.sync.default.key",
            "DIRECT.GET.VOLUMES.keyferry.volume.node-b.v",
        )
    ),
)
WILDCARDS = (
    *(">", "*", "*.>", "*.*", "*.*.*", "keyferry.>", "keyferry.*.>", "keyferry.fetch.>", "keyferry.*.*.*"),
    *("keyferry.refresh.*", "keyferry.volume.>", "keyferry.sync.>", "keyferry.dead.>", "keyferry.change.*"),
    *("_INBOX.>", "_INBOX.*.>", "_INBOX.node.>", "_INBOX.node.*.>", "_INBOX.node.*.*", "_INBOX.*.*.*"),
    *("$JS.>", "$JS.API.>", "$JS.ACK.>", "$JS.EVENT.>", "$JS.EVENT.ADVISORY.>", "$SYS.>", "$SYS.ACCOUNT.>"),
    *("$KV.>", "$MQTT.>", "$SRV.>"),
)


def covers(pattern: str, subject: str) -> bool:
    """Whether all that a subject (which may have wildcards) stands for is in a pattern."""
    wanted, told = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return len(told) > index
        if index >= len(told) or told[index] == ">" or (token not in ("*", told[index])):
            return False
    return len(wanted) == len(told)


def concrete(pattern: str) -> str:
    """One subject that a pattern stands for."""
    return ".".join(
        {"*": "x", ">": "x.1.2"}.get(token, token) for token in pattern.split(" ", maxsplit=1)[0].split(".")
    )


NAMED = {each.split(" ")[0] for rights in IDENTITIES.values() for each in rights.publish + rights.subscribe}
PUBLISHED = sorted({concrete(each) for each in NAMED} | set(API))
SUBSCRIBED = sorted(NAMED | set(PUBLISHED) | set(WILDCARDS))
LAST = "nobody.may.use.this"


def allowed(patterns: tuple[str, ...], subject: str) -> bool:
    """Whether one of an allow-list's entries covers a subject; one that names a queue is for that queue alone."""
    return any(covers(each, subject) for each in patterns if " " not in each)


async def access(name: str, cluster: Cluster) -> Access:
    """How an identity connects."""
    return await cluster.node(name) if name.startswith("node-") else access_of(cluster.made, name)


async def refused(client: Plain, what: str) -> set[str]:
    """The subjects that the server has complained of, once it has of the last one, which nobody may use."""
    async with asyncio.timeout(10):
        while not any(LAST in each for each in client.complaints):  # noqa: ASYNC110 - a callback of the library's
            await asyncio.sleep(0.01)
    found = (re.search(rf'permissions violation for {what} to "([^"]+)"', each) for each in client.complaints)
    return {match[1] for match in found if match} - {LAST}


async def publishing(server: Nats, identity: Access) -> set[str]:
    """Let an identity publish everything; returns what it is refused."""
    async with plain(server.url, identity) as client:
        for subject in (*PUBLISHED, LAST):
            await client.publish(subject, b"")
        return await refused(client, "publish")


async def subscribing(server: Nats, identity: Access, queue: str = "") -> set[str]:
    """Let an identity subscribe to everything; returns what it is refused."""
    async with plain(server.url, identity) as client:
        for subject in (*SUBSCRIBED, LAST):
            await client.subscribe(subject, queue)
        return await refused(client, "subscription")


@pytest.mark.parametrize("name", IDENTITIES)
async def test_publishing(server: Nats, admitted: Cluster, name: str) -> None:
    """An identity is refused every subject to publish to that its allow-list does not have, and no other."""
    found = await publishing(server, await access(name, admitted))
    assert found == {each.lower() for each in PUBLISHED if not allowed(IDENTITIES[name].publish, each)}


@pytest.mark.parametrize("queue", ["", "spies"])
@pytest.mark.parametrize("name", IDENTITIES)
async def test_subscribing(server: Nats, admitted: Cluster, name: str, queue: str) -> None:
    """The same for what it may hear, wildcards among it; a queue group opens nothing that is closed without one."""
    found = await subscribing(server, await access(name, admitted), queue)
    assert found == {each.lower() for each in SUBSCRIBED if not allowed(IDENTITIES[name].subscribe, each)}


@pytest.mark.parametrize(("one", "other"), [(a, b) for a in IDENTITIES for b in IDENTITIES if a != b])
def test_nothing_in_common(one: str, other: str) -> None:
    """Nobody may hear what another hears."""
    for pattern in IDENTITIES[one].subscribe:
        assert not any(covers(pattern.split(" ")[0], concrete(each)) for each in IDENTITIES[other].subscribe)


@pytest.mark.parametrize("rights", IDENTITIES.values(), ids=IDENTITIES)
def test_no_open_ends(rights: Rights) -> None:
    """No entry begins with a wildcard, and each for the server's API names its stream."""
    for each in rights.publish + rights.subscribe:
        assert each.split(".")[0] not in ("*", ">")
        assert re.match(r"\$JS\.API\.[A-Z.]+\.(FETCH|VOLUMES|CHANGES|SYNC|DEAD)(\.|$)", each) or "JS.API" not in each
