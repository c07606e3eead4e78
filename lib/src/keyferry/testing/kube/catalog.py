"""Which resources the API serves: the one table that every verb is driven by."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keyferry.testing.kube.status import FieldError

Json = dict[str, Any]

_RENAMED_FROM = "v1"
READ_WRITE = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


def _as_is(_new: Json, _old: Json | None) -> None:
    """No defaults."""


def _accept(_new: Json, _old: Json | None) -> "list[FieldError]":
    return []


@dataclass(frozen=True)
class Resource:
    """One row: a kind as it is served in one version.

    `prepare(new, old)` fills in defaults in place, `admit(new, old)` what admission adds, and `validate(new, old)`
    lists what is wrong; `old` is None on create.
    `generation` names the top-level fields whose change counts as a new generation ("*" = all but metadata and status).
    `stored` is shared by the versions (and groups) that show the same objects; `to_stored` and `from_stored` rename
    top-level fields between them.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = READ_WRITE
    subresources: tuple[str, ...] = ()
    generation: str = ""
    schema: Json | None = None
    columns: tuple[Json, ...] = ()
    list_kind: str = ""
    warning: str = ""
    shared_storage: str = ""
    renames: tuple[tuple[str, str], ...] = ()
    unconditional_update: bool = True
    returns_deleted: bool = False
    prepare: Callable[[Json, Json | None], None] = _as_is
    admit: Callable[[Json, Json | None], None] = _as_is
    validate: "Callable[[Json, Json | None], list[FieldError]]" = _accept

    @property
    def api_version(self) -> str:
        """As in an object's apiVersion."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """As in messages: plural.group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def storage(self) -> str:
        """Where the objects are kept."""
        return self.shared_storage or f"{self.group}/{self.plural}"

    @property
    def custom(self) -> bool:
        """Whether a CustomResourceDefinition made it."""
        return self.schema is not None

    def shown(self, stored: Json) -> Json:
        """A stored object in this version; shares everything below the top level with the stored one."""
        if stored.get("apiVersion") == self.api_version:
            return stored
        names = {theirs: ours for ours, theirs in self.renames}
        return {names.get(k, k): v for k, v in stored.items()} | {"apiVersion": self.api_version, "kind": self.kind}

    def kept(self, shown: Json) -> Json:
        """The reverse of `shown`: what to store of an object of this version."""
        if not self.renames:
            return shown
        names = dict(self.renames)
        return {names.get(k, k): v for k, v in shown.items()} | {"apiVersion": _RENAMED_FROM}


class Catalog:
    """The resources served now; CustomResourceDefinitions come and go."""

    def __init__(self, rows: Iterable[Resource]) -> None:
        self._rows = {(row.group, row.version, row.plural): row for row in rows}

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._rows.values())

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """The row for a URL, or None."""
        return self._rows.get((group, version, plural))

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        """The row for an object reference, or None."""
        rows = (row for row in self if row.kind == kind and row.api_version == api_version)
        return next(rows, None)

    def of_storage(self, storage: str) -> Resource:
        """Any row that shows the objects kept under `storage`."""
        return next(row for row in self if row.storage == storage)

    def serve(self, rows: Iterable[Resource]) -> None:
        """Adds, or replaces, rows."""
        self._rows |= {(row.group, row.version, row.plural): row for row in rows}

    def withdraw(self, group: str, plural: str) -> None:
        """Takes every version of a resource away."""
        self._rows = {key: row for key, row in self._rows.items() if (key[0], key[2]) != (group, plural)}
