"""Understands what Event Grid tells of Azure Key Vault, in its own schema and in CloudEvents 1.0.

Shapes: "Azure Key Vault as Event Grid source". Its pages write the fields of ``data`` now with a capital, now without,
so that case does not count here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rotator.sources.document import Malformed, event_id, is_usable, member, moment, parse, text
from rotator.sources.source import Change

_MOST = 1000
_TYPE = re.compile(r"Microsoft\.KeyVault\.(Secret|Key|Certificate)NewVersionCreated")
_VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"
_CODE = re.compile(r"[A-Za-z0-9-]{1,128}")
_PATHS = {"secrets": "secret", "keys": "key", "certificates": "certificate"}
_ID = re.compile(r"https://([A-Za-z0-9-]+)\.[^/]+/(secrets|keys|certificates)/([^/]+)(?:/.*)?", re.DOTALL)


def events(body: bytes) -> list[Mapping[str, Any]]:
    """The events of a request: a list in Event Grid's schema and of batched CloudEvents, else a single one.

    Raises:
        Malformed: neither.
    """
    found = parse(body)
    listed = found if isinstance(found, list) else [found]
    if len(listed) > _MOST or not listed or not all(isinstance(event, dict) for event in listed):
        raise Malformed("it is no list of events")
    return listed


def validation_code(event: Mapping[str, Any]) -> str | None:
    """What a subscription's first event wants to have back; None for any other event.

    Raises:
        Malformed: a code that cannot be Event Grid's, and is therefore not sent back.
    """
    if text(event, "eventType", "type") != _VALIDATION:
        return None
    code = text(member(event, "data"), "validationCode")
    if not _CODE.fullmatch(code):
        raise Malformed("it has no usable validationCode")
    return code


def change(event: Mapping[str, Any]) -> Change | None:
    """What an event tells; None for one that changes no content.

    Raises:
        Malformed: it has no type, or names no object.
    """
    kind = text(event, "eventType", "type")
    if not kind:
        raise Malformed("it has no eventType or type")
    match = _TYPE.fullmatch(kind)
    if match is None:
        return None
    data = {name.strip().lower(): value for name, value in member(event, "data").items()}
    vault, kind, name = _by_id(text(data, "id")) or _by_names(data, match[1])
    # A certificate's new version is one of the secret and the key behind it as well.
    kinds = ("certificate", "secret", "key") if kind == "certificate" else (kind,)
    sources = tuple(f"{vault}/{kind}/{name}".lower() for kind in kinds)
    if not all(map(is_usable, sources)):
        raise Malformed("it names no object of a vault")
    return Change(sources, event_id(text(event, "id")), moment(text(event, "eventTime", "time")))


def _by_id(url: str) -> tuple[str, str, str] | None:
    match = _ID.fullmatch(url)
    return (match[1], _PATHS[match[2]], match[3]) if match else None


def _by_names(data: Mapping[str, Any], kind: str) -> tuple[str, str, str]:
    vault, name = text(data, "vaultname"), text(data, "objectname")
    if not vault or not name or "/" in vault + name:
        raise Malformed("it names no object of a vault")
    return vault, kind.lower(), name
