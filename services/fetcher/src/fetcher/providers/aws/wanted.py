"""What a class asks of AWS, as frozen types: `parameters` makes them, the rest of the provider only reads them."""

from __future__ import annotations

from dataclasses import dataclass

from fetcher.providers.aws.fields import shown
from fetcher.providers.aws.jmes import Expression

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
    """One entry of ``objects``.

    Attributes:
        place: Where it stands in the class, such as ``objects[0]``.
        service: `SECRETS_MANAGER` or `SSM`.
        wanted: In the primary region, and in the failover region whether there is one or not.
        alias: ``objectAlias`` as written; may be empty.
        file: Path below the volume.
        mode: Permission bits; None for the volume's default.
        extracts: Files made of parts of it.
    """

    place: str
    service: str
    wanted: tuple[Wanted, Wanted]
    alias: str
    file: str
    mode: int | None
    extracts: tuple[Extract, ...]


@dataclass(frozen=True, slots=True)
class Parameters:
    """A class that can work.

    Attributes:
        regions: The primary region, then the failover region if there is one.
        objects: In the class's order.
        use_pod_identity: EKS Pod Identity instead of a role of the service account.
        address_types: ``ipv4`` and ``ipv6`` in the order in which the Pod Identity Agent is tried.
    """

    regions: tuple[str, ...]
    objects: tuple[Object, ...]
    use_pod_identity: bool
    address_types: tuple[str, ...]
