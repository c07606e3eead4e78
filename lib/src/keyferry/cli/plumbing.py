"""What a mount needs on the way: streams and consumers on NATS, fetchers that take requests, Redis, keys in step."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from keyferry.bus import Bus
from keyferry.cli.findings import OK, Finding, ok, unknown, warning, wrong
from keyferry.cli.jetstream import STREAMS, ConsumerState, JetStream
from keyferry.cli.lacking import Lacking
from keyferry.cli.output import span
from keyferry.cli.reach import Reach
from keyferry.cli.schedule import is_built, overdue
from keyferry.errors import KeyferryError, UntrustedMessage
from keyferry.explain.words import read_words
from keyferry.keys import PUBLIC, KeyFile, KeyFileError, PublicKeys
from keyferry.kube import Kube, object_path
from keyferry.messages import SignedReply, parse
from keyferry.proto.keyferry.v1 import bus_pb2 as pb
from keyferry.streams import CONSUMERS

CONFIG_MAP = "keyferry-public-keys"
_STREAMS_FIX = "run `python -m keyferry.streams` against this NATS (the chart's streams job)"
_LAG = 100  # requests that wait; a fetcher takes hundreds a second
_LATE = 30.0  # seconds
_LOOK_AT = 5  # contents of SYNC; each may have megabytes


async def of_streams(stream: JetStream) -> list[Finding]:
    """Whether what the services expect on NATS is there, and who works on it."""
    try:
        missing = [f"stream {name}" for name in STREAMS if await stream.stream(name) is None]
        states = {(each.stream, each.name): each for each in await stream.consumers()}
    except KeyferryError as error:
        return [unknown("streams", error.message, "use an identity with an operator's rights (docs/cli.md)")]
    missing += [f"consumer {each.durable}" for each in CONSUMERS if (each.stream, each.durable) not in states]
    if missing:
        return [wrong("streams", f"missing: {', '.join(missing)}", _STREAMS_FIX)]
    return [ok("streams", f"{len(STREAMS)} streams, {len(states)} consumers"), *of_consumers(list(states.values()))]


def of_consumers(states: Sequence[ConsumerState]) -> list[Finding]:
    """Whether somebody takes what each consumer has; ends of contents come only with leases."""
    return [
        _of_takers(f"{service}s", service, [each for each in states if each.name.startswith(prefix)])
        for service, prefix in (("fetcher", "fetch-"), ("rotator", "rotator-"), ("syncer", "syncer-"))
    ]


def _of_takers(check: str, service: str, states: Sequence[ConsumerState]) -> Finding:
    waiting, in_work = sum(each.waiting for each in states), sum(each.in_work for each in states)
    lag = f"{waiting} messages wait, {in_work} are in work"
    if not any(each.askers for each in states):
        missing = warning if service == "syncer" else wrong  # who wants no Kubernetes Secrets runs none
        return missing(
            check, f"nobody asks for work; {lag}", f"check the {service}s: that one runs, and its /readyz says ok"
        )
    if waiting > _LAG:
        return warning(check, f"they are behind: {lag}", f"run more {service}s; `keyferry top` shows the lag")
    return ok(check, f"they answer; {lag}")


async def of_node(bus: Bus, node: str) -> Finding:
    """Whether the node's driver has told of any volume."""
    try:
        words = await read_words(bus, node=node)
    except KeyferryError as error:
        return unknown("node-bus", error.message)
    if not words.volumes:
        return warning(
            "node-bus", f"node {node} has told of no volume yet", f"if it has some: check the node-driver on {node}"
        )
    newest = max(each.told_ms for each in words.volumes)
    ago = span(time.time() - newest / 1000)
    return ok("node-bus", f"node {node} has told of {len(words.volumes)} volumes, last {ago} ago")


async def of_redis(reach: Reach) -> Finding:
    """Whether Redis answers and the schedule in it is whole and worked off."""
    if not reach.redis_url:
        return unknown("redis", "no URL is set: KEYFERRY_REDIS_URL or --redis-url", "set it to what the rotators have")
    try:
        async with reach.store() as store:
            built, (count, late) = await is_built(store), await overdue(store, int(time.time() * 1000))
    except (Lacking, KeyferryError) as error:
        text, _, fix = str(error).partition("\n")
        return wrong("redis", text, fix.strip() or "check Redis: mounts go on without it, the schedule does not")
    if not built:
        return wrong("redis", "the schedule in it is not whole", "check that a rotator runs: it makes it from VOLUMES")
    if late > _LATE:
        return wrong(
            "redis", f"{count} contents are due, for up to {span(late)}", "check that rotators run and keep up"
        )
    return ok("redis", "it answers, and the schedule in it is whole")


async def public_keys(kube: Kube, keys_dir: Path | None, namespace: str) -> tuple[PublicKeys | None, Finding]:
    """The public keys of a folder or of the cluster, and what is to be said of them."""
    try:
        cluster = await _of_cluster(kube, namespace)
        local = KeyFile.public(keys_dir).keys if keys_dir else None
    except KeyferryError as error:
        return None, unknown("keys", error.message, "say --keys-dir, with a folder that has the cluster's public.json")
    except KeyFileError as error:
        return None, wrong("keys", str(error), "say --keys-dir, with a folder that has the cluster's public.json")
    found = local or cluster
    if found is None:
        text = f"there is no ConfigMap {namespace}/{CONFIG_MAP}, and no --keys-dir was given"
        return None, unknown("keys", text, "say --system-namespace or --keys-dir")
    if local is not None and cluster is not None and ids(local) != ids(cluster):
        fix = "`keyferry keys manifests` prints what belongs into the cluster"
        return found, wrong("keys", f"--keys-dir has other keys than ConfigMap {namespace}/{CONFIG_MAP}", fix)
    return found, ok("keys", f"fetchers' keys: {', '.join(sorted(key for key, _, _ in found.fetcher.entries))}")


async def _of_cluster(kube: Kube, namespace: str) -> PublicKeys | None:
    path = object_path("/api/v1/configmaps", namespace, CONFIG_MAP)
    told = await kube.get(path) if path else None
    text = ((told or {}).get("data") or {}).get(PUBLIC)
    if text is None:
        return None
    try:
        return PublicKeys.parse(json.loads(text))
    except (ValueError, KeyError, TypeError, UntrustedMessage) as error:
        raise KeyFileError(f"ConfigMap {namespace}/{CONFIG_MAP} holds no keys ({type(error).__name__})") from None


def ids(keys: PublicKeys) -> set[str]:
    """The ids of all keys."""
    return {key for each in (keys.fetcher, keys.signing, keys.syncer) for key, _, _ in each.entries}


async def of_used_keys(bus: Bus, keys: PublicKeys) -> Finding:
    """Whether fetchers sign and seal with keys that everybody knows; contents for the syncers show it."""
    used: set[str] = set()
    looked_at = 0
    try:
        async for stored in bus.replay("SYNC", "keyferry.sync.>"):
            signed = SignedReply.from_bytes(stored.payload)
            used |= {signed.key_id, parse(pb.SecretsFetched, signed.body).files.key_id}
            looked_at += 1
            if looked_at == _LOOK_AT:
                break
    except (KeyferryError, UntrustedMessage) as error:
        return unknown("keys-used", error.message)
    if not used:
        return unknown("keys-used", "no content is handed to the syncers, which would show it", "--fetch shows it, too")
    foreign = sorted(used - ids(keys))
    if foreign:
        fix = "give fetchers, syncers and nodes the files of one `keyferry keys` folder"
        return wrong("keys-used", f"fetchers use {', '.join(foreign)}, which public.json does not have", fix)
    return ok("keys-used", f"fetchers use {', '.join(sorted(used))}")


def is_ok(found: Sequence[Finding], check: str) -> bool:
    """Whether a check was made and went well."""
    return any(each.check == check and each.state == OK for each in found)
