"""CustomResourceDefinitions: their defaults and rules, the rows they put into the catalog, and loading from files.

Source: k8s.io/apiextensions-apiserver `apis/apiextensions/{v1/defaults,validation}`, `controller/{status,establish}`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from keyferry.testing.kube.catalog import Resource
from keyferry.testing.kube.status import FieldError, invalid_value, required

Json = dict[str, Any]

STORAGE = "apiextensions.k8s.io/customresourcedefinitions"

_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def load(folder: Path) -> list[Json]:
    """The definitions in the YAML files of a folder, in order of file name."""
    documents = (yaml.safe_load_all(path.read_text()) for path in sorted(folder.glob("*.yaml")))
    return [document for each in documents for document in each if document]


def prepare(new: Json, old: Json | None) -> None:
    """Fills in names and conversion."""
    spec = new.get("spec") or {}
    names = spec.get("names") or {}
    kind = names.get("kind", "")
    names.setdefault("singular", kind.lower())
    names.setdefault("listKind", f"{kind}List")
    spec.setdefault("conversion", {"strategy": "None"})
    status = new.setdefault("status", {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}})
    stored = [v.get("name") for v in spec.get("versions") or [] if v.get("storage")]
    before = ((old or {}).get("status") or {}).get("storedVersions", [])
    status["storedVersions"] = [*before, *(name for name in stored if name not in before)]


def established(definition: Json, stamp: str) -> Json:
    """The definition as it looks once its names are accepted and its resources are served."""
    conditions = [
        _condition("NamesAccepted", "NoConflicts", "no conflicts found", stamp),
        _condition("Established", "InitialNamesAccepted", "the initial names have been accepted", stamp),
    ]
    accepted = {"acceptedNames": definition["spec"]["names"], "conditions": conditions}
    return definition | {"status": definition["status"] | accepted}


def is_established(definition: Json) -> bool:
    """Whether its names match those accepted."""
    accepted: bool = definition["status"].get("acceptedNames") == definition["spec"]["names"]
    return accepted


def _condition(kind: str, reason: str, message: str, stamp: str) -> Json:
    text = {"reason": reason, "message": message, "lastTransitionTime": stamp}
    return {"type": kind, "status": "True"} | text


def validate(new: Json, _old: Json | None) -> list[FieldError]:
    """The few rules without which the rows below could not be made."""
    spec = new.get("spec") or {}
    found = [required(f"spec.{name}") for name in ("group", "scope", "names", "versions") if not spec.get(name)]
    if found:
        return found
    wanted = f"{spec['names'].get('plural')}.{spec['group']}"
    if new["metadata"]["name"] != wanted:
        detail = 'must be spec.names.plural+"."+spec.group'
        found.append(invalid_value("metadata.name", new["metadata"]["name"], detail))
    if sum(bool(version.get("storage")) for version in spec["versions"]) != 1:
        detail = "must have exactly one version marked as storage version"
        found.append(FieldError("spec.versions", "FieldValueInvalid", f"Invalid value: {detail}"))
    found += [
        required(f"spec.versions[{index}].schema.openAPIV3Schema", "schemas are required")
        for index, version in enumerate(spec["versions"])
        if not (version.get("schema") or {}).get("openAPIV3Schema")
    ]
    return found


def rows(definition: Json) -> Iterable[Resource]:
    """One catalog row for each served version."""
    spec, names = definition["spec"], definition["spec"]["names"]
    for version in spec["versions"]:
        if not version["served"]:
            continue
        kind = names["kind"]
        warned = version.get("deprecated", False)
        old = f"{spec['group']}/{version['name']} {kind} is deprecated"
        subresources = tuple(version.get("subresources") or {})
        yield Resource(
            *(spec["group"], version["name"], names["plural"], kind),
            namespaced=spec["scope"] == "Namespaced",
            singular=names["singular"],
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            list_kind=names["listKind"],
            subresources=subresources,
            generation="spec" if "status" in subresources else "*",
            schema=version["schema"]["openAPIV3Schema"],
            columns=tuple(_described(c) for c in version.get("additionalPrinterColumns") or [_AGE]),
            warning=(version.get("deprecationWarning") or old) if warned else "",
            unconditional_update=False,
        )


def _described(column: Json) -> Json:
    text = f"Custom resource definition column (in JSONPath format): {column['jsonPath']}"
    return {"description": text} | column
