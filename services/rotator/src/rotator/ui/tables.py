"""The page's two tables: the rows that were asked for, of what may be shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keyferry.explain.fixes import fix
from rotator.ui.lag import behind_since
from rotator.ui.query import PAGE, Query
from rotator.ui.scheduled import Scheduled
from rotator.ui.volumes import Volume

Row = dict[str, Any]

_CLASSES = 20
_SOURCES = 40


@dataclass(frozen=True, slots=True)
class Table:
    """A page of rows, by their ids.

    Attributes:
        total: Rows on all pages.
        page: Which of them this is, from 1.
        pages: How many pages there are.
        rows: Id to row, in order.
    """

    total: int
    page: int
    pages: int
    rows: dict[str, Row]


def volume_table(volumes: Sequence[Volume], contents: Mapping[str, Scheduled], query: Query) -> Table:
    """The volumes."""
    orders: dict[str, Callable[[Volume], Any]] = {
        "namespace": lambda each: each.namespace,
        "pod": lambda each: each.pod,
        "class": lambda each: each.class_name,
        "provider": lambda each: each.provider,
        "node": lambda each: each.node,
        "state": lambda each: each.state,
        "confirmed": lambda each: -each.fetched_ms,
        "behind": lambda each: behind_since(each, contents) or float("inf"),
    }
    order = orders[query.sort]
    found = sorted(volumes, key=lambda each: (order(each), each.namespace, each.pod, each.name))
    if query.is_descending:
        found.reverse()
    return _paged(found, query.page, lambda each: (each.name, volume_row(each, contents)))


def volume_row(volume: Volume, contents: Mapping[str, Scheduled]) -> Row:
    """What is shown of a volume."""
    return {
        "namespace": volume.namespace,
        "pod": volume.pod,
        "class": volume.class_name,
        "provider": volume.provider,
        "node": volume.node,
        "state": volume.state,
        "confirmed": volume.fetched_ms,
        "behind": behind_since(volume, contents),
        "objects": volume.objects,
        "more": volume.more_objects,
        "left_out": volume.left_out,
        "content": volume.content_key,
        "failure": failure(volume),
    }


def failure(volume: Volume) -> Row | None:
    """What a volume's last refresh met, and what would help."""
    met = volume.failure
    if met is None:
        return None
    return {"code": met.code, "reason": met.reason, "message": met.message, "fix": fix(met.reason)}


def content_table(volumes: Sequence[Volume], contents: Mapping[str, Scheduled], query: Query) -> Table:
    """The contents of these volumes. Names are taken from volumes that may be seen, never from the schedule."""
    holders: dict[str, list[Volume]] = defaultdict(list)
    for volume in volumes:
        holders[volume.content_key].append(volume)
    never = float("inf")
    orders: dict[str, Callable[[str], Any]] = {
        "due": lambda key: (contents[key].due_ms or never) if key in contents else -1,
        "class": lambda key: min((each.namespace, each.class_name) for each in holders[key]),
        "provider": lambda key: holders[key][0].provider,
        "volumes": lambda key: -len(holders[key]),
        "failing": lambda key: -sum(each.state == "failing" for each in holders[key]),
        "confirmed": lambda key: -max(each.fetched_ms for each in holders[key]),
    }
    order = orders[query.content_sort]
    found = sorted(holders, key=lambda key: (order(key), key))
    if query.content_is_descending:
        found.reverse()
    return _paged(found, query.content_page, lambda key: (key, _content_row(holders[key], contents.get(key))))


def _content_row(holders: Sequence[Volume], known: Scheduled | None) -> Row:
    classes = sorted({f"{each.namespace}/{each.class_name}" for each in holders})
    objects = sorted({name for each in holders for name, _ in each.objects})
    states = [each.state for each in holders]
    return {
        "provider": holders[0].provider,
        "classes": classes[:_CLASSES],
        "more_classes": max(0, len(classes) - _CLASSES),
        "objects": objects[:_SOURCES],
        "more_objects": max(0, len(objects) - _SOURCES),
        "volumes": len(holders),
        "others": max(0, known.members - len(holders)) if known else 0,
        "failing": states.count("failing"),
        "stale": states.count("stale"),
        "confirmed": max(each.fetched_ms for each in holders),
        "refresh_by": max(each.refresh_by_ms for each in holders),
        "scheduled": known is not None,
        "due": known.due_ms if known else 0,
        "interval_s": known.interval_ms // 1000 if known else 0,
        "claimed": known.is_claimed if known else False,
    }


def _paged(found: Sequence[Any], page: int, shown: Callable[[Any], tuple[str, Row]]) -> Table:
    pages = max(1, -(-len(found) // PAGE))
    page = min(page, pages)
    return Table(len(found), page, pages, dict(shown(each) for each in found[(page - 1) * PAGE : page * PAGE]))
