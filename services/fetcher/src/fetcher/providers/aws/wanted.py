"""What a class asks of AWS, as frozen types: `parameters` makes them, the rest of the provider only reads them."""

from __future__ import annotations

from dataclasses import dataclass

from fetcher.options import PLAIN, Options, Selection
from fetcher.providers.aws.jmes import Expression
from fetcher.shown import shown

SECRETS_MANAGER = "secretsmanager"
SSM = "ssm"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one region is asked for. Empty version and label mean the newest."""

    name: str
    version: str = ""
    label: str = ""

    def __str__(self) -> str:
        selector = ", ".join(
            f"{word} {shown(text)}" for word, text in (("version", self.version), ("label", self.label)) if text
        )
        return f"{shown(self.name)} ({selector})" if selector else shown(self.name)


@dataclass(frozen=True, slots=True)
class Question:
    """What one region is asked once, however many objects are made of the answer.

    Attributes:
        wanted: The secret or parameter.
        optional: It may be missing, as far as all of these objects are concerned.
        held: The version that all of these objects are held at; empty if any of them is not held.
    """

    wanted: Wanted
    optional: bool = False
    held: str = ""


@dataclass(frozen=True, slots=True)
class Extract:
    """A part of a JSON secret that becomes a file of its own.

    Attributes:
        place: Where it stands in the class, such as ``objects[0].jmesPath[1]``.
        expression: Points to a string.
        alias: ``objectAlias`` as written.
        file: Path below the volume.
        mode: Permission bits; None for the volume's default.
    """

    place: str
    expression: Expression
    alias: str
    file: str
    mode: int | None


@dataclass(frozen=True, slots=True)
class Object:
    """One entry of ``objects``, or one of the objects that a selection stands for.

    Attributes:
        place: Where it stands in the class, such as ``objects[0]``.
        service: `SECRETS_MANAGER` or `SSM`.
        wanted: In the primary region, and in the failover region whether there is one or not; without names where the
            entry is a selection.
        alias: ``objectAlias`` as written; may be empty.
        file: Path below the volume; of a selection, the folder of its files, or empty.
        mode: Permission bits; None for the volume's default.
        extracts: Files made of parts of it.
        options: What may be said for every backend.
        selection: What stands in place of a name; kept in the objects that it stands for.
    """

    place: str
    service: str
    wanted: tuple[Wanted, Wanted]
    alias: str
    file: str
    mode: int | None
    extracts: tuple[Extract, ...]
    options: Options = PLAIN
    selection: Selection | None = None

    @property
    def id(self) -> str:
        """Its id among the volume's object versions."""
        return self.file or f"{self.selection.prefix if self.selection else ''}*"


@dataclass(frozen=True, slots=True)
class Parameters:
    """A class that can work.

    Attributes:
        regions: The primary region, then the failover region if there is one.
        objects: In the class's order.
        use_pod_identity: EKS Pod Identity instead of a role of the service account.
        address_types: ``ipv4`` and ``ipv6`` in the order in which the Pod Identity Agent is tried.
        slash: What replaces ``/`` in the names of files; empty for nothing.
    """

    regions: tuple[str, ...]
    objects: tuple[Object, ...]
    use_pod_identity: bool
    address_types: tuple[str, ...]
    slash: str
