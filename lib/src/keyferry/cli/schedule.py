"""Reads the rotators' schedule in Redis, and changes nothing in it.

How it lies there is written in the rotator's ``lua/shape.lua``; its values are packed by Redis' Lua, so it is Redis'
Lua that unpacks them. The contract tests read what a real rotator's schedule has written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from keyferry.store import Store, script

PREFIX = "keyferry:rotation:"

_READ = script("""
-- KEYS: prefix; ARGV: cursor, content key (empty for a page of them). Returns JSON: cursor, contents.
local P, cursor, pairs_ = KEYS[1], '0', {}
if ARGV[2] ~= '' then
  local packed = redis.call('HGET', P .. 'contents', ARGV[2])
  if packed then pairs_ = { ARGV[2], packed } end
else
  local page = redis.call('HSCAN', P .. 'contents', ARGV[1], 'COUNT', 200)
  cursor, pairs_ = page[1], page[2]
end
local found = {}
for i = 1, #pairs_, 2 do
  local key, c = pairs_[i], cmsgpack.unpack(pairs_[i + 1])
  c.key, c.due = key, redis.call('ZSCORE', P .. 'due', key) or ''
  c.members = redis.call('HLEN', P .. 'members:' .. key)
  c.claimed, c.claim = c.claim ~= '', nil
  if ARGV[2] ~= '' then
    local flat = redis.call('HGETALL', P .. 'members:' .. key)
    c.member = {}
    for j = 1, #flat, 2 do
      local m = cmsgpack.unpack(flat[j + 1])
      m[3] = math.floor(m[3] / 1000) -- JSON numbers have 14 digits here, and microseconds 16
      table.insert(c.member, { flat[j], m })
    end
  end
  table.insert(found, c)
end
return cjson.encode({ cursor = cursor, contents = found })
""")


@dataclass(frozen=True, slots=True)
class Member:
    """A volume that holds a content; times in Unix milliseconds.

    Attributes:
        told_ms: When its node last said something of it.
        fetched_ms: When what it has was fetched.
        hinted_ms: When it was last asked to refresh; 0 never.
        misses: How many hints in a row it has not answered.
        state: Empty as usual; p if its last refresh failed for good; f if its pod has finished.
    """

    volume_id: str
    node: str
    told_ms: int
    fetched_ms: int
    hinted_ms: int
    misses: int
    state: str


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A content of the schedule; times in Unix milliseconds, 0 for never.

    Attributes:
        key: The content's.
        provider: Which backend; openbao is vault here.
        interval_ms: How often it is asked for again.
        due_ms: When it is looked at again.
        refresh_by_ms: When its lease wants it asked for again.
        newest_ms: When the newest of what its volumes have was fetched.
        asked_ms: Every volume that was fetched before this shall ask again.
        forced_ms: When a change that was heard is acted upon.
        empty_since_ms: When its last volume left.
        claimed: Whether a rotator works on it just now.
        members: How many volumes hold it.
        sources, classes: Objects of the backend; ``namespace/class``.
        volumes: The members, where one content was asked for.
    """

    key: str
    provider: str
    interval_ms: int
    due_ms: int
    refresh_by_ms: int
    newest_ms: int
    asked_ms: int
    forced_ms: int
    empty_since_ms: int
    claimed: bool
    members: int
    sources: tuple[str, ...]
    classes: tuple[str, ...]
    volumes: tuple[Member, ...] = ()


async def is_built(store: Store) -> bool:
    """Whether the schedule is whole; if not, a rotator has yet to read VOLUMES.

    Raises:
        StoreUnavailable: it cannot be told.
    """
    return bool(await store.call("GET", f"{PREFIX}built"))


async def read_contents(store: Store) -> list[Scheduled]:
    """All of it, in pages; what moves meanwhile may come in its old or new form.

    Raises:
        StoreUnavailable: not read to the end.
    """
    found: dict[str, Scheduled] = {}
    cursor = "0"
    while True:
        page = json.loads(await store.run(_READ, [PREFIX], [cursor, ""]))
        found |= {each["key"]: _scheduled(each) for each in _list(page["contents"])}
        cursor = page["cursor"]
        if cursor == "0":
            return list(found.values())


async def read_content(store: Store, key: str) -> Scheduled | None:
    """One content with its members; None if the schedule does not have it.

    Raises:
        StoreUnavailable: it cannot be told.
    """
    found = _list(json.loads(await store.run(_READ, [PREFIX], ["0", key]))["contents"])
    return _scheduled(found[0]) if found else None


async def content_of(store: Store, node: str, volume_id: str) -> str:
    """The key of the content that the schedule has for a volume; empty if it does not know the volume.

    Raises:
        StoreUnavailable: it cannot be told.
    """
    return str((await store.call("HGET", f"{PREFIX}volumes", f"{node} {volume_id}") or b"").decode())


async def overdue(store: Store, now_ms: int) -> tuple[int, float]:
    """How many contents are due already, and for how many seconds the first of them has been.

    Raises:
        StoreUnavailable: it cannot be told.
    """
    count = int(await store.call("ZCOUNT", f"{PREFIX}due", "-inf", now_ms))
    first = await store.call("ZRANGE", f"{PREFIX}due", 0, 0, "WITHSCORES")
    return count, max(0.0, (now_ms - float(first[1])) / 1000) if count and first else 0.0


def _scheduled(told: dict[str, Any]) -> Scheduled:
    due = told["due"]
    return Scheduled(
        key=told["key"],
        provider=told["provider"],
        interval_ms=int(told["interval"]),
        due_ms=int(float(due)) if due and "inf" not in due else 0,
        refresh_by_ms=int(told["refresh_by"]),
        newest_ms=int(told["newest"]),
        asked_ms=int(told["asked"]),
        forced_ms=int(told["force_at"]),
        empty_since_ms=int(told["empty_since"]),
        claimed=told["claimed"],
        members=told["members"],
        sources=tuple(sorted(told["sources"])),  # by when it was said of each; a list, as an older version wrote it
        classes=tuple(_list(told["classes"])),
        volumes=tuple(_member(name, packed) for name, packed in _list(told.get("member"))),
    )


def _member(name: str, packed: list[Any]) -> Member:
    node, _, told, fetched, _, hinted, misses, state = packed
    volume_id = name.partition(" ")[2]  # the schedule names a volume by its node, too
    return Member(volume_id, node, int(told), int(fetched), int(hinted), int(misses), state)


def _list(told: Any) -> list[Any]:
    """Lua knows no empty list: it comes as an empty object."""
    return told if isinstance(told, list) else []
