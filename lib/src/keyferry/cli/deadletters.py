"""``keyferry dead-letters``: lists, replays and drops what could not be processed. Payloads are never shown."""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from dataclasses import asdict, dataclass

from keyferry.bus import Bus
from keyferry.changes import BackendChanged, EndContent, RefreshRequested, change_event
from keyferry.cli.clock import iso
from keyferry.cli.jetstream import JetStream, Letter
from keyferry.cli.lacking import Lacking
from keyferry.cli.output import Grid, Output, size, span
from keyferry.cli.reach import LOOKER, MENDER, Reach
from keyferry.errors import UntrustedMessage
from keyferry.events import RefreshFailed, VolumePublished, VolumeUnpublished, volume_event
from keyferry.messages import FetchRequest
from keyferry.subjects import END_SUBJECT

_LAST_WORDS = {"keyferry.volume.": "VOLUMES", "keyferry.sync.": "SYNC"}
"""Streams that keep the last message of a subject: an older one must not come back over it."""

_TTL = {"VOLUMES": 24 * 3600.0, "SYNC": 3600.0}
"""Seconds that a replayed word lives; the nodes repeat theirs every six hours, fetchers theirs at each fetch."""


_DONE = {"replay": "replayed", "drop": "dropped"}


@dataclass(frozen=True, slots=True)
class Row:
    """A dead letter, in the shape of ``--json``."""

    sequence: int
    subject: str
    consumer: str
    error: str
    buried_at: str | None
    age_seconds: float
    bytes: int
    about: str


async def run(asked: argparse.Namespace) -> int:
    """Do what was asked.

    Raises:
        Lacking: it was not confirmed, or NATS cannot be reached.
        BusUnavailable: not all of it was done.
    """
    out = Output(as_json=asked.json, no_color=asked.no_color)
    async with Reach.asked(asked).bus(identity=LOOKER if asked.action == "list" else MENDER) as bus:
        stream = JetStream(bus)
        if asked.action == "list":
            return _listed(out, [letter async for letter in stream.letters()])
        chosen, missing = await _chosen(stream, asked)
        _confirm(asked, chosen)
        outcomes = [{"sequence": each, "outcome": "there is no such letter"} for each in missing]
        for letter in chosen:
            said = await (_replay(bus, stream, letter) if asked.action == "replay" else _drop(stream, letter))
            outcomes.append({"sequence": letter.sequence, "outcome": said})
    done = _DONE[asked.action]
    if out.as_json:
        out.json({"letters": outcomes})
    else:
        out.grid(Grid(("SEQ", "OUTCOME"), [(str(each["sequence"]), str(each["outcome"])) for each in outcomes]))
    return 0 if all(each["outcome"] == done for each in outcomes) else 1


def _listed(out: Output, letters: list[Letter]) -> int:
    rows = [row(letter, time.time()) for letter in letters]
    if out.as_json:
        out.json({"letters": [asdict(each) for each in rows]})
        return 0
    cells = [
        (
            *(str(each.sequence), f"{span(each.age_seconds)} ago", each.consumer, each.subject),
            *(size(each.bytes), each.error, each.about),
        )
        for each in rows
    ]
    out.grid(Grid(("SEQ", "WHEN", "CONSUMER", "SUBJECT", "SIZE", "WHY", "ABOUT"), cells, "no dead letters"))
    return 0


def row(letter: Letter, now: float) -> Row:
    """What is shown of a letter."""
    return Row(
        sequence=letter.sequence,
        subject=letter.subject,
        consumer=letter.consumer,
        error=letter.error,
        buried_at=iso(int(letter.buried_at * 1000)),
        age_seconds=round(max(0.0, now - letter.buried_at), 3),
        bytes=len(letter.payload),
        about=about(letter),
    )


def about(letter: Letter) -> str:
    """What an event says, and who sent a request; what is sealed is not even looked at."""
    try:
        if letter.subject.startswith("keyferry.volume."):
            return _volume(letter.payload)
        if letter.subject.startswith("keyferry.change."):
            return _change(letter.payload)
        if letter.subject == END_SUBJECT:
            return f"end of content {EndContent.from_bytes(letter.payload).content_key}"
        if letter.subject.startswith("keyferry.fetch."):
            request = FetchRequest.from_bytes(letter.payload)
            return f"sealed request of node {request.node} for volume {request.volume_id}"
    except UntrustedMessage:
        return "unreadable"
    return "sealed content" if letter.subject.startswith("keyferry.sync.") else ""


def _volume(payload: bytes) -> str:
    event = volume_event(payload)
    if isinstance(event, VolumeUnpublished):
        return f"volume {event.volume_id} left node {event.node}"
    volume = event if isinstance(event, VolumePublished) else event.volume
    said = f": {event.reason}" if isinstance(event, RefreshFailed) else ""
    return f"{type(event).__name__} of pod {volume.pod}, class {volume.secret_provider_class}{said}"


def _change(payload: bytes) -> str:
    event = change_event(payload)
    if isinstance(event, BackendChanged):
        return f"{event.provider} changed {', '.join(event.sources) or 'something'}"
    if isinstance(event, RefreshRequested):
        return f"refresh of class {event.namespace}/{event.secret_provider_class} was requested"
    return f"pod {event.pod} finished"


async def _chosen(stream: JetStream, asked: argparse.Namespace) -> tuple[list[Letter], list[int]]:
    if bool(asked.sequence) == asked.all:
        raise Lacking(f"name the letters to {asked.action} by their SEQ, or say --all")
    if asked.all:
        return [letter async for letter in stream.letters()], []
    found = {each: await stream.letter(each) for each in dict.fromkeys(asked.sequence)}
    return [each for each in found.values() if each], [sequence for sequence, each in found.items() if each is None]


def _confirm(asked: argparse.Namespace, chosen: list[Letter]) -> None:
    if asked.yes or not chosen:
        return
    if not sys.stdin.isatty():
        raise Lacking(f"say --yes to {asked.action} {len(chosen)} dead letters without being asked")
    sys.stderr.write(f"{asked.action} {len(chosen)} dead letters? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Lacking("nothing was done")


async def _drop(stream: JetStream, letter: Letter) -> str:
    return _DONE["drop"] if await stream.drop(letter.sequence) else "it is gone already"


async def _replay(bus: Bus, stream: JetStream, letter: Letter) -> str:
    """Publish it where it first was, then take it out: twice rather than never, as everything on the bus."""
    if not letter.subject.startswith("keyferry.") or letter.subject.startswith("keyferry.dead."):
        return "it does not say where it first was: drop it"
    if letter.subject.startswith("keyferry.fetch.") and letter.subject != END_SUBJECT:
        return "nobody waits for it any more, since kubelet has asked anew: drop it"
    keeps = next((name for prefix, name in _LAST_WORDS.items() if letter.subject.startswith(prefix)), "")
    if keeps:
        last = await bus.last(keeps, letter.subject)
        if last is None or last.payload != letter.payload:
            return f"{keeps} has a later word, or has forgotten it: drop it"
    await bus.publish(
        letter.subject,
        letter.payload,
        destination="keyferry.replay",
        message_id=f"replay.{uuid.uuid4().hex}",
        ttl=_TTL.get(keeps),
    )
    await stream.drop(letter.sequence)
    return _DONE["replay"]
