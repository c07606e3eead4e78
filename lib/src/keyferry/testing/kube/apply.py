"""Server-side apply and the ownership of fields: managedFields as the real server keeps them.

Source: sigs.k8s.io/structured-merge-diff `merge.Updater` and k8s.io/apiserver `handlers/fieldmanager`. Left out: the
limit of ten entries for updates, and the exemption of objects that were made with no fields at all.
"""

from dataclasses import dataclass
from typing import Any

from keyferry.testing.kube import fieldsets
from keyferry.testing.kube.fieldsets import Path
from keyferry.testing.kube.listkeys import list_type, map_is_atomic
from keyferry.testing.kube.status import StatusError, apply_conflict

Json = dict[str, Any]

_ALWAYS_THERE = frozenset({"f:metadata", "f:spec", "f:status", "f:strategy", "f:template", "f:source", "f:containers"})
"""Fields of the built-in kinds that have no absent state, so nobody is recorded as having added them."""


@dataclass(frozen=True)
class Writer:
    """Who writes: the field manager's name, in which version, how, and when (RFC 3339)."""

    manager: str
    operation: str
    api_version: str
    time: str
    subresource: str = ""


@dataclass
class _Entry:
    writer: Writer
    paths: set[Path]

    def same(self, writer: Writer) -> bool:
        mine, theirs = self.writer, writer
        return (mine.manager, mine.operation, mine.api_version, mine.subresource) == (
            *(theirs.manager, theirs.operation),
            *(theirs.api_version, theirs.subresource),
        )


def _entries(item: Json) -> list[_Entry]:
    return [
        _Entry(
            Writer(e["manager"], e["operation"], e["apiVersion"], e["time"], e.get("subresource", "")),
            fieldsets.decode(e["fieldsV1"]),
        )
        for e in item["metadata"].get("managedFields", [])
    ]


def _recorded(entries: list[_Entry]) -> list[Json]:
    order = sorted(entries, key=lambda e: (e.writer.operation != "Apply", e.writer.time, e.writer.manager))
    found = []
    for entry in order:
        if not entry.paths:
            continue
        writer = entry.writer
        record: Json = {"manager": writer.manager, "operation": writer.operation, "apiVersion": writer.api_version}
        record |= {"time": writer.time, "fieldsType": "FieldsV1", "fieldsV1": fieldsets.encode(entry.paths)}
        found.append(record | ({"subresource": writer.subresource} if writer.subresource else {}))
    return found


def updated(old: Json | None, new: Json, writer: Writer, *, custom: bool) -> list[Json]:
    """The managedFields after a create, replace or patch: the writer owns what it changed."""
    entries = _entries(old) if old else []
    added, changed, removed = fieldsets.difference(old or {}, new, custom=custom)
    if not custom:
        added -= {path for path in added if path[-1] in _ALWAYS_THERE and _is_struct(path, new)}
    taken = added | changed
    for entry in entries:
        entry.paths -= removed
        if not entry.same(writer):
            entry.paths -= changed
    mine = next((entry for entry in entries if entry.same(writer)), None)
    if mine is None:
        mine = _Entry(writer, set())
        entries.append(mine)
    if not taken <= mine.paths:
        mine.writer = writer
    mine.paths |= taken
    return _recorded(entries)


def _is_struct(path: Path, item: Json) -> bool:
    value: Any = item
    for step in path:
        value = value.get(step[2:]) if isinstance(value, dict) else None
    return isinstance(value, (dict, list)) and bool(value)


def applied(live: Json, config: Json, writer: Writer, *, force: bool, custom: bool) -> tuple[Json, list[Json]]:
    """The object and its managedFields after an apply.

    Args:
        live: The object as it is; for a new one only its apiVersion, kind and metadata's name and namespace.
        config: What the manager wants, without managedFields.
        writer: The manager.
        force: Take fields of other managers instead of failing.
        custom: Whether the kind comes from a CRD.

    Raises:
        StatusError: 409, other managers own fields that would change; the message names both.
    """
    entries = _entries(live)
    mine = next((entry for entry in entries if entry.same(writer)), None)
    others = [entry for entry in entries if entry is not mine]
    wanted = fieldsets.applied(config, custom=custom)
    merged = _merge(live, config, (), custom)
    merged = _pruned(merged, mine.paths if mine else set(), wanted, others, custom)
    added, changed, removed = fieldsets.difference(live, merged, custom=custom)
    clashes = [(entry, entry.paths & (added | changed)) for entry in others]
    clashes = [(entry, paths) for entry, paths in clashes if paths]
    if clashes and not force:
        raise _conflict(clashes)
    for entry, paths in clashes:
        entry.paths -= paths
    for entry in others:
        entry.paths -= removed
    unchanged = mine is not None and mine.paths == wanted and not (added | changed | removed)
    time_kept = mine.writer if mine and unchanged else writer
    return merged, _recorded([*others, _Entry(time_kept, wanted)])


def _merge(live: Any, config: Any, names: tuple[str, ...], custom: bool) -> Any:
    if isinstance(live, dict) and isinstance(config, dict) and not map_is_atomic(names, custom=custom):
        merged = dict(live)
        for name, value in config.items():
            merged[name] = _merge(live.get(name), value, (*names, name), custom)
        return merged
    kind = list_type(names, custom=custom) if isinstance(config, list) else "atomic"
    if kind == "atomic" or not isinstance(live, list):
        return config
    if kind == "set":
        return [*live, *(item for item in config if item not in live)]
    by_key = {fieldsets.item_step(item, kind): item for item in live}
    for item in config:
        step = fieldsets.item_step(item, kind)
        by_key[step] = _merge(by_key.get(step), item, names, custom)
    return list(by_key.values())


def _pruned(merged: Json, last: set[Path], wanted: set[Path], others: list[_Entry], custom: bool) -> Json:
    """Without the fields that the manager applied last time, no longer names, and nobody else owns."""
    owned = set(wanted).union(*(entry.paths for entry in others))
    owned |= {path[:length] for path in owned for length in range(1, len(path))}
    kept: Json = fieldsets.without(merged, last - owned, custom=custom) or {}
    # A struct of a built-in kind has no null. A custom object has, and its schema will say no: so do real servers.
    return kept if custom else _without_nulls(kept)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(below) for name, below in value.items() if below is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _conflict(clashes: list[tuple[_Entry, set[Path]]]) -> StatusError:
    rows = [
        (_named(entry.writer), fieldsets.displayed(path))
        for entry, paths in clashes
        for path in fieldsets.ordered(paths)
    ]
    causes = [{"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": at} for who, at in rows]
    if len(rows) == 1:
        who, at = rows[0]
        return apply_conflict(f"Apply failed with 1 conflict: conflict with {who}: {at}", causes)
    texts = [
        f"conflicts with {who}:\n" + "\n".join(f"- {at}" for name, at in rows if name == who)
        for who in sorted({name for name, _ in rows})
    ]
    return apply_conflict(f"Apply failed with {len(rows)} conflicts: " + "\n".join(texts), causes)


def _named(writer: Writer) -> str:
    name = f'"{writer.manager}"' + (f' with subresource "{writer.subresource}"' if writer.subresource else "")
    if writer.operation != "Update":
        return name
    return f"{name} using {writer.api_version}"
