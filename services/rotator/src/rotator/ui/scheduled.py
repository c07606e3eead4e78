"""Reads the schedule for the page, in pages, and changes nothing in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files

from keyferry.store import Store, script
from rotator.schedule import PREFIX

_LOOK = script("".join((files("rotator") / "lua" / name).read_text() for name in ("shape.lua", "look.lua")))
_PAGE = 200  # a script holds everybody up: about a millisecond


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A content of the schedule; times in Unix milliseconds, 0 for never.

    Attributes:
        due_ms: When it is looked at again.
        interval_ms: How often it is asked for again.
        asked_ms: Every volume whose content is older than this shall ask again.
        members: How many volumes hold it.
        is_claimed: Whether a rotator works on it just now.
    """

    due_ms: int
    interval_ms: int
    asked_ms: int
    members: int
    is_claimed: bool


async def read_schedule(store: Store, prefix: str = PREFIX) -> dict[str, Scheduled]:
    """Content key to what is scheduled; what moves meanwhile may come in its old or its new form.

    Raises:
        StoreUnavailable: not read to the end.
    """
    found: dict[str, Scheduled] = {}
    cursor = "0"
    while True:
        page = json.loads(await store.run(_LOOK, [prefix], [0, json.dumps({"cursor": cursor, "limit": _PAGE})]))
        for key, due, interval, asked, members, claimed in page["contents"] or ():
            found[key] = Scheduled(int(due), int(interval), int(asked), members, claimed)
        cursor = page["cursor"]
        if cursor == "0":
            return found
