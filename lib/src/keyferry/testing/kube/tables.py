"""Lists as tables, which is what kubectl asks for: the columns of a CRD, else name and age.

Source: k8s.io/apiextensions-apiserver `registry/customresource/tableconvertor`.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from keyferry.testing.kube.accounts import parsed
from keyferry.testing.kube.catalog import Resource

Json = dict[str, Any]

_NAME = {"name": "Name", "type": "string", "format": "name", "description": "Unique in its namespace."}
_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
_STEP = re.compile(r"\.([\w-]+)|\[(\d+)\]")


def wanted(accept: str) -> bool:
    """Whether the first choice of an Accept header is a table."""
    return "as=Table" in accept.partition(",")[0]


def table(resource: Resource, answer: Json, now: Callable[[], datetime]) -> Json:
    """A list, or one object, as a meta.k8s.io/v1 Table whose rows carry the objects' metadata."""
    items = answer.get("items", [answer])
    columns = resource.columns or (_AGE,)
    rows = []
    for item in items:
        cells = [item["metadata"]["name"], *(_cell(item, column, now) for column in columns)]
        part = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}
        rows.append({"cells": cells, "object": part})
    metadata = answer["metadata"] if "items" in answer else {"resourceVersion": answer["metadata"]["resourceVersion"]}
    shown = [_NAME, *({k: v for k, v in column.items() if k != "jsonPath"} for column in columns)]
    definitions = [{"format": "", "description": "", "priority": 0} | column for column in shown]
    kind = {"kind": "Table", "apiVersion": "meta.k8s.io/v1"}
    return kind | {"metadata": metadata, "columnDefinitions": definitions, "rows": rows}


def _cell(item: Json, column: Json, now: Callable[[], datetime]) -> Any:
    value: Any = item
    for name, index in _STEP.findall(column["jsonPath"]):
        if name:
            value = value.get(name) if isinstance(value, dict) else None
        else:
            value = value[int(index)] if isinstance(value, list) and int(index) < len(value) else None
    if column["type"] == "date" and isinstance(value, str):
        return _age((now() - parsed(value)).total_seconds())
    return value


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"
