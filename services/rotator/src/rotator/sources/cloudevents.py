"""Understands CloudEvents 1.0 over HTTP that say ``io.keyferry.backend.changed``.

Modes: structured and batched (JSON event format, sections 3 and 4), and binary (HTTP protocol binding, section 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from rotator.sources.document import Malformed, event_id, is_usable, member, moment, parse, text
from rotator.sources.source import Change

TYPE = "io.keyferry.backend.changed"
STRUCTURED, BATCH, BINARY = "application/cloudevents+json", "application/cloudevents-batch+json", "application/json"
PROVIDERS = {"aws", "azure", "gcp", "openbao", "vault"}

_MOST_EVENTS = 100
_MOST_SOURCES = 1000


@dataclass(frozen=True, slots=True)
class Told:
    """One event: which backend, and what changed there."""

    provider: str
    change: Change


def read(media_type: str, headers: Mapping[str, str], body: bytes) -> list[Told | None]:
    """The events of a request; None stands for one of another type.

    Args:
        media_type: One of the three.
        headers: By lower-case name.
        body: As it came.

    Raises:
        Malformed: any of them is no CloudEvent, or says nothing that can be acted upon.
    """
    found = parse(body)
    if media_type == BINARY:
        attributes = {name: unquote(headers.get(f"ce-{name}", "")) for name in ("id", "source", "type", "time")}
        return [_event({**attributes, "specversion": headers.get("ce-specversion"), "data": found})]
    if media_type == STRUCTURED:
        return [_event(found)]
    if not isinstance(found, list) or not 0 < len(found) <= _MOST_EVENTS:
        raise Malformed(f"it is no batch of one to {_MOST_EVENTS} events")
    return [_event(each) for each in found]


def _event(event: Any) -> Told | None:
    if not isinstance(event, dict) or event.get("specversion") != "1.0":
        raise Malformed("it is no event of CloudEvents 1.0")
    identifier, origin, kind = text(event, "id"), text(event, "source"), text(event, "type")
    if not identifier or not origin or not kind:
        raise Malformed("it lacks id, source or type")
    if kind != TYPE:
        return None
    data = member(event, "data")
    provider, sources = text(data, "provider"), data.get("sources")
    if provider not in PROVIDERS:
        raise Malformed(f"data.provider is none of {', '.join(sorted(PROVIDERS))}")
    if not isinstance(sources, list) or len(sources) > _MOST_SOURCES or not all(map(_is_name, sources)):
        raise Malformed(f"data.sources is no list of up to {_MOST_SOURCES} names (empty for everything)")
    # An id is the sender's own: only together with the source it is unique (CloudEvents, section 3.1.1).
    unique = event_id(f"{origin}#{identifier}")
    return Told(provider, Change(tuple(dict.fromkeys(sources)), unique, moment(text(event, "time"))))


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and is_usable(value)
