"""Label and field selectors: from a query parameter to a test on objects."""

import re
from collections.abc import Callable, Collection
from typing import Any

from keyferry.testing.kube.status import bad_request

Json = dict[str, Any]
Test = Callable[[Json], bool]

_EVERY = ("metadata.name", "metadata.namespace")
_REQUIREMENT = re.compile(
    r"\s*(?:(?P<absent>!)\s*(?P<lone>[\w./-]+)"
    r"|(?P<key>[\w./-]+)\s*(?:(?P<op>==|=|!=)\s*(?P<value>[\w.-]*)|\s(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?)"
    r"\s*(?:,|$)"
)


def labels(selector: str) -> Test:
    """A test for a labelSelector, equality- and set-based.

    Raises:
        StatusError: 400, it cannot be parsed.
    """
    tests: list[Test] = []
    position = 0
    while position < len(selector.rstrip()):
        match = _REQUIREMENT.match(selector, position)
        if not match:
            raise bad_request(f"unable to parse requirement: found {selector[position:]!r} in {selector!r}")
        tests.append(_requirement(match))
        position = match.end()
    return lambda item: all(test(item) for test in tests)


def _requirement(match: "re.Match[str]") -> Test:
    if match["absent"]:
        lone = match["lone"]
        return lambda item: lone not in _labels_of(item)
    key = match["key"]
    if match["op"]:
        wanted, equal = match["value"], match["op"] != "!="
        return lambda item: (_labels_of(item).get(key) == wanted) is equal
    if match["set"]:
        values, inside = {value.strip() for value in match["values"].split(",")}, match["set"] == "in"
        # As in Kubernetes, `notin` is true of an object that has no such label.
        return lambda item: (_labels_of(item).get(key) in values) is inside
    return lambda item: key in _labels_of(item)


def _labels_of(item: Json) -> Json:
    found: Json = item["metadata"].get("labels") or {}
    return found


def fields(selector: str, supported: Collection[str]) -> Test:
    """A test for a fieldSelector: `path=value`, `path==value` and `path!=value`, all of which must hold.

    Raises:
        StatusError: 400, it cannot be parsed or names a field that this kind does not select by.
    """
    tests = []
    for term in filter(None, selector.split(",")):
        path, op, value = re.split(r"(!=|==|=)", term, maxsplit=1) if "=" in term else (term, "", "")
        if not op:
            raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
        if path not in supported:
            raise bad_request(_unsupported(path, supported))
        tests.append((path.split("."), value, op != "!="))
    return lambda item: all((_at(item, path) == value) is equal for path, value, equal in tests)


def _unsupported(path: str, supported: Collection[str]) -> str:
    if len(supported) > len(_EVERY):
        return f"field label not supported: {path}"
    names = ", ".join(f'"{name}"' for name in supported)
    return f'"{path}" is not a known field selector: only {names}'


def _at(item: Json, path: list[str]) -> str:
    value: Any = item
    for step in path:
        value = (value or {}).get(step) if isinstance(value, dict) or value is None else None
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
