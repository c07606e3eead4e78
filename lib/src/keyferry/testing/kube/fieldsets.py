"""Sets of fields of an object: what managedFields records, and how objects differ.

A path is a tuple of FieldsV1 elements: `f:name` for a field, `k:{...}` for a list's item by its keys, `v:...` for a
set's item. Source: sigs.k8s.io/structured-merge-diff `fieldpath` and `typed`.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from keyferry.testing.kube.listkeys import key_of, list_type, map_is_atomic

Json = dict[str, Any]
Path = tuple[str, ...]

CONTAINER = object()
"""Stands for the value of a map or a list's item that is more than a leaf: only that it is there counts."""

UNTRACKED: frozenset[Path] = frozenset(
    {("f:apiVersion",), ("f:kind",), ("f:metadata",)}
    | {
        ("f:metadata", f"f:{name}")
        for name in (
            *("name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields"),
            *("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds"),
        )
    }
)
"""Fields that belong to the server."""


def walk(value: Json, *, custom: bool) -> Iterator[tuple[Path, Any]]:
    """Every tracked path of an object with its value; maps and keyed items come as CONTAINER before their content."""
    for path, found in _walk(value, (), (), custom):
        if found is None and not custom:
            continue  # null is absent where a type says so
        if path and path not in UNTRACKED and path[:2] not in UNTRACKED:
            yield path, found


def _walk(value: Any, path: Path, names: tuple[str, ...], custom: bool) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and not map_is_atomic(names, custom=custom):
        yield path, CONTAINER
        for name, below in value.items():
            yield from _walk(below, (*path, f"f:{name}"), (*names, name), custom)
        return
    kind = list_type(names, custom=custom) if isinstance(value, list) else "atomic"
    if kind == "atomic":
        yield path, value
        return
    yield path, CONTAINER
    for item in value:
        step = item_step(item, kind)
        yield from _walk(item, (*path, step), names, custom) if kind != "set" else iter([((*path, step), item)])


def item_step(item: Any, kind: Any) -> str:
    """The path element of a list's item."""
    if kind == "set":
        return "v:" + json.dumps(item, separators=(",", ":"))
    return "k:" + json.dumps(key_of(item, kind), separators=(",", ":"), sort_keys=True)


def applied(value: Json, *, custom: bool) -> set[Path]:
    """What an applied configuration speaks for: its leaves and the presence of its keyed items, but not empty maps."""
    return {path for path, leaf in walk(value, custom=custom) if leaf is not CONTAINER or path[-1].startswith("k:")}


def difference(old: Json, new: Json, *, custom: bool) -> tuple[set[Path], set[Path], set[Path]]:
    """Which paths were added, had their value changed, or were removed."""
    before, after = dict(walk(old, custom=custom)), dict(walk(new, custom=custom))
    changed = {path for path in before.keys() & after.keys() if before[path] != after[path]}
    return after.keys() - before.keys(), changed, before.keys() - after.keys()


def ordered(paths: set[Path], depth: int = 0) -> list[Path]:
    """In the order of a Set's iteration: at each level what ends there comes before what goes on."""
    ending = sorted(path for path in paths if len(path) == depth + 1)
    for step in sorted({path[depth] for path in paths if len(path) > depth + 1}):
        ending += ordered({path for path in paths if len(path) > depth + 1 and path[depth] == step}, depth + 1)
    return ending


def encode(paths: Iterable[Path]) -> Json:
    """FieldsV1."""
    chosen = set(paths)
    tree: Json = {}
    for path in sorted(chosen):
        node: Json = tree
        for step in path:
            node = node.setdefault(step, {})
    for path in chosen:
        node = tree
        for step in path:
            node = node[step]
        if node:
            node["."] = {}
    return tree


def decode(fields: Json, path: Path = ()) -> set[Path]:
    """The paths of a FieldsV1."""
    found = {path} if path and (not fields or "." in fields) else set()
    for step, below in fields.items():
        if step != ".":
            found |= decode(below, (*path, step))
    return found


def displayed(path: Path) -> str:
    """A path as conflict messages show it: `.spec.containers[name="a"].image`."""
    text = ""
    for step in path:
        if step.startswith("f:"):
            text += "." + step[2:]
        elif step.startswith("k:"):
            keys = json.loads(step[2:])
            text += "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in keys.items()) + "]"
        else:
            text += f"[={step[2:]}]"
    return text


def without(value: Any, paths: set[Path], *, custom: bool, path: Path = (), names: tuple[str, ...] = ()) -> Any:
    """A copy without the given paths; a map or list that this empties becomes None."""
    if isinstance(value, dict):
        kept = {}
        for name, below in value.items():
            step = (*path, f"f:{name}")
            if step in paths:
                continue
            kept[name] = without(below, paths, custom=custom, path=step, names=(*names, name))
        return kept if kept or not value else None
    kind = list_type(names, custom=custom) if isinstance(value, list) else "atomic"
    if kind == "atomic":
        return value
    stays = [(item, (*path, item_step(item, kind))) for item in value]
    return [
        without(item, paths, custom=custom, path=step, names=names) if kind != "set" else item
        for item, step in stays
        if step not in paths
    ] or None
