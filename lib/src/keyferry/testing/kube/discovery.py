"""What clients read to learn what is served: API groups, their resources, and the version."""

from typing import Any

from keyferry.testing.kube.catalog import Catalog, Resource

Json = dict[str, Any]

_SUBRESOURCE_VERBS = {"token": ("create",), "binding": ("create",), "finalize": ("update",)}
_SUBRESOURCE_KINDS = {
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
    "binding": ("", "v1", "Binding"),
}


def answer(catalog: Catalog, path: str, address: str) -> Json | None:
    """The discovery document at a path, or None."""
    parts = [part for part in path.split("/") if part]
    match parts:
        case ["api"]:
            address_rows = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": address_rows}
        case ["apis"]:
            groups = [_group(catalog, name) for name in dict.fromkeys(r.group for r in catalog if r.group)]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        case ["apis", group] if any(row.group == group for row in catalog):
            return {"kind": "APIGroup", "apiVersion": "v1"} | _group(catalog, group)
        case ["api", version]:
            return _resources(catalog, "", version)
        case ["apis", group, version]:
            return _resources(catalog, group, version)
    return None


def paths(catalog: Catalog) -> set[str]:
    """Where discovery documents are."""
    groups = {f"/apis/{row.group}" for row in catalog if row.group}
    versions = {f"/apis/{row.api_version}" for row in catalog if row.group}
    return {"/api", "/api/v1", "/apis"} | groups | versions


def _group(catalog: Catalog, group: str) -> Json:
    versions = dict.fromkeys(row.version for row in catalog if row.group == group)
    # As the real server orders them: v1 before v1beta1 before v1alpha1.
    ordered = sorted(versions, key=lambda v: ("alpha" in v, "beta" in v, v))
    shown = [{"groupVersion": f"{group}/{version}", "version": version} for version in ordered]
    return {"name": group, "versions": shown, "preferredVersion": shown[0]}


def _resources(catalog: Catalog, group: str, version: str) -> Json | None:
    rows = [row for row in catalog if (row.group, row.version) == (group, version)]
    if not rows:
        return None
    shown = [entry for row in rows for entry in (_entry(row), *_subresources(row))]
    api_version = rows[0].api_version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": shown}


def _entry(row: Resource) -> Json:
    entry: Json = {"name": row.plural, "singularName": row.singular or row.kind.lower(), "namespaced": row.namespaced}
    entry |= {"kind": row.kind, "verbs": list(row.verbs)}
    if row.short_names:
        entry["shortNames"] = list(row.short_names)
    if row.categories:
        entry["categories"] = list(row.categories)
    return entry


def _subresources(row: Resource) -> list[Json]:
    entries = []
    for name in row.subresources:
        group, version, kind = _SUBRESOURCE_KINDS.get(name, ("", "", row.kind))
        verbs = list(_SUBRESOURCE_VERBS.get(name, ("get", "patch", "update")))
        entry = {"name": f"{row.plural}/{name}", "singularName": "", "namespaced": row.namespaced, "kind": kind}
        entries.append(entry | {"verbs": verbs} | ({"group": group, "version": version} if version else {}))
    return entries


def version(minor: int) -> Json:
    """The document at /version for Kubernetes 1.`minor`."""
    return {
        "major": "1",
        "minor": str(minor),
        "gitVersion": f"v1.{minor}.0+keyferry",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "linux/amd64",
    }
