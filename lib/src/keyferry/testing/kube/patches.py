"""The three patch formats: JSON merge patch (RFC 7386), JSON patch (RFC 6902) and strategic merge patch.

Of strategic merge patch this does merging of maps, of lists by their merge keys, and the directives `$patch: delete`
and `$patch: replace`; `$retainKeys` is obeyed, `$setElementOrder` and `$deleteFromPrimitiveList` are read over.
"""

import copy
from typing import Any

from keyferry.testing.kube.fieldsets import item_step
from keyferry.testing.kube.listkeys import list_type
from keyferry.testing.kube.status import StatusError, bad_request

Json = dict[str, Any]


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386: null removes, maps merge, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def json_patch(target: Json, operations: Any) -> Json:
    """RFC 6902.

    Raises:
        StatusError: 400 when the patch is no list of operations, 422 when it cannot be applied to this object.
    """
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    document: Json = {"": copy.deepcopy(target)}
    for operation in operations:
        try:
            _operate(document, operation)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            message = "the server rejected our request due to an error in our request"
            raise StatusError(422, "Invalid", message) from error
    whole: Json = document[""]
    return whole


def _operate(document: Json, operation: Json) -> None:
    verb, path = operation["op"], operation["path"]
    if verb == "test":
        if _read(document, path) != operation["value"]:
            raise ValueError(path)
    elif verb == "remove":
        _remove(document, path)
    elif verb == "replace":
        _read(document, path)
        _remove(document, path)
        _add(document, path, operation["value"])
    elif verb == "add":
        _add(document, path, operation["value"])
    elif verb in {"move", "copy"}:
        value = copy.deepcopy(_read(document, operation["from"]))
        if verb == "move":
            _remove(document, operation["from"])
        _add(document, path, value)
    else:
        raise ValueError(verb)


def _walk(document: Json, pointer: str) -> tuple[Any, str]:
    """The parent and last step of a JSON pointer (RFC 6901); the document itself lies under the empty step."""
    steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")]
    node: Any = document
    for step in steps[:-1]:
        node = node[int(step)] if isinstance(node, list) else node[step]
    return node, steps[-1]


def _read(document: Json, pointer: str) -> Any:
    parent, last = _walk(document, pointer)
    return parent[int(last)] if isinstance(parent, list) else parent[last]


def _remove(document: Json, pointer: str) -> None:
    parent, last = _walk(document, pointer)
    del parent[int(last) if isinstance(parent, list) else last]


def _add(document: Json, pointer: str, value: Any) -> None:
    parent, last = _walk(document, pointer)
    if isinstance(parent, list):
        position = len(parent) if last == "-" else int(last)
        if not 0 <= position <= len(parent):
            raise IndexError(pointer)
        parent.insert(position, value)
    else:
        parent[last] = value


def strategic_merge(target: Any, patch: Any, names: tuple[str, ...] = ()) -> Any:
    """Strategic merge patch of a built-in kind, as far as the module's docstring says."""
    if not isinstance(patch, dict):
        return _strategic_list(target, patch, names) if isinstance(patch, list) else patch
    if patch.get("$patch") == "replace":
        return {name: value for name, value in patch.items() if name != "$patch"}
    merged = dict(target) if isinstance(target, dict) else {}
    if "$retainKeys" in patch:
        merged = {name: value for name, value in merged.items() if name in patch["$retainKeys"]}
    for name, value in patch.items():
        if name.startswith("$"):
            continue
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = strategic_merge(merged.get(name), value, (*names, name))
    return merged


def _strategic_list(target: Any, patch: list[Any], names: tuple[str, ...]) -> list[Any]:
    kind = list_type(names, custom=False)
    if kind == "atomic":
        return patch
    live = target if isinstance(target, list) else []
    if kind == "set":
        return [*live, *(item for item in patch if item not in live)]
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if "$patch" not in item]
    # The patch merge key is the first of the list-map keys (containerPort of ports).
    by_key = {item_step(item, kind[:1]): item for item in live}
    for item in patch:
        step = item_step(item, kind[:1])
        if item.get("$patch") == "delete":
            by_key.pop(step, None)
        else:
            by_key[step] = strategic_merge(by_key.get(step), item, names)
    return list(by_key.values())
