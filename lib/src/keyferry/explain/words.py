"""The last word of the nodes on each volume, as the VOLUMES stream has it."""

from __future__ import annotations

from dataclasses import dataclass

from keyferry.bus import Bus, Stored
from keyferry.errors import UntrustedMessage
from keyferry.events import RefreshFailed, VolumePublished, VolumeRefreshed, VolumeUnpublished, volume_event
from keyferry.subjects import node_token, volume_subject

OK, FAILING, STALE = "ok", "failing", "stale"


@dataclass(frozen=True, slots=True)
class Told:
    """A volume that is there, and what was last said of it.

    Attributes:
        volume: As it is.
        word: published, refreshed or failed.
        told_ms: When the stream took it, Unix milliseconds by the server's clock.
        failure: What its last refresh met, if that failed.
    """

    volume: VolumePublished
    word: str
    told_ms: int
    failure: RefreshFailed | None = None

    @property
    def state(self) -> str:
        """ok; failing, if its last refresh failed; stale, if its backend could not confirm it."""
        if self.failure is not None:
            return FAILING
        return STALE if self.volume.stale_since_ms else OK


def told(stored: Stored) -> Told | VolumeUnpublished:
    """What a message of VOLUMES says.

    Raises:
        UntrustedMessage: no such event, or one of a node about another's volume.
    """
    event = volume_event(stored.payload)
    about = event if isinstance(event, VolumePublished | VolumeUnpublished) else event.volume
    if stored.subject != volume_subject(about.node, about.volume_id):
        raise UntrustedMessage(f"a word on {stored.subject} is about a volume that is not of this subject")
    if isinstance(event, VolumeUnpublished):
        return event
    at = stored.stored_us // 1000
    if isinstance(event, VolumeRefreshed):
        return Told(event.volume, "refreshed", at)
    if isinstance(event, RefreshFailed):
        return Told(event.volume, "failed", at, event)
    return Told(event, "published", at)


@dataclass(frozen=True, slots=True)
class Words:
    """Everything that VOLUMES holds.

    Attributes:
        volumes: That are there.
        unreadable: How many messages were no word, or not of who may say it.
    """

    volumes: tuple[Told, ...]
    unreadable: int


async def read_words(bus: Bus, *, node: str | None = None) -> Words:
    """All volumes, or those of one node.

    Raises:
        BusUnavailable: not read to the end.
    """
    found, unreadable = [], 0
    async for stored in bus.replay("VOLUMES", f"keyferry.volume.{node_token(node) if node else '*'}.*"):
        try:
            word = told(stored)
        except UntrustedMessage:
            unreadable += 1
            continue
        if isinstance(word, Told):
            found.append(word)
    return Words(tuple(found), unreadable)


async def last_word(bus: Bus, node: str, volume_id: str) -> Told | VolumeUnpublished | None:
    """What was last said of one volume; None if nothing was, or not for a day.

    Raises:
        BusUnavailable: it cannot be read.
        UntrustedMessage: it is none.
    """
    stored = await bus.last("VOLUMES", volume_subject(node, volume_id))
    return told(stored) if stored else None
