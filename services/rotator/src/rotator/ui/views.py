"""What one viewer is shown: of what is known, what they may see and have asked for. Nothing else goes out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rotator.ui.lag import LATE_MS, behind_since, histogram
from rotator.ui.query import Query
from rotator.ui.rights import Scope
from rotator.ui.scheduled import Scheduled
from rotator.ui.tables import Table, content_table, failure, volume_table
from rotator.ui.volumes import Volume

_FAILURES = 30
_CHOICES = 300
_REASONS = 5


@dataclass(frozen=True, slots=True)
class View:
    """What is shown.

    Attributes:
        sections: Name to content, such as can be written as JSON.
        tables: Name to table.
    """

    sections: dict[str, Any]
    tables: dict[str, Table]


def view(
    volumes: Iterable[Volume], contents: Mapping[str, Scheduled], scope: Scope, query: Query, *, now_ms: int
) -> View:
    """What somebody is shown.

    Args:
        volumes: All that are known.
        contents: The schedule.
        scope: What they may see.
        query: What they want to see.
        now_ms: The time.
    """
    everything = list(volumes)
    visible = [each for each in everything if scope.sees(each.namespace)]
    chosen = [each for each in visible if _wanted(each, query, contents)]
    behind = [behind_since(each, contents) for each in chosen]
    sections = {
        "summary": _summary(everything, visible, chosen, contents, scope)
        | {"behind": sum(map(bool, behind)), "late": _late(chosen, contents, now_ms)},
        "lag": histogram(behind, now_ms),
        "backends": _backends(chosen),
        "failures": _failures(chosen),
        "choices": _choices(visible),
    }
    tables = {"volumes": volume_table(chosen, contents, query), "contents": content_table(chosen, contents, query)}
    return View(sections, tables)


def _wanted(volume: Volume, query: Query, contents: Mapping[str, Scheduled]) -> bool:
    return (
        query.namespace in ("", volume.namespace)
        and query.class_name in ("", volume.class_name)
        and query.node in ("", volume.node)
        and query.provider in ("", volume.provider)
        and (query.state in ("", volume.state) or (query.state == "behind" and behind_since(volume, contents) > 0))
        and (not query.text or _has(volume, query.text))
    )


def _has(volume: Volume, text: str) -> bool:
    return any(text in each.lower() for each in (volume.pod, volume.class_name, *(name for name, _ in volume.objects)))


def _summary(
    everything: Sequence[Volume],
    visible: Sequence[Volume],
    chosen: Sequence[Volume],
    contents: Mapping[str, Scheduled],
    scope: Scope,
) -> dict[str, Any]:
    states = Counter(each.state for each in chosen)
    shown = {each.content_key for each in visible}
    return {
        "everywhere": scope.everywhere,
        "namespaces": len({each.namespace for each in visible}),
        "unasked": scope.unasked,
        "volumes": len(chosen),
        "contents": len({each.content_key for each in chosen}),
        "failing": states["failing"],
        "stale": states["stale"],
        # Of what they may not see they learn that it is there, and how much: no name, no state.
        "hidden_volumes": len(everything) - len(visible),
        "hidden_contents": len({each.content_key for each in everything} | set(contents)) - len(shown),
    }


def _late(chosen: Iterable[Volume], contents: Mapping[str, Scheduled], now_ms: int) -> int:
    keys = {each.content_key for each in chosen}
    return sum(0 < contents[key].due_ms < now_ms - LATE_MS for key in keys if key in contents)


def _backends(chosen: Iterable[Volume]) -> list[dict[str, Any]]:
    by_provider: dict[str, list[Volume]] = defaultdict(list)
    for volume in chosen:
        by_provider[volume.provider].append(volume)
    return [_backend(provider, by_provider[provider]) for provider in sorted(by_provider)[:_CHOICES]]


def _backend(provider: str, volumes: Sequence[Volume]) -> dict[str, Any]:
    states = Counter(each.state for each in volumes)
    reasons = Counter(each.failure.reason for each in volumes if each.failure)
    return {
        "provider": provider,
        "volumes": len(volumes),
        "contents": len({each.content_key for each in volumes}),
        "failing": states["failing"],
        "stale": states["stale"],
        "reasons": reasons.most_common(_REASONS),
        "confirmed": max(each.fetched_ms for each in volumes),
    }


def _failures(chosen: Iterable[Volume]) -> list[dict[str, Any]]:
    failing = sorted((each for each in chosen if each.failure), key=lambda each: (-each.told_ms, each.name))
    return [
        {
            "id": each.name,
            "namespace": each.namespace,
            "pod": each.pod,
            "class": each.class_name,
            "node": each.node,
            "provider": each.provider,
            "at": each.told_ms,
            **(failure(each) or {}),
        }
        for each in failing[:_FAILURES]
    ]


def _choices(visible: Iterable[Volume]) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {"namespace": set(), "class": set(), "node": set(), "provider": set()}
    for each in visible:
        found["namespace"].add(each.namespace)
        found["class"].add(each.class_name)
        found["node"].add(each.node)
        found["provider"].add(each.provider)
    return {name: sorted(values)[:_CHOICES] for name, values in found.items()}
