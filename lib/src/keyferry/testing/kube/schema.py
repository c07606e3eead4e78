"""Structural schemas of CustomResourceDefinitions: pruning, defaulting and validation.

Source: k8s.io/apiextensions-apiserver `schema/pruning`, `schema/defaulting` and kube-openapi `validation/validate`.
Understood: type, nullable, properties, additionalProperties, items, required, enum, pattern, minimum, maximum,
minLength, maxLength, minItems, maxItems, default, and x-kubernetes-preserve-unknown-fields. Not: CEL, combinators
(allOf, anyOf, oneOf, not), formats, int-or-string, embedded resources.
"""

import copy
import re
from typing import Any

from keyferry.testing.kube.status import FieldError, quoted, required

Json = dict[str, Any]

_ROOT = ("apiVersion", "kind", "metadata")


def prune(item: Json, schema: Json) -> Json:
    """A copy of a custom object without the fields its schema does not name."""
    kept = {name: item[name] for name in _ROOT if name in item}
    below = {name: value for name, value in item.items() if name not in _ROOT}
    pruned = _pruned(below, schema)
    return kept | (pruned if isinstance(pruned, dict) else below)


def _pruned(value: Any, schema: Json) -> Any:
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [_pruned(item, schema["items"]) for item in value]
    if not isinstance(value, dict):
        return value
    named, others = schema.get("properties", {}), schema.get("additionalProperties")
    keep_all = schema.get("x-kubernetes-preserve-unknown-fields") or others is True
    kept = {}
    for name, below in value.items():
        if name in named:
            kept[name] = _pruned(below, named[name])
        elif isinstance(others, dict):
            kept[name] = _pruned(below, others)
        elif keep_all:
            kept[name] = below
    return kept


def fill(value: Any, schema: Json) -> None:
    """Sets the schema's defaults, in place."""
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for item in value:
            fill(item, schema["items"])
    if not isinstance(value, dict):
        return
    others = schema.get("additionalProperties")
    for name, below in schema.get("properties", {}).items():
        if name not in value and "default" in below:
            value[name] = copy.deepcopy(below["default"])
    for name, below in value.items():
        found = schema.get("properties", {}).get(name, others if isinstance(others, dict) else None)
        if found:
            fill(below, found)


def drop_nulls(value: Any, schema: Json) -> Any:
    """A copy without the null fields that the schema does not call nullable."""
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [drop_nulls(item, schema["items"]) for item in value]
    if not isinstance(value, dict):
        return value
    others = schema.get("additionalProperties")
    rest = others if isinstance(others, dict) else {"nullable": True}
    rules = {name: schema.get("properties", {}).get(name, rest) for name in value}
    return {
        name: drop_nulls(below, rules[name])
        for name, below in value.items()
        if below is not None or rules[name].get("nullable") or name in _ROOT
    }


def violations(item: Json, schema: Json) -> list[FieldError]:
    """What of a custom object breaks its schema."""
    found = [required(name) for name in schema.get("required", []) if name not in item]
    for name, below in schema.get("properties", {}).items():
        if name in item and name not in _ROOT:
            found += _violations(item[name], below, name)
    return found


def untyped(value: Any, schema: Json, path: str = "") -> str:
    """Why an applied configuration does not fit the schema's types, in the server's words; empty when it does."""
    wanted, given = schema.get("type"), _type_of(value)
    if value is None or (wanted, given) == ("number", "integer"):
        return ""
    if wanted and path and given != wanted:
        return f"{path}: expected {_EXPECTED.get(wanted, wanted)}, got &value.valueUnstructured{{Value:{value}}}"
    reasons = []
    if isinstance(value, list):
        reasons = [untyped(item, schema.get("items") or {}, f"{path}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, dict):
        named, others = schema.get("properties", {}), schema.get("additionalProperties")
        open_ended = others or schema.get("x-kubernetes-preserve-unknown-fields") or not schema
        for name, below in value.items():
            if not path and name in _ROOT:
                continue
            rule = named.get(name, others if isinstance(others, dict) else {})
            known = name in named or open_ended
            reasons.append(
                untyped(below, rule, f"{path}.{name}") if known else f"{path}.{name}: field not declared in schema"
            )
    return next(filter(None, reasons), "")


_EXPECTED = {"object": "map", "array": "list", "integer": "numeric (int or float)", "number": "numeric (int or float)"}


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = ((int, "integer"), (float, "number"), (str, "string"), (list, "array"), (dict, "object"))
    return next(name for kind, name in names if isinstance(value, kind))


def _violations(value: Any, schema: Json, path: str) -> list[FieldError]:
    wanted, given = schema.get("type"), _type_of(value)
    if value is None and schema.get("nullable"):
        return []
    if wanted and given != wanted and (wanted, given) != ("number", "integer"):
        message = f'Invalid value: "{given}": {path} in body must be of type {wanted}: "{given}"'
        return [FieldError(path, "FieldValueInvalid", message)]
    found = _scalar(value, schema, path)
    if isinstance(value, dict):
        others = schema.get("additionalProperties")
        found += [required(f"{path}.{name}") for name in schema.get("required", []) if name not in value]
        for name, below in value.items():
            rule = schema.get("properties", {}).get(name, others if isinstance(others, dict) else {})
            found += _violations(below, rule, f"{path}.{name}")
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, item in enumerate(value):
            found += _violations(item, schema["items"], f"{path}[{index}]")
    return found


def _scalar(value: Any, schema: Json, path: str) -> list[FieldError]:
    if "enum" in schema and value not in schema["enum"]:
        supported = ", ".join(quoted(choice) for choice in schema["enum"])
        message = f"Unsupported value: {quoted(value)}: supported values: {supported}"
        return [FieldError(path, "FieldValueNotSupported", message)]
    broken = []
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        broken.append(f"should match '{schema['pattern']}'")
    size = len(value) if isinstance(value, (str, list)) else value
    what = {"string": "Length", "array": "Items"}.get(_type_of(value), "imum")
    if isinstance(size, (int, float)) and not isinstance(size, bool):
        if f"min{what}" in schema and size < schema[f"min{what}"]:
            broken.append(f"should be at least {schema[f'min{what}']}")
        if f"max{what}" in schema and size > schema[f"max{what}"]:
            broken.append(f"should be at most {schema[f'max{what}']}")
    return [
        FieldError(path, "FieldValueInvalid", f"Invalid value: {quoted(value)}: {path} in body {text}")
        for text in broken
    ]
