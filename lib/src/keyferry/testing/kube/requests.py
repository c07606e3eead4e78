"""One call to the API, taken apart: which resource, which object, which options."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from keyferry.testing.kube import protobuf
from keyferry.testing.kube.catalog import Catalog, Resource
from keyferry.testing.kube.status import StatusError, bad_request, not_found, unsupported_media_type

Json = dict[str, Any]

LARGEST_BODY = 3 * 1024 * 1024
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_FORMATS = ("application/json", "application/yaml")
_YAML = ("application/yaml", "application/apply-patch+yaml")


@dataclass(frozen=True)
class Target:
    """What a URL points at; `name` and `subresource` are empty where it has none."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


@dataclass(frozen=True)
class Call:
    """A request to a resource; `body` is what was sent, decoded."""

    target: Target
    query: Mapping[str, str]
    body: Any = None
    content_type: str = "application/json"
    user_agent: str = ""
    accept: str = ""
    dry_run: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dry_run", self.query.get("dryRun") == "All")

    def flag(self, name: str) -> bool:
        """A boolean query parameter, in any of Go's spellings of true."""
        return self.query.get(name, "") in {"1", "t", "T", "true", "True", "TRUE"}

    @property
    def manager(self) -> str:
        """The field manager: as asked for, else the first word of the user agent."""
        return self.query.get("fieldManager") or self.user_agent.partition("/")[0][:128] or "unknown"


def target(catalog: Catalog, path: str) -> Target | None:
    """The resource that a path names, or None for a path that is no resource's.

    Raises:
        StatusError: 404, the resource has no such subresource.
    """
    match path.strip("/").split("/"):
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            return None
    namespace = name = subresource = ""
    match rest:
        case ["namespaces", _, third, *_] if third in _NAMESPACE_SUBRESOURCES:
            pass
        case ["namespaces", namespace, _, *_]:
            rest = rest[2:]
    match rest:
        case [plural]:
            pass
        case [plural, name]:
            pass
        case [plural, name, subresource]:
            pass
        case _:
            return None
    resource = catalog.find(group, version, plural)
    if resource is None or (namespace and not resource.namespaced):
        return None
    if subresource and subresource not in resource.subresources:
        raise not_found(resource, name)
    return Target(resource, namespace, name, subresource)


def in_built_in_group(catalog: Catalog, path: str) -> bool:
    """Whether a path that names no resource lies in a group that has some without a CRD."""
    match path.strip("/").split("/"):
        case ["api", _, *_]:
            group = ""
        case ["apis", group, *_]:
            pass
        case _:
            return False
    return any(row.group == group and not row.custom for row in catalog)


def _from_protobuf(body: bytes) -> Json:
    found = protobuf.decoded(body)
    if found is None:
        raise unsupported_media_type(_FORMATS)
    return found


class _PlainLoader(yaml.CSafeLoader):
    """YAML as JSON has it: dates stay strings."""


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def decoded(body: bytes, content_type: str) -> Any:
    """A request's body, JSON or YAML.

    Raises:
        StatusError: 415 for another format, 400 for one that cannot be parsed, 413 for one over 3 MiB.
    """
    if len(body) > LARGEST_BODY:
        raise StatusError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {LARGEST_BODY}")
    if not body:
        return None
    if "cbor" in content_type:
        raise unsupported_media_type(_FORMATS)
    try:
        if "protobuf" in content_type:
            return _from_protobuf(body)
        return yaml.load(body, _PlainLoader) if content_type in _YAML else json.loads(body)  # noqa: S506 - a safe one
    except (ValueError, IndexError, yaml.YAMLError) as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {error}") from error
